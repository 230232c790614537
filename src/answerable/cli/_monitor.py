"""`answerable monitor …`: follow logs elsewhere, and look at every receipt in them."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from answerable.cli._options import AsJson
from answerable.cli._say import say
from answerable.cli._watching import Followed, Watching
from answerable.server import serve_witness
from answerable_verify import Round

__all__ = ["command"]

command = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Follow logs elsewhere, check every receipt, and sign for them."
)

Folder = Annotated[
    Path, typer.Option("--dir", envvar="ANSWERABLE_MONITOR", help="The monitor's folder.", show_default="monitor")
]
FOLDER = Path("monitor")


@command.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Like `monitor.example/ada`.", show_default=False)],
    folder: Folder = FOLDER,
) -> None:
    """Make a monitor: its folder, its name and its key. Prints its verifier key, which others write down."""
    typer.echo(str(Watching.make(folder, name).vkey))


@command.command("add-log")
def add_log(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the log is served.", show_default=False)],
    trust: Annotated[Path, typer.Option("--trust", metavar="FILE", help="Whose log it is: your own trust file.")],
    secret: Annotated[
        str, typer.Option("--secret", envvar="ANSWERABLE_MONITOR_SECRET", help="As `answerable log secret` prints it.")
    ] = "",
    witness: Annotated[
        list[str] | None, typer.Option("--witness", metavar="URL", help="A witness to compare with; may be repeated.")
    ] = None,
    silence: Annotated[
        float | None, typer.Option("--silence", metavar="SECONDS", help="Alert if the log does not grow for so long.")
    ] = None,
    folder: Folder = FOLDER,
) -> None:
    """Follow a log from now on."""
    added = Watching(folder).add(url, trust, secret=secret, witnesses=witness or (), silence_s=silence)
    typer.echo(f"{added.origin} is followed")


@command.command()
def run(
    once: Annotated[bool, typer.Option("--once", help="Look once, and end: 1 if anything is wrong.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, metavar="SECONDS", help="How often to look.")] = 30.0,
    host: Annotated[str, typer.Option("--host", help="The address to listen at, with `--port`.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Show what was signed; 0 for any free port.")
    ] = None,
    folder: Folder = FOLDER,
    as_json: AsJson = False,
) -> None:
    """Look at the logs, again and again, until Ctrl-C. Alerts are printed as they come."""
    watching = Watching(folder)
    if once:
        rounds = [(followed, watching.look(followed)) for followed in watching.logs()]
        say([_value(*each) for each in rounds], (line for each in rounds for line in _lines(*each)), as_json=as_json)
        raise typer.Exit(0 if all(found.is_clean for _, found in rounds) else 1)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(watching, every, host, port, as_json=as_json))


@command.command()
def show(folder: Folder = FOLDER, as_json: AsJson = False) -> None:
    """Show the monitor's verifier key, and how each log stands; under each alert, the signed heads that prove it.

    Exit 1: there are alerts.
    """
    watching = Watching(folder)
    found = [watching.show(followed) for followed in watching.logs()]
    lines = [str(watching.vkey)]
    for each in found:
        lines.append(f"{each['origin']}: {each['seen']} entries seen, signed up to {each['signed']}")
        for alert in each["alerts"]:
            named = f"{alert['receipt']} " if alert["receipt"] else ""
            lines.append(f"  ALERT {alert['kind']}, {alert['at']}: {named}{alert['what']}")
            # Signed notes: whoever has the log's key can check them. SECURITY: their writer may fool a terminal.
            lines += ("".join(c for c in line if c.isprintable()) for line in alert["evidence"].split("\n"))
    say({"vkey": str(watching.vkey), "logs": found}, lines, as_json=as_json)
    raise typer.Exit(1 if any(each["alerts"] for each in found) else 0)


async def _run(watching: Watching, every_s: float, host: str, port: int | None, *, as_json: bool) -> None:
    async def look() -> None:
        while True:
            for followed in watching.logs():
                found = await asyncio.to_thread(watching.look, followed)
                if found.new:
                    say(_value(followed, found), _lines(followed, found), as_json=as_json)
            await asyncio.sleep(every_s)

    if port is None:
        await look()
        return
    looking = asyncio.create_task(look())
    serving = asyncio.create_task(
        serve_witness(
            watching.folder,
            None,
            host=host,
            port=port,
            on_listening=lambda at: typer.echo(f"listening at {at}", err=True),
        )
    )
    done, pending = await asyncio.wait({looking, serving}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


def _value(followed: Followed, found: Round) -> dict[str, Any]:
    return {
        "origin": followed.origin,
        "size": found.size,
        "clean": found.is_clean,
        "new": [alert.to_json() for alert in found.new],
        "standing": [alert.to_json() for alert in found.standing],
    }


def _lines(followed: Followed, found: Round) -> Iterator[str]:
    state = "nothing wrong" if found.is_clean else "not signed for"
    yield f"{followed.origin}: {found.size} entries, {state}"
    known = {(alert.kind, alert.what, alert.receipt) for alert in found.new}
    for alert in found.new:
        yield f"  ALERT {alert.kind}: {alert.receipt + ' ' if alert.receipt else ''}{alert.what}"
    for alert in found.standing:
        if (alert.kind, alert.what, alert.receipt) not in known:
            yield f"  since {alert.at} {alert.kind}: {alert.receipt + ' ' if alert.receipt else ''}{alert.what}"
