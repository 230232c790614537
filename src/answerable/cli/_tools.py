"""`answerable tools list MODULE:APP`."""

import asyncio
from typing import Annotated, Any

import typer

from answerable.app import Answerable
from answerable.cli._application import ConfigFile, find_application
from answerable.cli._options import AsJson
from answerable.cli._say import say

__all__ = ["command"]

Place = Annotated[
    str,
    typer.Argument(
        metavar="[MODULE:APP]", help="Where the application is, if not in `answerable.toml`.", show_default=False
    ),
]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="See the tools behind the gate.")


@command.callback()
def _group() -> None:
    pass


@command.command("list")
def list_tools(
    place: Place = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List an application's tools: what each does to the world, and the arguments it takes."""
    tools = asyncio.run(_tools(find_application(place, config).app))
    lines = []
    for each in tools:
        lines.append(f"{each['name']}  ({each['effect']})  {each['description'].strip().partition('.')[0]}")
        required = each["schema"].get("required", ())
        for name, schema in each["schema"].get("properties", {}).items():
            kind = schema.get("type", "any")
            lines.append(f"    {name:<18} {kind}" + ("" if name in required else ", may be left out"))
    say(tools, lines, as_json=as_json)


async def _tools(app: Answerable) -> list[dict[str, Any]]:
    try:
        await app.tools.start()
        found = [app.tools.tool(name) for name in app.tools.names()]
        return [
            {
                "name": each.name,
                "effect": each.declaration.checked_effect(each.name).value,
                "description": each.description,
                "schema": each.schema,
            }
            for each in found
        ]
    finally:
        await app.tools.close()
