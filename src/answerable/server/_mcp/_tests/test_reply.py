import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from starlette.types import Message

from answerable.server._mcp._ports import Asked, RpcFailed
from answerable.server._mcp._reply import Reply
from answerable.tools import NobodyAsked


class Connection:
    """One HTTP request as its server sees it: a client that stays, or has left."""

    def __init__(self, *, has_left: bool = False) -> None:
        self.sent: list[Message] = []
        self._left = asyncio.Event()
        if has_left:
            self._left.set()

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


class Silent:
    """A voice that nobody uses."""

    def note(self, method: str, params: Mapping[str, Any]) -> None: ...

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        raise NobodyAsked(-1, "nobody")

    def prime(self, retry_ms: int | None) -> None: ...

    def pause(self) -> None: ...


def given(
    connection: Connection, *, notes: int = 0, fails: bool = False, can_stream: bool = True
) -> tuple[Connection, list[str]]:
    """What a client got, and the marks of its delivery."""
    marks: list[str] = []

    async def run() -> None:
        reply = Reply(connection.receive, connection.send, number=7, can_stream=can_stream)
        asked = Asked(
            method="tools/call",
            params={},
            headers={},
            agent="desk",
            is_modern=True,
            capabilities={},
            voice=Silent(),
            on_delivered=[lambda: marks.append("delivered")],
        )

        async def work() -> dict[str, Any]:
            asked.told["answerable-session"] = "run_1"
            for number in range(notes):
                reply.note({"n": number})
                await asyncio.sleep(0)
            if fails:
                raise RpcFailed(-32601, "no such method")
            return {"done": True}

        async with asyncio.timeout(10):
            await reply.give(asked, work(), lambda code: 404)

    asyncio.run(run())
    return connection, marks


def test_an_answer_with_nothing_before_it_is_json_and_marked_as_delivered() -> None:
    connection, marks = given(Connection())

    assert connection.status == 200
    assert connection.headers[b"content-type"] == b"application/json"
    assert connection.headers[b"answerable-session"] == b"run_1"
    assert orjson.loads(connection.body) == {"jsonrpc": "2.0", "id": 7, "result": {"done": True}}
    assert marks == ["delivered"]


def test_an_answer_with_something_before_it_is_a_stream_that_ends_with_it() -> None:
    connection, marks = given(Connection(), notes=2)

    said = [line.removeprefix(b"data: ") for line in connection.body.split(b"\r\n") if line.startswith(b"data: ")]
    assert connection.headers[b"content-type"] == b"text/event-stream"
    assert [orjson.loads(each).get("n") for each in said] == [0, 1, None]
    assert marks == ["delivered"]


def test_a_client_that_takes_no_stream_gets_the_answer_alone() -> None:
    connection, _ = given(Connection(), notes=2, can_stream=False)

    assert orjson.loads(connection.body)["result"] == {"done": True}


def test_an_error_has_its_own_status() -> None:
    connection, _ = given(Connection(), fails=True)

    assert connection.status == 404
    assert orjson.loads(connection.body)["error"] == {"code": -32601, "message": "no such method"}


@pytest.mark.requirement("TL-4")
@pytest.mark.parametrize("notes", [0, 1])
def test_an_answer_to_a_client_that_has_left_is_not_marked_as_delivered(notes: int) -> None:
    _, marks = given(Connection(has_left=True), notes=notes)

    assert marks == []
