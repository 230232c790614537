"""Providers behind the wire: an agent's own request goes to one of them, and its answer comes back as it is."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import orjson

from answerable.action import Finding, Step
from answerable.core import ActionKind, AnswerableError, Description, Effect, Outcome, Usage, stable_json
from answerable.http import HttpAnswer
from answerable.identity import (
    Caller,
    CredentialMissing,
    CredentialOutOfScope,
    EnvironmentCrossed,
    Grant,
    Grants,
    TokenNotIssued,
    VaultDamaged,
)
from answerable.models._chat import ChatDialect
from answerable.models._dialects import Asked, Check, Dialect
from answerable.models._drivers import LocalProvider, ProviderClient, cost_nano_usd, load_prices, refusal_of
from answerable.models._errors import (
    ModelLost,
    ModelRejected,
    ModelReplyInvalid,
    ModelUnavailable,
    ModelUnknown,
    ProviderUnusable,
)
from answerable.models._messages import MessagesDialect
from answerable.models._passage import Passage
from answerable.models._ports import Cloak, ProviderFacts
from answerable.models._sse import SseReader

__all__ = ["DialectName", "Upstream", "Upstreams", "WireCall"]

DialectName = Literal["chat", "messages"]
_DIALECTS: dict[DialectName, Dialect] = {"chat": ChatDialect(), "messages": MessagesDialect()}
_BYTES_PER_TOKEN_AT_LEAST = 2
_MOST_BYTES = 64 << 20
_WITHOUT_CREDENTIAL = (CredentialMissing, CredentialOutOfScope, EnvironmentCrossed, TokenNotIssued, VaultDamaged)
_PASSED = ("anthropic-beta", "anthropic-version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A provider that agents elsewhere reach through the gate.

    Args:
        name: in front of the colon: `openai` in `openai:gpt-5-mini`; once in each dialect.
        dialect: `chat` (Chat Completions) or `messages` (Anthropic's).
        base_url: up to and including `/v1`.
        key: the provider's, which only the gate knows. Never printed.
        first_byte: how long the provider may be silent at first.
        between_bytes: how long it may be silent later.
        max_tokens: the most an answer may have where the agent sets no limit.
        prices_of: address of the provider whose list prices apply; by default `base_url`.
        proxy: as for `OpenAIConfig`.
        ca_file: as for `OpenAIConfig`.
        grants: who has the provider's credential, instead of `key`.
    """

    name: str
    dialect: DialectName
    base_url: str
    key: str = field(default="", repr=False)
    first_byte: timedelta = timedelta(seconds=60)
    between_bytes: timedelta = timedelta(seconds=60)
    max_tokens: int = 4096
    prices_of: str = ""
    proxy: str = ""
    ca_file: str = ""
    grants: Grants | None = None


