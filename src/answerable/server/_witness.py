"""A witness over HTTP.

Source: C2SP tlog-witness, "HTTP Interface".
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from answerable.server._listen import listen_until_signal

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from answerable.witness import Witness

__all__ = ["serve_witness", "witness_app"]

_MOST_BYTES = 128 * 1024
_MOST_CONNECTIONS = 200


def witness_app(folder: Path, witness: "Witness | None") -> "Starlette":
    """The ASGI application: submission, where there is a witness, and monitoring, under one prefix."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from answerable.witness import Answer, kept_checkpoint

    def told(answer: Answer) -> Response:
        return Response(answer.body, answer.status, headers={"content-type": answer.content_type})

    async def add_checkpoint(request: Request) -> Response:
        if witness is None:
            return told(Answer(status=404, body="this is a monitor, which finds checkpoints itself\n"))
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > _MOST_BYTES:
                return told(Answer(status=413, body="the request is too long\n"))
        # On the loop, one after the other: checking and keeping must not interleave ("add-checkpoint").
        return told(witness.add_checkpoint(bytes(body)))

    async def checkpoint(request: Request) -> Response:
        return told(kept_checkpoint(folder, request.path_params["origin"]))

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/{origin}/checkpoint", checkpoint),
        ]
    )


async def serve_witness(
    folder: Path, witness: "Witness | None", *, host: str, port: int, on_listening: Callable[[str], None]
) -> None:
    """Answer until SIGINT or SIGTERM, or until cancelled.

    Args:
        folder: of a witness or a monitor: what it signed is shown.
        witness: also takes checkpoints to cosign.
    """
    app = witness_app(folder, witness)
    await listen_until_signal(app, host=host, port=port, on_listening=on_listening, limit=_MOST_CONNECTIONS)
