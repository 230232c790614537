"""What comes back over kept connections, however a server cuts it, ends it or gets it wrong. On both event loops."""

import asyncio
import contextlib
import gzip
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from answerable.http import AnswerBroken, HttpClient, NotConnected
from answerable.http._tests.certificates import a_certificate

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nlater: yes\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\nhello"
PATIENCE_S = 60
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers every request with the next of these bytes; None: hangs up instead."""

    def __init__(self, *answers: bytes | None, hangs_up: bool = False) -> None:
        self.connections = 0
        self.heads: list[bytes] = []
        self.left = asyncio.Event()
        self._answers = list(answers)
        self._hangs_up = hangs_up

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self._answers:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                answer = self._answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if self._hangs_up:
                    break
            else:
                await reader.read()
        finally:
            self.left.set()


@contextlib.asynccontextmanager
async def asking(serve: Serve, **more: Any) -> AsyncIterator[tuple[HttpClient, str]]:
    """A client, and the address of a server that does this with each connection."""
    serving: set[asyncio.Task[Any] | None] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    client = HttpClient(headers={"x-gate": "ours"}, trust=ssl.create_default_context, **more)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield client, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        await client.close()
        server.close()
        await asyncio.gather(*filter(None, serving))


@contextlib.asynccontextmanager
async def _closing(client: HttpClient) -> AsyncIterator[HttpClient]:
    try:
        yield client
    finally:
        await client.close()


async def body_of(client: HttpClient, url: str, body: bytes = b"{}") -> bytes:
    async with client.ask("POST", url, body, headers={}) as answer:
        return await answer.read()


def run(main: Callable[[], Any], loop: str = "asyncio") -> Any:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_requests_one_after_another_share_a_connection(loop: str) -> None:
    async def main() -> None:
        server = Server(OK, CHUNKED, OK)
        async with asking(server) as (client, url):
            assert [await body_of(client, url) for _ in range(3)] == [b"hello"] * 3
        assert server.connections == 1
        assert b"x-gate: ours\r\n" in server.heads[2]

    run(main, loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_requests_at_a_time_have_a_connection_each(loop: str) -> None:
    async def main() -> None:
        begun = 0
        both = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal begun
            begun += 1
            if begun == 2:
                both.set()
            await reader.readuntil(b"\r\n\r\n{}")
            await both.wait()
            writer.write(OK)
            await reader.read()

        async with asking(serve) as (client, url):
            assert set(await asyncio.gather(body_of(client, url), body_of(client, url))) == {b"hello"}

    run(main, loop)


@settings(max_examples=25, deadline=None)
@given(whole=st.sampled_from([OK, CHUNKED]), cuts=st.lists(st.integers(1, 80), max_size=6))
def test_an_answer_is_the_same_however_it_is_cut(whole: bytes, cuts: list[int]) -> None:
    async def main() -> None:
        places = [0, *sorted({min(cut, len(whole)) for cut in cuts}), len(whole)]

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n{}")
            for start, end in itertools.pairwise(places):
                writer.write(whole[start:end])
                await writer.drain()
                await asyncio.sleep(0)
            await reader.read()

        async with asking(serve) as (client, url):
            assert await body_of(client, url) == b"hello"

    run(main)


@pytest.mark.parametrize("loop", LOOPS)
def test_without_a_length_the_body_ends_where_the_connection_does(loop: str) -> None:
    async def main() -> None:
        async with asking(Server(TO_THE_END, hangs_up=True)) as (client, url):
            assert await body_of(client, url) == b"hello"

    run(main, loop)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        OK[:-1],
        CHUNKED[:-2],
        CHUNKED[:-20],
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 4\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        b"SSH-2.0-hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nlong: " + b"x" * 2_000_000,
        CHUNKED.partition(b"later")[0] + b"later: " + b"x" * 2_000_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_whole_answer_is_told_as_broken(said: bytes) -> None:
    async def main() -> None:
        async with asking(Server(said, hangs_up=True)) as (client, url):
            with pytest.raises(AnswerBroken):
                await body_of(client, url)

    run(main)


def test_what_came_before_a_stream_broke_has_come() -> None:
    async def main() -> None:
        seen = b""
        async with asking(Server(CHUNKED[:-20], hangs_up=True)) as (client, url):
            with contextlib.suppress(AnswerBroken):
                async with client.ask("POST", url, b"{}", headers={}) as answer:
                    async for chunk in answer.chunks:
                        seen += chunk
                    pytest.fail("it came to an end")
        assert b"hello".startswith(seen)
        assert seen

    run(main)


def test_interim_answers_are_passed_over() -> None:
    async def main() -> None:
        early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nx-early: 1\r\n\r\n"
        async with (
            asking(Server(early + OK)) as (client, url),
            client.ask("POST", url, b"{}", headers={}) as answer,
        ):
            assert (answer.status, await answer.read()) == (200, b"hello")
            assert "x-early" not in answer.headers

    run(main)


def test_an_answer_that_was_compressed_all_the_same_is_read() -> None:
    async def main() -> None:
        body = gzip.compress(b"hello")
        said = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        async with asking(Server(said)) as (client, url):
            assert await body_of(client, url) == b"hello"

    run(main)


@pytest.mark.parametrize(
    "first",
    [
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
        OK.replace(b"HTTP/1.1", b"HTTP/1.0"),
        TO_THE_END.replace(b"200", b"204")
        .removesuffix(b"hello")
        .replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("loop", LOOPS)
def test_what_follows_an_answer_is_never_taken_for_the_next(first: bytes, loop: str) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n{}")
            writer.write(first if b"/first" in head else OK)
            await reader.read()

        async with asking(serve) as (client, url):
            await body_of(client, url + "/first")
            assert await body_of(client, url) == b"hello"

    run(main, loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_said_on_an_idle_connection_is_never_taken_for_an_answer(loop: str) -> None:
    async def main() -> None:
        is_idle, is_gone = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n{}")
            writer.write(OK)
            if b"/first" in head:
                await is_idle.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
            await reader.read()  # until the client hangs up
            is_gone.set()

        async with asking(serve) as (client, url):
            await body_of(client, url + "/first")
            is_idle.set()
            await is_gone.wait()
            assert await body_of(client, url) == b"hello"

    run(main, loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_who_leaves_before_the_end_hangs_up(loop: str) -> None:
    async def main() -> None:
        server = Server(CHUNKED[:-20], OK)
        async with asking(server) as (client, url):
            async with client.ask("POST", url, b"{}", headers={}):
                pass
            await server.left.wait()

    run(main, loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_who_stops_waiting_hangs_up(loop: str) -> None:
    async def main() -> None:
        arrived, left = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n{}")
            arrived.set()
            await reader.read()
            left.set()

        async with asking(serve) as (client, url):
            task = asyncio.ensure_future(body_of(client, url))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await left.wait()

    run(main, loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_nobody_reads_is_not_taken_in(loop: str) -> None:
    async def main() -> None:
        size = 64 << 20
        written = 0
        is_stuck = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal written
            await reader.readuntil(b"\r\n\r\n{}")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            while written < size:
                writer.write(b"x" * (1 << 20))
                written += 1 << 20
                if written > size // 2:
                    is_stuck.set()
                await writer.drain()

        async with asking(serve) as (client, url), client.ask("POST", url, b"{}", headers={}) as answer:
            # As long as nobody reads, the connection fills up, and no further; then all of it is read.
            for _ in range(2000):
                await asyncio.sleep(0)
            assert not is_stuck.is_set()
            assert sum([len(chunk) async for chunk in answer.chunks]) == size

    run(main, loop)


def test_a_header_that_would_be_two_is_not_sent() -> None:
    async def main() -> None:
        server = Server(OK)
        async with asking(server) as (client, url):
            for headers in ({"x": "a\r\ny: b"}, {"x": "a\nb"}, {"x\r\ny": "b"}):
                with pytest.raises(NotConnected):
                    async with client.ask("POST", url, headers=headers):
                        pass
        assert server.heads == []

    run(main)


@pytest.mark.parametrize("loop", LOOPS)
def test_where_nobody_listens_nothing_was_sent(loop: str) -> None:
    async def main() -> None:
        async with asking(Server(OK)) as (_, url):
            pass
        async with _closing(HttpClient(headers={}, trust=ssl.create_default_context)) as client:
            for address in (url, "https" + url.removeprefix("http")):
                with pytest.raises(NotConnected):
                    await body_of(client, address)

    run(main, loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_server_is_spoken_to_only_if_its_certificate_is_trusted(loop: str, tmp_path: Path) -> None:
    certificate = a_certificate(tmp_path)

    async def main() -> None:
        server = Server(OK, OK)
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trusting.load_cert_chain(certificate)
        listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=trusting)
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        named = HttpClient(headers={}, trust=lambda: ssl.create_default_context(cafile=certificate))
        unnamed = HttpClient(headers={}, trust=ssl.create_default_context)
        async with asyncio.timeout(PATIENCE_S):
            assert [await body_of(named, url) for _ in range(2)] == [b"hello"] * 2
            assert server.connections == 1
            with pytest.raises(NotConnected):
                await body_of(unnamed, url)
            assert len(server.heads) == 2
            await named.close()
            await unnamed.close()
            await server.left.wait()
        listening.close()

    run(main, loop)


def test_addresses_out_of_the_ordinary_are_asked_as_well() -> None:
    async def main() -> None:
        server = Server(OK, OK)
        async with asking(server) as (client, url):
            with_a_name = url.replace("http://", "http://me:secret@")
            assert await body_of(client, with_a_name) == b"hello"
            assert b"Authorization: Basic" in server.heads[0]
            assert await body_of(client, url + "/a b?q=1") == b"hello"
            assert server.heads[1].startswith(b"POST /v1/a%20b?q=1 HTTP/1.1\r\n")

    run(main)