class Upstreams:
    """The providers behind the wire, and which of them serves a model."""

    def __init__(self) -> None:
        self._upstreams: dict[tuple[DialectName, str], tuple[Upstream, ProviderClient | LocalProvider]] = {}
        self._routes: dict[str, tuple[str, ...]] = {}

    def add(self, upstream: Upstream | LocalProvider) -> None:
        """Serve a provider's models as `name:model`; the local one's in every dialect.

        Raises:
            ProviderUnusable: its name is taken in this dialect or cannot stand before a colon, or its address is none.
        """
        if isinstance(upstream, LocalProvider):
            for dialect in _DIALECTS:
                self._put(_local(upstream, dialect), upstream)
            return
        if not upstream.base_url.startswith(("https://", "http://")):
            raise ProviderUnusable(
                provider=upstream.name, problem="its base URL does not begin with http:// or https://"
            )
        self._put(upstream, ProviderClient(proxy=upstream.proxy, ca_file=upstream.ca_file))

    def route(self, name: str, *models: str) -> None:
        """Serve `name` by the first of these `provider:model` that answers."""
        self._routes[name] = models

    async def start(self) -> None:
        """Load the price list, off the loop."""
        if not all(isinstance(client, LocalProvider) for _, client in self._upstreams.values()):
            await asyncio.to_thread(load_prices)

    async def close(self) -> None:
        """Hang up everywhere."""
        for _, client in self._upstreams.values():
            await client.close()

    def names(self, dialect: DialectName) -> tuple[str, ...]:
        """What may be asked for by name in this dialect: the routes, sorted."""
        return tuple(sorted(name for name, models in self._routes.items() if self._serves(dialect, models[0])))

    def models(self) -> tuple[str, ...]:
        """The `provider:model` that routes name, sorted: those that policies can speak of."""
        return tuple(sorted({model for models in self._routes.values() for model in models}))

    def candidates(self, dialect: DialectName, model: str) -> tuple[str, ...]:
        """The `provider:model` that serve this name, in the order in which they are tried.

        A name without a route is the first provider's of this dialect.

        Raises:
            ModelUnknown: nobody serves it.
        """
        wanted = self._routes.get(model) or ((model,) if ":" in model else ())
        if not wanted:
            wanted = tuple(f"{up.name}:{model}" for up, _ in self._upstreams.values() if up.dialect == dialect)[:1]
        found = tuple(each for each in wanted if self._serves(dialect, each))
        if not found or not model:
            known = ", ".join(f"`{name}`" for name in self.names(dialect)) or "none by name"
            raise ModelUnknown(model=model, advice=f"routes of this dialect are: {known}")
        return found

    def call(
        self,
        dialect_name: DialectName,
        name: str,
        body: Any,
        *,
        headers: Mapping[str, str],
        check: Check,
        cloak: Cloak | None = None,
    ) -> "WireCall":
        """One call of `provider:model`, to be taken down the road; with a cloak, it goes out without personal data.

        Raises:
            NotGoverned: the request cannot be let through.
        """
        provider, _, model = name.partition(":")
        upstream, client = self._upstreams[dialect_name, provider]
        dialect = _DIALECTS[dialect_name]
        asked = dialect.asked(body, model=model, most_output=upstream.max_tokens)
        passed = {each: headers[each] for each in _PASSED if each in headers}
        return WireCall(name, model, upstream, client, dialect, asked, passed, check, cloak)

    def _serves(self, dialect: DialectName, name: str) -> bool:
        return (dialect, name.partition(":")[0]) in self._upstreams

    def _put(self, upstream: Upstream, client: ProviderClient | LocalProvider) -> None:
        key = upstream.dialect, upstream.name
        if not upstream.name or ":" in upstream.name or key in self._upstreams:
            raise ProviderUnusable(provider=upstream.name, problem="its name is empty, taken or holds a colon")
        self._upstreams[key] = upstream, client


