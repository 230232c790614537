"""The gate's one port: model endpoints, health and readiness, and whatever else is mounted."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from answerable.app import Gate
from answerable.server._models import ModelEndpoint

__all__ = ["http_app"]


def http_app(gate: Gate, *, mounted: Sequence[BaseRoute] = ()) -> Starlette:
    """The ASGI application of a running gate.

    Args:
        mounted: further routes, before the gate's own.
    """

    async def healthy(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        # Reads the store: a gate that cannot, should get no calls.
        return JSONResponse({"status": "ready", "keys": len(gate.agent_keys.list())})

    routes: list[BaseRoute] = [
        *mounted,
        Route("/healthz", healthy),
        Route("/readyz", ready),
        Route("/v1/chat/completions", ModelEndpoint(gate, "chat"), methods=["POST"]),
        Route("/v1/messages", ModelEndpoint(gate, "messages"), methods=["POST"]),
    ]
    return Starlette(routes=routes)
