"""A gate on its way out: what is under way ends, nothing new begins."""

import asyncio
from typing import Any

import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from answerable.server._draining import Draining


class App:
    """An application whose every answer waits for leave."""

    def __init__(self) -> None:
        self.leave = asyncio.Event()
        self.begun: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        await self.leave.wait()


async def ask(app: Any, path: str, method: str = "POST") -> tuple[int, Any]:
    """The status and body of an answer."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    await app({"type": "http", "path": path, "method": method, "headers": []}, receive, send)
    return (sent[0]["status"], orjson.loads(sent[1]["body"])) if sent else (0, None)


def test_it_is_quiet_once_every_call_under_way_has_ended() -> None:
    async def story() -> list[bool]:
        inner, draining = App(), Draining()
        app = draining.around(inner)
        calls = [asyncio.create_task(ask(app, "/v1/messages")) for _ in range(2)]
        await asyncio.sleep(0)
        quiet = asyncio.create_task(draining.quiet())
        draining.begin()
        await asyncio.sleep(0)
        before = quiet.done()
        inner.leave.set()
        await asyncio.gather(*calls)
        await asyncio.wait_for(quiet, 5)
        return [before, quiet.done()]

    assert asyncio.run(story()) == [False, True]


@pytest.mark.requirement("OP-1")
@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/v1/chat/completions", lambda said: said["error"]["code"]),
        ("/v1/messages", lambda said: said["error"]["code"]),
        ("/mcp", lambda said: said["error"]["data"]["answerable/error"]["code"]),
        ("/mcp/shop", lambda said: said["error"]["data"]["answerable/error"]["code"]),
        ("/approvals/appr_1/approve", lambda said: said["error"]["code"]),
    ],
)
def test_a_new_call_is_refused_in_the_words_of_who_asked(path: str, error: Any) -> None:
    async def story() -> tuple[int, Any, list[str]]:
        inner, draining = App(), Draining()
        draining.begin()
        return *await ask(draining.around(inner), path), inner.begun

    status, said, begun = asyncio.run(story())

    assert (status, error(said), begun) == (503, "refused.gate_stopping", [])


def test_health_and_readiness_are_answered_to_the_end_and_an_open_get_keeps_nobody_waiting() -> None:
    async def story() -> list[str]:
        inner, draining = App(), Draining()
        app = draining.around(inner)
        listening = asyncio.create_task(ask(app, "/mcp", "GET"))
        await asyncio.sleep(0)
        draining.begin()
        await asyncio.wait_for(draining.quiet(), 5)
        probes = [asyncio.create_task(ask(app, path, "GET")) for path in ("/healthz", "/readyz")]
        await asyncio.sleep(0)
        inner.leave.set()
        await asyncio.gather(listening, *probes)
        return inner.begun

    assert asyncio.run(story()) == ["/mcp", "/healthz", "/readyz"]
