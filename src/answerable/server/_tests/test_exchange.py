"""One request and its answer: how much is read, what is sent, and who learns that nobody reads it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from answerable.server._exchange import BodyTooLarge, Exchange


class Connection:
    """A client, as a server hands it to an application."""

    def __init__(self, *parts: bytes) -> None:
        self.sent: list[dict[str, Any]] = []
        self.read = 0
        self._parts = list(parts) or [b""]
        self._gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._parts:
            self.read += 1
            return {"type": "http.request", "body": self._parts.pop(0), "more_body": bool(self._parts)}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def leave(self) -> None:
        self._parts.clear()
        self._gone.set()

    def exchange(self, *headers: tuple[bytes, bytes]) -> Exchange:
        return Exchange({"type": "http", "headers": headers}, self.receive, self.send)


def through(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


async def a_few_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_of_a_header_sent_twice_the_first_counts() -> None:
    async def story() -> None:
        exchange = Connection().exchange((b"x-api-key", b"one"), (b"x-api-key", b"two"))
        assert exchange.headers["x-api-key"] == "one"

    through(story)


def test_a_body_beyond_its_limit_is_not_read_to_its_end() -> None:
    async def story() -> None:
        connection = Connection(*[b"x" * 10] * 100)
        with pytest.raises(BodyTooLarge):
            await connection.exchange().body(most_bytes=25)
        assert connection.read == 3

    through(story)


def test_a_body_in_parts_comes_whole_and_is_answered_with_its_length() -> None:
    async def story() -> None:
        connection = Connection(b'{"a"', b":1}")
        exchange = connection.exchange()
        assert await exchange.body(most_bytes=100) == b'{"a":1}'
        await exchange.answer(201, {"answerable-session": "run_1"}, b"done")
        start, body = connection.sent
        assert start["status"] == 201
        assert dict(start["headers"]) == {b"answerable-session": b"run_1", b"content-length": b"4"}
        assert (body["body"], body["more_body"]) == (b"done", False)

    through(story)


def test_who_leaves_before_the_answers_end_is_noticed_soon_and_after_it_not() -> None:
    async def story() -> None:
        seen: list[str] = []
        noticed = asyncio.Event()
        early, late = Connection(), Connection()
        leaves, stays = early.exchange(), late.exchange()
        for exchange in (leaves, stays):
            await exchange.body(most_bytes=10)
        leaves.on_leave(noticed.set)
        stays.on_leave(lambda: seen.append("late"))
        early.leave()
        await stays.answer(200, {}, b"")
        late.leave()
        await noticed.wait()
        await a_few_turns()
        assert seen == []
        assert leaves.has_left
        assert not stays.has_left

    through(story)


def test_who_left_just_before_the_answer_was_sent_has_not_had_it() -> None:
    async def story() -> None:
        seen: list[str] = []
        connection = Connection()
        exchange = connection.exchange()
        await exchange.body(most_bytes=10)
        exchange.on_leave(lambda: seen.append("left"))
        connection.leave()
        await exchange.answer(200, {}, b"")
        assert exchange.has_left
        assert seen == ["left"]

    through(story)


def test_who_left_while_sending_has_left() -> None:
    async def story() -> None:
        connection = Connection(b"half", b"a body")
        exchange = connection.exchange()
        connection.leave()
        await exchange.body(most_bytes=100)
        seen: list[str] = []
        exchange.on_leave(lambda: seen.append("left"))
        assert seen == ["left"]

    through(story)


def test_a_stream_is_sent_as_it_comes_and_ended() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for chunk in (b"a", b"b"):
            yield chunk

    async def story() -> None:
        connection = Connection()
        await connection.exchange().stream({}, chunks())
        assert [message.get("body") for message in connection.sent[1:]] == [b"a", b"b", b""]
        assert [message.get("more_body") for message in connection.sent[1:]] == [True, True, False]

    through(story)
