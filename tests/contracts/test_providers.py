"""What every model provider must do, over each built-in driver; `openai` against a real HTTP server, `local` for real.

The first part is the contract. The second is how the Chat Completions wire's failures are told apart.
"""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from answerable.core import AnswerableError
from answerable.http._tests.certificates import a_certificate
from answerable.models import (
    LocalConfig,
    LocalProvider,
    Message,
    ModelLost,
    ModelRejected,
    ModelReply,
    ModelReplyInvalid,
    ModelRequest,
    ModelUnavailable,
    OpenAIConfig,
    OpenAIProvider,
    Provider,
    ScriptedProvider,
)

KEY = "sk-test-key"
HELLO: tuple[Message, ...] = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "héllo"})
OPEN = {"type": "object", "properties": {"n": {"type": "integer"}}}
CLOSED = {**OPEN, "required": ["n"], "additionalProperties": False}


@dataclass
class Wire:
    """A model server on loopback: keeps what it was sent, and answers as it is told."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    hangs: bool = False
    cuts: bool = False
    seen: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def reply(self, asked: dict[str, Any]) -> bytes:
        if self.body is not None:
            return self.body
        echo = asked["messages"][-1]["content"]
        usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": f"echo {echo}"}}
        return json.dumps({"id": "c-1", "model": "m-2026-01", "choices": [choice], "usage": usage}).encode()


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Wire]:
    wire = Wire()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            wire.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, asked))
            if wire.hangs:
                wire.released.wait(10)
                return
            body = wire.reply(asked)
            self.send_response(wire.status)
            for name, value in wire.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body) + 100 * wire.cuts))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hangs up is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(certificate)
        server.socket = trust.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    wire.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}/v1"
    try:
        yield wire
    finally:
        wire.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with serving() as wire:
        yield wire


def openai(wire: Wire, **more: Any) -> OpenAIProvider:
    return OpenAIProvider(OpenAIConfig(key=KEY, base_url=wire.url, **more))


def scripted(wire: Wire) -> ScriptedProvider:
    return ScriptedProvider({"m": lambda messages: f"echo {messages[-1]['content']}"})


def local(wire: Wire) -> LocalProvider:
    return LocalProvider(LocalConfig(model="m"))


def ask(provider: Provider, *, schema: dict[str, Any] | None = None, times: int = 1) -> list[ModelReply]:
    async def asked() -> list[ModelReply]:
        try:
            request = ModelRequest(model="m", messages=HELLO, max_tokens=40, schema=schema)
            return [await provider.complete(request) for _ in range(times)]
        finally:
            await provider.close()

    return asyncio.run(asked())


contract = pytest.mark.parametrize("make", [openai, scripted, local])


@contract
@pytest.mark.requirement("MD-3")
def test_a_reply_carries_its_text_its_model_and_what_it_used(make: Callable[[Wire], Provider], wire: Wire) -> None:
    [reply] = ask(make(wire))

    assert reply.text
    assert reply.model
    assert reply.finish in ("stop", "length")
    assert reply.is_metered
    assert reply.input_tokens > 0
    assert 0 < reply.output_tokens <= 40


@contract
def test_the_same_messages_are_answered_again_over_the_same_provider(
    make: Callable[[Wire], Provider], wire: Wire
) -> None:
    first, second = ask(make(wire), times=2)

    assert first == second


@contract
def test_a_provider_describes_a_model_before_it_is_called(make: Callable[[Wire], Provider], wire: Wire) -> None:
    provider = make(wire)

    facts = provider.describe("m")

    assert provider.name in ("openai", "scripted", "local")
    assert bool(facts.prices_of) == (provider.name == "openai")
    assert wire.seen == []


@contract
def test_a_provider_can_be_closed_unused_and_twice(make: Callable[[Wire], Provider], wire: Wire) -> None:
    async def closed_twice() -> None:
        provider = make(wire)
        await provider.close()
        await provider.close()

    asyncio.run(closed_twice())


def test_the_request_is_a_chat_completion_with_the_key_as_bearer(wire: Wire) -> None:
    [reply] = ask(openai(wire))

    [(path, headers, body)] = wire.seen
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == {"model": "m", "messages": list(HELLO), "max_tokens": 40}
    assert (reply.text, reply.model, reply.finish) == ("echo héllo", "m-2026-01", "stop")
    assert (reply.input_tokens, reply.output_tokens) == (12, 3)


@pytest.mark.parametrize(("schema", "strict"), [(CLOSED, True), (OPEN, False)])
def test_a_schema_goes_as_response_format_strict_where_the_wire_can_be(
    wire: Wire, schema: dict[str, Any], strict: bool
) -> None:
    ask(openai(wire), schema=schema)

    said = wire.seen[0][2]["response_format"]
    assert said == {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": strict}}


def failure(provider: Provider) -> AnswerableError:
    with pytest.raises(AnswerableError) as failed:
        ask(provider)
    assert KEY not in json.dumps(failed.value.to_json())
    return failed.value


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {"code": "rate_limit_exceeded"}, ModelUnavailable),
        (429, {"code": "insufficient_quota"}, ModelRejected),
        (500, {}, ModelUnavailable),
        (503, {"type": "overloaded"}, ModelUnavailable),
        (400, {"code": "context_length_exceeded"}, ModelRejected),
        (401, {"code": "invalid_api_key", "message": f"bad key {KEY}"}, ModelRejected),
        (404, {"code": f"no such thing as {KEY}"}, ModelRejected),
        (307, {}, ModelRejected),
    ],
)
def test_a_refusal_is_transient_or_final_by_its_status(
    wire: Wire, status: int, error: dict[str, str], kind: type[AnswerableError]
) -> None:
    wire.status, wire.body = status, json.dumps({"error": error}).encode()

    said = failure(openai(wire))

    assert isinstance(said, kind)
    assert str(status) in said.message


@pytest.mark.parametrize(("header", "wait"), [("17", 17), ("99999999", 3600), ("soon", 0)])
def test_a_busy_provider_says_when_to_come_back(wire: Wire, header: str, wait: int) -> None:
    wire.status, wire.body, wire.headers = 429, b"not even JSON", {"retry-after": header}

    said = failure(openai(wire))

    assert isinstance(said, ModelUnavailable)
    assert said.retry_after_s == wait


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"[]",
        b'{"choices":[]}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":[{"message":{"content":null}}]}',
        b'{"choices":[{"message":{"content":[1]}}]}',
        b'{"choices":[{"message":{"content":"cut off',
        b"\xff\xfe",
    ],
)
def test_garbage_is_named_as_such_and_final(wire: Wire, body: bytes) -> None:
    wire.body = body

    assert isinstance(failure(openai(wire)), ModelReplyInvalid)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": "many"}])
def test_a_reply_without_counts_is_taken_at_what_it_could_have_been(wire: Wire, usage: Any) -> None:
    wire.body = json.dumps({"choices": [{"message": {"content": "hi"}}], "usage": usage}).encode()

    [reply] = ask(openai(wire))

    assert not reply.is_metered
    assert reply.output_tokens == 40
    assert reply.model == "m"


def test_nobody_listening_means_nothing_was_used() -> None:
    with serving() as wire:
        gone = openai(wire)

    assert isinstance(failure(gone), ModelUnavailable)


def test_silence_after_the_request_means_the_work_may_have_been_done(wire: Wire) -> None:
    wire.hangs = True

    assert isinstance(failure(openai(wire, timeout=timedelta(milliseconds=200))), ModelLost)


def test_a_reply_cut_short_means_the_work_may_have_been_done(wire: Wire) -> None:
    wire.cuts = True

    assert isinstance(failure(openai(wire)), ModelLost)


def test_a_redirect_is_not_followed_because_the_key_would_go_along(wire: Wire) -> None:
    wire.status, wire.body, wire.headers = 307, b"{}", {"location": wire.url + "/elsewhere"}

    said = failure(openai(wire))

    assert isinstance(said, ModelRejected)
    assert [path for path, _, _ in wire.seen] == ["/v1/chat/completions"]


def test_a_proxy_that_is_not_there_means_nothing_was_used(wire: Wire) -> None:
    with serving() as gone:
        proxy = gone.url.removesuffix("/v1")

    assert isinstance(failure(openai(wire, proxy=proxy)), ModelUnavailable)
    assert wire.seen == []


def test_through_a_proxy_the_name_is_the_proxys_to_look_up(wire: Wire) -> None:
    proxy = wire.url.removesuffix("/v1")

    [reply] = ask(OpenAIProvider(OpenAIConfig(key=KEY, base_url="http://models.invalid/v1", proxy=proxy)))

    assert reply.text == "echo héllo"
    assert [path for path, _, _ in wire.seen] == ["http://models.invalid/v1/chat/completions"]


def test_what_the_environment_says_of_proxies_changes_nothing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    assert ask(openai(wire))[0].text == "echo héllo"


def test_a_certificate_is_believed_only_if_its_issuer_is_named(tmp_path: Path) -> None:
    certificate = a_certificate(tmp_path)
    with serving(certificate) as wire:
        named = openai(wire, ca_file=str(certificate))
        unnamed = openai(wire)

        assert ask(named)[0].text == "echo héllo"
        assert isinstance(failure(unnamed), ModelUnavailable)
        assert len(wire.seen) == 1
