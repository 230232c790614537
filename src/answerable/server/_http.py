"""The gate's one port: model endpoints, approvals, runs, health and readiness, and whatever else is mounted."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from answerable.app import Gate
from answerable.server._approvals import approval_routes
from answerable.server._draining import Draining
from answerable.server._models import ModelEndpoint
from answerable.server._runs import run_routes

__all__ = ["http_app"]


def http_app(gate: Gate, draining: Draining | None = None, *, mounted: Sequence[BaseRoute] = ()) -> ASGIApp:
    """The ASGI application of a running gate.

    Args:
        draining: says when the gate is on its way out.
        mounted: further routes, before the gate's own.
    """
    stopping = draining or Draining()

    async def healthy(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        if stopping.has_begun:
            return JSONResponse({"status": "draining"}, 503)
        # Reads the store: a gate that cannot, should get no calls.
        return JSONResponse({"status": "ready", "keys": len(gate.agent_keys.list())})

    routes: list[BaseRoute] = [
        *mounted,
        *approval_routes(gate),
        *run_routes(gate),
        Route("/healthz", healthy),
        Route("/readyz", ready),
        Route("/v1/chat/completions", ModelEndpoint(gate, "chat"), methods=["POST"]),
        Route("/v1/messages", ModelEndpoint(gate, "messages"), methods=["POST"]),
    ]
    return stopping.around(Starlette(routes=routes))
