"""`answerable serve module:app`."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated

import typer

from answerable.app import Answerable
from answerable.cli._run import load_app
from answerable.server import ControlServer, serve_gate

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)


@command.command()
def serve(
    place: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Where the application is.", show_default=False)],
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any free one.")] = 8700,
    data: Annotated[
        Path | None,
        typer.Option("--data", envvar="ANSWERABLE_DATA", help="Instead of the application's own data directory."),
    ] = None,
) -> None:
    """Serve agents that exist elsewhere, until Ctrl-C.

    They change their model's base URL to `http://HOST:PORT/v1` (Anthropic's SDK: without `/v1`) and
    their key to one from `answerable agent key new NAME`. Unfinished runs of the application go on too.
    """
    app = load_app(place)
    if data is not None:
        app.data = data
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(app, host, port))


async def _serve(app: Answerable, host: str, port: int) -> None:
    async with app.gate() as gate, ControlServer(app.data, gate.desk):
        await serve_gate(gate, host=host, port=port, on_listening=lambda at: typer.echo(f"listening at {at}", err=True))
