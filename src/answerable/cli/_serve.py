"""`answerable serve`."""

import asyncio
import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from answerable.app import Answerable
from answerable.cli._application import ConfigFile, DataInstead, find_application
from answerable.runtime import StoreEngine
from answerable.server import ControlServer, isolation_of, run_on_uvloop, separate_socket, serve_gate

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)
_HOST, _PORT = "127.0.0.1", 8700


@command.command()
def serve(
    place: Annotated[
        str,
        typer.Argument(
            metavar="[MODULE:APP]", help="Where the application is, if not in `answerable.toml`.", show_default=False
        ),
    ] = "",
    host: Annotated[
        str, typer.Option("--host", help="The address to listen at.", show_default=f"{_HOST}, or the file's")
    ] = "",
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="0 for any free one.", show_default=f"{_PORT}, or the file's"),
    ] = None,
    socket: Annotated[
        Path | None,
        typer.Option(
            "--socket",
            metavar="PATH",
            help="Instead of an address: a unix socket that takes agents of other users only.",
            dir_okay=False,
        ),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option("--user", metavar="NAME|UID", help="With `--socket`: a user who may connect; may be repeated."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Serve nothing: only say whether the configuration can be used.")
    ] = False,
    config: ConfigFile = None,
    data: DataInstead = None,
) -> None:
    """Serve agents that exist elsewhere, until Ctrl-C.

    They change their model's base URL to `http://HOST:PORT/v1` (Anthropic's SDK: without `/v1`), their
    tool server's to `http://HOST:PORT/mcp`, and their key to one from `answerable agent key new NAME`.
    Unfinished runs of the application go on too.
    """
    found = find_application(place, config, data=data)
    if check:
        typer.echo(f"{found.place}: {_counted(found.app)}, all in order")
        return
    if socket is not None or user:
        if socket is None or host or port is not None:
            raise typer.BadParameter("`--socket` goes without `--host` and `--port`, and `--user` with it")
        isolation_of(found.app, is_separate=True)
        at = separate_socket(socket, found.app.data, user or ())
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serve(found.app, at=at))
        return
    said = found.config
    host = host or (said.host if said else _HOST)
    port = port if port is not None else (said.port if said else _PORT)
    with contextlib.suppress(KeyboardInterrupt):
        run_on_uvloop(_serve(found.app, host=host, port=port))


def _counted(app: Answerable) -> str:
    counts = (
        ("agents", app.agents),
        ("tool servers", app.tools.connected()),
        ("routed models", app.upstreams.models()),
    )
    engine = [] if app.engine is StoreEngine else [f"engine {app.engine!r}"]
    return ", ".join([*(f"{len(found)} {what}" for what, found in counts), *engine])


async def _serve(app: Answerable, *, host: str = "", port: int = 0, at: Any = None) -> None:
    isolation = isolation_of(app, is_separate=at is not None)
    async with app.gate(isolation=isolation) as gate, ControlServer(app.data, gate.desk):
        await serve_gate(
            gate, host=host, port=port, at=at, on_listening=lambda bound: typer.echo(f"listening at {bound}", err=True)
        )
