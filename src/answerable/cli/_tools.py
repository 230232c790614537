"""`answerable tools list|diff|accept`."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from answerable.app import Answerable, open_desk, reaching_tools
from answerable.cli._application import ConfigFile, DataInstead, find_application
from answerable.cli._options import AsJson, By, Reason
from answerable.cli._say import say
from answerable.ledger import NoStore, Reader
from answerable.server import control
from answerable.tools import Pinning, Pins, PinState, ToolNotHeld

__all__ = ["command"]

Place = Annotated[
    str,
    typer.Option("--app", metavar="MODULE:APP", help="Where the application is, if not in `answerable.toml`."),
]

command = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="See the tools behind the gate, and accept what changed."
)


@command.command("list")
def list_tools(
    place: Annotated[
        str,
        typer.Argument(
            metavar="[MODULE:APP]", help="Where the application is, if not in `answerable.toml`.", show_default=False
        ),
    ] = "",
    config: ConfigFile = None,
    data: DataInstead = None,
    as_json: AsJson = False,
) -> None:
    """List an application's tools: what each does to the world, the arguments it takes, and whether it is held."""
    app = find_application(place, config, data=data).app
    tools = asyncio.run(_listed(app))
    lines = []
    for each in tools:
        held = "" if each["state"] == "pinned" else f"  HELD: {each['state']}"
        effect = f"  ({each['effect']})" if each["effect"] else ""
        lines.append(f"{each['name']}{effect}{held}  {each['description'].strip().partition('.')[0]}".rstrip())
        required = each["schema"].get("required", ())
        for name, schema in each["schema"].get("properties", {}).items():
            kind = schema.get("type", "any")
            lines.append(f"    {name:<18} {kind}" + ("" if name in required else ", may be left out"))
    say(tools, lines, as_json=as_json)


@command.command()
def diff(
    tool: Annotated[str, typer.Argument(metavar="[TOOL]", help="One tool, by its full name.")] = "",
    place: Place = "",
    config: ConfigFile = None,
    data: DataInstead = None,
    as_json: AsJson = False,
) -> None:
    """Show how what servers say of their tools differs from what was accepted.

    Exit 1: something differs, and is held.
    """
    app = find_application(place, config, data=data).app
    found = asyncio.run(_held(app, tool))
    lines = []
    for each in found:
        lines += [f"{each.tool}: {each.state}  {each.digest}".rstrip(), *(f"  {line}" for line in each.difference())]
    say([asdict(each) for each in found], lines or ["everything is as it was accepted"], as_json=as_json)
    raise typer.Exit(1 if found else 0)


@command.command()
def accept(
    by: By,
    tool: Annotated[str, typer.Argument(metavar="[TOOL]", help="One tool, by its full name.")] = "",
    every: Annotated[bool, typer.Option("--all", help="All that is held.")] = False,
    reason: Reason = "",
    place: Place = "",
    config: ConfigFile = None,
    data: DataInstead = None,
    as_json: AsJson = False,
) -> None:
    """Take what a server says of its tool now for good. `answerable tools diff` shows what that is."""
    if bool(tool) == every:
        raise typer.BadParameter("name the tool, or say `--all`")
    app = find_application(place, config, data=data).app
    said = asyncio.run(_accept(app, tool, by, reason))
    say(said, [f"accepted {each['tool']}  {each['digest'] or 'is gone'}" for each in said], as_json=as_json)


async def _listed(app: Answerable) -> list[dict[str, Any]]:
    async with reaching_tools(app):
        states = {each.tool: each.state for each in _states(app)}
        app.tools.check_declared(states)
        gone = [name for name, state in states.items() if state == "gone"]
        found = [app.tools.tool(name) for name in app.tools.names()]
        return [
            *({"name": name, "effect": "", "state": "gone", "description": "", "schema": {}} for name in gone),
            *(
                {
                    "name": each.name,
                    "effect": each.declaration.checked_effect(each.name).value,
                    "state": states.get(each.name, "pinned"),
                    "description": each.description,
                    "schema": each.schema,
                }
                for each in found
            ),
        ]


async def _held(app: Answerable, tool: str) -> list[PinState]:
    async with reaching_tools(app):
        return [each for each in _states(app) if each.state != "pinned" and tool in ("", each.tool)]


def _states(app: Answerable) -> Sequence[PinState]:
    """Each served tool beside its pin; before a gate first ran here there are none, and nothing is held."""
    try:
        reader = Reader.open(app.data)
    except NoStore:
        return ()
    pins = Pins(store=reader)
    seen = {pin.server for pin in pins.all()}
    return [each for each in Pinning(app.tools, pins).states() if each.server in seen]


async def _accept(app: Answerable, tool: str, by: str, reason: str) -> list[dict[str, Any]]:
    async with reaching_tools(app):
        held = {each.tool: each.digest for each in _states(app) if each.state != "pinned"}
        if tool and tool not in held:
            raise ToolNotHeld(tool=tool)
        wanted = {tool: held[tool]} if tool else held
        async with control(app.data, lambda directory: open_desk(directory, tools=app.tools)) as writes:
            return [
                await writes.accept(tool=name, digest=digest, by=by, reason=reason) for name, digest in wanted.items()
            ]
