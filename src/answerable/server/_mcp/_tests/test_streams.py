import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Message

from answerable.server._mcp._streams import EventStream


class Reader:
    """A connection: what was sent on it, and whether its client has left."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.left = asyncio.Event()
        self.is_over = False
        self.read = asyncio.Event()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.sent.append(message["body"])
            self.is_over = not message.get("more_body", False)
            self.read.set()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    @property
    def text(self) -> str:
        return b"".join(self.sent).decode()


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await story

    asyncio.run(bounded())


def test_events_are_read_in_order_and_the_last_one_ends_the_stream() -> None:
    async def story() -> None:
        stream, reader = EventStream(), Reader()
        stream.add({"n": 1})
        reading = asyncio.create_task(stream.write(reader.send, {}, reader=stream.enter()))
        await reader.read.wait()
        stream.add({"n": 2})
        stream.end()

        assert await reading
        assert reader.text == 'event: message\r\ndata: {"n":1}\r\n\r\nevent: message\r\ndata: {"n":2}\r\n\r\n'
        assert reader.is_over

    run(story())


def test_a_reader_that_is_sent_away_comes_back_for_what_it_has_not_heard() -> None:
    async def story() -> None:
        stream, first, second = EventStream("s"), Reader(), Reader()
        stream.prime(100)
        reading = asyncio.create_task(stream.write(first.send, {}, reader=stream.enter()))
        await first.read.wait()
        stream.pause()
        was_whole = await reading
        stream.add({"n": 1})
        stream.end()
        is_whole = await stream.write(second.send, {}, reader=stream.enter(), after=1)

        assert (was_whole, is_whole) == (False, True)
        assert first.text == "id: s-1\r\nretry: 100\r\ndata: \r\n\r\n"
        assert second.text == 'id: s-2\r\nevent: message\r\ndata: {"n":1}\r\n\r\n'

    run(story())


def test_a_reader_that_is_sent_away_before_it_began_still_hears_what_was_said_until_then() -> None:
    async def story() -> None:
        stream, reader = EventStream("s"), Reader()
        entered = stream.enter()
        stream.prime(100)
        stream.pause()
        stream.add({"n": 1})

        assert not await stream.write(reader.send, {}, reader=entered)
        assert reader.text == "id: s-1\r\nretry: 100\r\ndata: \r\n\r\n"
        assert reader.is_over

    run(story())


def test_a_second_reader_takes_the_place_of_the_first() -> None:
    async def story() -> None:
        stream, first, second = EventStream("s"), Reader(), Reader()
        stream.add({"n": 1})
        old = asyncio.create_task(stream.write(first.send, {}, reader=stream.enter()))
        await first.read.wait()
        new = asyncio.create_task(stream.write(second.send, {}, reader=stream.enter()))
        await second.read.wait()
        stream.add({"n": 2})
        stream.end()
        await asyncio.wait((old, new))

        assert '"n":2' not in first.text
        assert '"n":1' in second.text
        assert '"n":2' in second.text

    run(story())


def test_a_reader_that_leaves_leaves_the_stream_unread() -> None:
    async def story() -> None:
        stream, reader = EventStream(), Reader()
        stream.add({"n": 1})
        reading = asyncio.create_task(stream.write_until_left(reader.send, reader.receive, {}))
        await reader.read.wait()
        assert stream.is_read
        reader.left.set()
        await reading

        assert not stream.is_read

    run(story())
