"""`/log/<tenant>/…`: the logs as C2SP tlog-tiles, for anybody; the receipts behind them, for monitors.

Source: C2SP tlog-tiles, "APIs".
"""

import asyncio
import contextlib
import hmac
import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from answerable.core import TenantId
from answerable.ledger import WIDTH, Reader, Standstill, log_folder, monitor_secret, receipt_lines
from answerable.witness import publishing, read_log_config

__all__ = ["log_routes", "publishing_logs"]

_TENANT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_PLACE = re.compile(r"((?:x\d{3}/){0,6}\d{3})(?:\.p/([1-9]\d{0,2}))?")
_LEVEL = re.compile(r"[0-9]|[1-5][0-9]|6[0-3]|entries")
_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_NOW = {"cache-control": "no-cache"}
_LAST_WORDS_S = 3


def log_routes(directory: Path) -> Sequence[BaseRoute]:
    """What serves the logs that are published in a data directory."""

    async def checkpoint(request: Request) -> Response:
        tenant = _tenant(request)
        text = log_folder(directory, tenant).checkpoint if tenant else ""
        return PlainTextResponse(text, headers=_NOW) if text else _none()

    async def tile(request: Request) -> Response:
        tenant, place = _tenant(request), _PLACE.fullmatch(request.path_params["place"])
        if not tenant or not place or not _LEVEL.fullmatch(request.path_params["level"]):
            return _none()
        # SECURITY: the path is built of parts that were matched, so it stays below the log's folder.
        path = log_folder(directory, tenant).path / "tile" / request.path_params["level"] / place[0]
        if not path.is_file():
            return _none()
        return FileResponse(path, media_type="application/octet-stream", headers=_FOREVER)

    async def receipts(request: Request) -> Response:
        tenant, place = _tenant(request), _PLACE.fullmatch(request.path_params["place"])
        if not tenant or not place:
            return _none()
        secret = await asyncio.to_thread(monitor_secret, directory)
        said = request.headers.get("authorization", "")
        if not hmac.compare_digest(said.encode(), b"Bearer " + secret.encode()):
            return PlainTextResponse("receipts are for monitors: send the secret of `answerable log secret`\n", 401)
        index = int(place[1].replace("x", "").replace("/", ""))
        width = int(place[2] or WIDTH)
        found = await asyncio.to_thread(_lines, directory, tenant, index, width)
        return Response(found, media_type="application/jsonl") if found.count(b"\n") == width else _none()

    return (
        Route("/log/{tenant}/checkpoint", checkpoint),
        Route("/log/{tenant}/tile/{level}/{place:path}", tile),
        Route("/log/{tenant}/receipts/{place:path}", receipts),
    )


@contextlib.asynccontextmanager
async def publishing_logs(directory: Path, *, on_behind: Callable[[Standstill], None]) -> AsyncIterator[None]:
    """Publish the logs behind the record while the block runs, and once more at its end.

    Args:
        on_behind: called when somebody turns out to have seen more than the record holds.
    """
    async with publishing(directory, read_log_config(directory)) as publisher:
        running = asyncio.create_task(publisher.run(on_behind=on_behind))
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await publisher.publish()


def _tenant(request: Request) -> TenantId | None:
    name = request.path_params["tenant"]
    return TenantId(name) if _TENANT.fullmatch(name) else None


def _lines(directory: Path, tenant: TenantId, index: int, width: int) -> bytes:
    with contextlib.closing(Reader.open(directory)) as reader:
        return receipt_lines(reader, tenant, index, width)


def _none() -> Response:
    return PlainTextResponse("there is no such part of a log here\n", 404, headers=_NOW)
