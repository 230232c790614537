"""`answerable run module:app [AGENT]`."""

import asyncio
import contextlib
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from answerable.app import Answerable, Gate
from answerable.cli._desk import json_value
from answerable.cli._errors import AppNotFound
from answerable.cli._options import AsJson
from answerable.cli._say import say
from answerable.core import RunId
from answerable.server import ControlServer

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)
_LOOK_S = 0.5


@command.command()
def run(
    place: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the application is.", show_default=False)],
    agent: Annotated[
        str,
        typer.Argument(metavar="[AGENT]", help="The application's only agent, if none is named.", show_default=False),
    ] = "",
    given: Annotated[str, typer.Option("--input", metavar="JSON", help="JSON, `@FILE` or `-`.")] = "null",
    key: Annotated[str, typer.Option("--key", help="The same key gives the same run, however often it starts.")] = "",
    on_behalf_of: Annotated[
        str, typer.Option("--for", metavar="TYPE:ID", help="Who asks: `person:dana`. The record has a pseudonym.")
    ] = "",
    resources: Annotated[
        list[str] | None,
        typer.Option("--resource", metavar="TYPE:ID", help="What it is about: `order:1001`.", show_default=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Start nothing: let unfinished runs go on, until Ctrl-C.")
    ] = False,
    see: Annotated[
        str, typer.Option("--run", metavar="RUN", help="Start nothing: see this run to its end.", show_default=False)
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option("--data", envvar="ANSWERABLE_DATA", help="Instead of the application's own data directory."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run an agent behind its gate, and wait for what it returns.

    Killed half way, the same command with the same `--key` goes on where it stopped. While it runs,
    other commands write through this process.
    """
    app = load_app(place)
    if data is not None:
        app.data = data
    value = json_value("--input", given)
    if not resume and not see:
        agent = agent or _only_agent(app, place)
    with contextlib.suppress(KeyboardInterrupt):
        said = asyncio.run(_serve(app, agent, value, key, on_behalf_of, resources or (), see=see))
        say(said, [json.dumps(said["result"], indent=2, ensure_ascii=False)], as_json=as_json)
        return
    typer.echo("stopped; what is not finished goes on with `--resume` or the same `--key`", err=True)
    raise typer.Exit(0 if resume else 3)


def load_app(place: str) -> Answerable:
    """The application at `module:attribute`, with modules of the current directory first."""
    module, _, attribute = place.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute or "app")
    except ModuleNotFoundError as error:
        if error.name not in (module, module.partition(".")[0]):
            raise
        raise AppNotFound(place=place, problem=f"there is no module `{module}`") from None
    except AttributeError:
        raise AppNotFound(place=place, problem=f"`{module}` has no `{attribute or 'app'}`") from None
    if not isinstance(found, Answerable):
        raise AppNotFound(place=place, problem=f"it is a `{type(found).__name__}`")
    return found


def _only_agent(app: Answerable, place: str) -> str:
    if len(app.agents) != 1:
        raise typer.BadParameter(f"name the agent: `{place}` has {', '.join(sorted(app.agents)) or 'none'}")
    return next(iter(app.agents))


async def _serve(
    app: Answerable, agent: str, value: Any, key: str, on_behalf_of: str, resources: Sequence[str], *, see: str
) -> dict[str, Any]:
    """Run `agent`, or the run `see`, to its end; without either, serve what is unfinished until cancelled."""
    async with app.gate() as gate, ControlServer(app.data, gate.desk):
        if not agent and not see:
            await asyncio.Event().wait()
        started = RunId(see) or await gate.start(agent, value, key=key, on_behalf_of=on_behalf_of, resources=resources)
        typer.echo(started, err=True)
        telling = asyncio.create_task(_tell_waiting(gate, started))
        try:
            return {"run": started, "result": await gate.result(started)}
        finally:
            telling.cancel()


async def _tell_waiting(gate: Gate, run: RunId) -> None:
    """Tell whoever watches what the run waits for."""
    told: set[str] = set()
    while True:
        for each in gate.approvals.list():
            if each.run == run and each.approval not in told:
                told.add(each.approval)
                typer.echo(f"waits for {each.role}: `answerable approvals show {each.approval}`", err=True)
        await asyncio.sleep(_LOOK_S)
