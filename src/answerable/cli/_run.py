"""`answerable run [MODULE:APP] [AGENT]`."""

import asyncio
import contextlib
import json
from typing import Annotated, Any

import typer

from answerable.app import Answerable, Gate
from answerable.cli._application import ConfigFile, DataInstead, Found, find_application
from answerable.cli._desk import json_value
from answerable.cli._options import CONFIG, AsJson
from answerable.cli._say import say
from answerable.cli._tenant import tenant
from answerable.core import RunId
from answerable.runtime import DEFAULT_TENANT
from answerable.server import ControlServer

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)
_LOOK_S = 0.5


@command.command()
def run(
    place: Annotated[
        str,
        typer.Argument(
            metavar="[MODULE:APP]", help="Where the application is, if not in `answerable.toml`.", show_default=False
        ),
    ] = "",
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
    subjects: Annotated[
        list[str] | None,
        typer.Option(
            "--subject", metavar="TYPE:ID", help="Whose data it concerns: `customer:c-7`.", show_default=False
        ),
    ] = None,
    mandate: Annotated[
        str,
        typer.Option("--mandate", metavar="NAME", help="Under which it acts: charged to the budgets `mandate:NAME`."),
    ] = "",
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="NAME",
            help="A tool that it may use for this task, `*` at will (`mail.*`, `model:*`); may be repeated.",
            show_default="whatever policy permits",
        ),
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option("--priority", min=1, max=9, help="1 goes first, 9 last.", show_default="its queue's, or 5"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Start nothing: let unfinished runs go on, until Ctrl-C.")
    ] = False,
    see: Annotated[
        str, typer.Option("--run", metavar="RUN", help="Start nothing: see this run to its end.", show_default=False)
    ] = "",
    config: ConfigFile = None,
    data: DataInstead = None,
    as_json: AsJson = False,
) -> None:
    """Run an agent behind its gate, and wait for what it returns.

    Killed half way, the same command with the same `--key` goes on where it stopped. While it runs,
    other commands write through this process.
    """
    if not agent and ":" not in place and (config is not None or CONFIG.exists()):
        place, agent = "", place  # one word alone is the agent, where a file says which application
    found = find_application(place, config, data=data)
    app = found.app
    value = json_value("--input", given)
    agent = "" if resume or see else agent or _only_agent(found)
    asked = {
        "key": key,
        "on_behalf_of": on_behalf_of,
        "resources": resources or (),
        "subjects": subjects or (),
        "mandate": mandate,
        "allow": allow,
        "priority": priority,
        "tenant": "" if tenant() == DEFAULT_TENANT else tenant(),
    }
    with contextlib.suppress(KeyboardInterrupt):
        said = asyncio.run(_serve(app, agent, value, see=see, **asked))
        say(said, [json.dumps(said["result"], indent=2, ensure_ascii=False)], as_json=as_json)
        return
    typer.echo("stopped; what is not finished goes on with `--resume` or the same `--key`", err=True)
    raise typer.Exit(0 if resume else 3)


def _only_agent(found: Found) -> str:
    agents = found.app.runnable()
    if len(agents) != 1:
        raise typer.BadParameter(f"name the agent: `{found.place}` has {', '.join(agents) or 'none'} to run")
    return agents[0]


async def _serve(app: Answerable, agent: str, value: Any, *, see: str, **asked: Any) -> dict[str, Any]:
    """Run `agent`, or the run `see`, to its end; without either, serve what is unfinished until cancelled."""
    async with app.gate() as gate, ControlServer(app.data, gate.desk):
        if not agent and not see:
            await asyncio.Event().wait()
        started = RunId(see) or await gate.start(agent, value, **asked)
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
        for each in gate.approvals.list(tenant=tenant()):
            if each.run == run and each.approval not in told:
                told.add(each.approval)
                typer.echo(f"waits for {each.role}: `answerable approvals show {each.approval}`", err=True)
        await asyncio.sleep(_LOOK_S)