class WireCall:
    """The effect of one request: asks the provider and passes the answer on, checked, as it comes."""

    def __init__(
        self,
        name: str,
        model: str,
        upstream: Upstream,
        client: ProviderClient | LocalProvider,
        dialect: Dialect,
        asked: Asked,
        passed: Mapping[str, str],
        check: Check,
        cloak: Cloak | None = None,
    ) -> None:
        self.name = name
        self.streams = asked.streams
        self.arguments = stable_json(asked.body)
        self.passage = Passage()
        self._model = model
        self._upstream = upstream
        self._client = client
        self._dialect = dialect
        self._asked = asked
        self._passed = passed
        self._answer = dialect.answer(check, asked)
        self._cloak = cloak
        self._caller = Caller()

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """A read whose cost is reserved: its input as estimated, and all that it may write.

        Raises:
            ModelUnknown: the local model is another one.
            Refused: it carries personal data that must not leave.
        """
        if self._cloak is not None:
            self._cloak.check(name, self._asked.body)
        facts = self._client.describe(self._model) if isinstance(self._client, LocalProvider) else ProviderFacts()
        model = facts.identity(self._upstream.name, self._model)
        return Description(effect=Effect.READ, ceiling=self._at_most(), model=model)

    async def probe(self, step: Step) -> Finding:
        """Nobody can be asked; a lost call is simply made again."""
        return "cannot say"

    async def execute(self, step: Step) -> Outcome:
        """Ask, and pass on; whatever breaks is an outcome, and what may have been used is counted as used."""
        passage = self.passage
        if passage.is_left:
            passage.end()
            nobody = ModelUnavailable(model=self.name, reason="the agent hung up before it was asked")
            return Outcome.of_error("failed", nobody)
        self._caller = Caller(tool=self.name, agent=step.action.agent, environment=step.action.environment)
        clock = asyncio.timeout(self._upstream.first_byte.total_seconds())
        try:
            async with clock:
                passage.begin(step.intent, clock)
                return await self._ask()
        except TimeoutError:
            if not clock.expired():
                raise
            return self._lost(ModelLost(model=self.name, reason=self._why_late()))
        except (ModelUnavailable, ModelRejected) as error:
            return Outcome.of_error("failed", error, usage=Usage(calls=1))
        except _WITHOUT_CREDENTIAL as error:
            return Outcome.of_error("failed", error)  # never sent
        except ModelLost as error:
            return self._lost(error)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            problem = f"it is not of this dialect ({type(error).__name__})"
            return self._lost(ModelReplyInvalid(model=self.name, problem=problem))
        finally:
            passage.end()

    async def _ask(self) -> Outcome:
        granted = await self._granted()
        async with self._post(granted) as answer:
            if answer.status != 401 or granted is None or not granted.is_minted:
                return await self._taken(answer)
        # It did nothing with it: the token was revoked, or had run out by its clock.
        async with self._post(await self._granted(is_again=True)) as answer:
            return await self._taken(answer)

    async def _granted(self, *, is_again: bool = False) -> Grant | None:
        up = self._upstream
        return await up.grants.grant(self._caller, is_again=is_again) if up.grants else None

    def _post(self, granted: Grant | None) -> contextlib.AbstractAsyncContextManager[HttpAnswer]:
        up, dialect = self._upstream, self._dialect
        headers = {**dialect.headers(granted.token if granted else up.key), **self._passed}
        url = up.base_url.rstrip("/") + dialect.path
        body = self._asked.body if self._cloak is None else self._cloak.hide(self._asked.body)
        return self._client.post(url, orjson.dumps(body), headers=headers, model=self.name)

    async def _taken(self, answer: HttpAnswer) -> Outcome:
        if answer.status != 200:
            body = await self._read(answer)
            self.passage.rejected = answer.status, body
            raise refusal_of(self.name, answer.status, answer.headers, body)
        if self.streams:
            return self._done(await self._stream(answer), kind="text/event-stream")
        whole = await self._read(answer)
        # Revealed before it is checked: a tool call is decided with the values that it is made with.
        whole = whole if self._cloak is None else self._cloak.reveal_body(whole)
        return self._done(await self._answer.body(whole), kind="application/json")

    async def _stream(self, answer: HttpAnswer) -> bytes:
        reader = SseReader()
        passed = bytearray()
        async for chunk in answer.chunks:
            self.passage.within(self._upstream.between_bytes.total_seconds())
            for event in reader.feed(chunk):
                out = await self._answer.event(event)
                if out and self._cloak is not None:
                    out = self._cloak.reveal_events(out)
                if out:
                    self.passage.send(out)
                    passed += out
        if self._cloak is not None and (rest := self._cloak.reveal_end()):
            self.passage.send(rest)
            passed += rest
        if not self._answer.is_whole:
            raise ModelLost(model=self.name, reason="the stream ended before its end")
        return bytes(passed)

    async def _read(self, answer: HttpAnswer) -> bytes:
        body = bytearray()
        async for chunk in answer.chunks:
            self.passage.within(self._upstream.between_bytes.total_seconds())
            body += chunk
            if len(body) > _MOST_BYTES:
                raise ValueError("a body beyond all measure")
        return bytes(body)

    def _done(self, body: bytes, *, kind: str) -> Outcome:
        counted = self._answer.counted
        said = {
            "body": body.decode(errors="replace"),
            "type": kind,
            "model": self._answer.model or self._model,
            "metered": counted is not None,
        }
        used = self._at_most() if counted is None else self._usage(*counted)
        return Outcome(status="ok", value=stable_json(said), usage=used)

    def _lost(self, error: AnswerableError) -> Outcome:
        if self.passage.has_sent and not self.passage.is_left:
            self.passage.send(self._dialect.broken(error.message))
        # The provider may have done the work: a budget counts it as done.
        return Outcome.of_error("failed", error, usage=self._at_most())

    def _why_late(self) -> str:
        if self.passage.is_left:
            return "the agent hung up"
        limit = self._upstream.between_bytes if self.passage.has_sent else self._upstream.first_byte
        return f"nothing came for {limit.total_seconds():g} s"

    def _at_most(self) -> Usage:
        return self._usage(-(-len(self.arguments) // _BYTES_PER_TOKEN_AT_LEAST), self._asked.most_output)

    def _usage(self, read: int, written: int) -> Usage:
        prices_of = self._upstream.prices_of or self._upstream.base_url
        cost = cost_nano_usd(prices_of, self._model, read, written) if prices_of else 0
        return Usage(input_tokens=read, output_tokens=written, cost_nano_usd=cost or 0, calls=1)


def _local(provider: LocalProvider, dialect: DialectName) -> Upstream:
    # It answers one after another, and says nothing while it reads: it may be silent for as long as it may take.
    patience = provider.config.timeout
    return Upstream(name=provider.name, dialect=dialect, base_url="", first_byte=patience, between_bytes=patience)
