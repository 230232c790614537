"""All models of a gate, under one roof: the models half of the road's `Effects`."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from answerable.action import Finding, Step
from answerable.core import ActionKind, AnswerableError, Description, Effect, Outcome, Usage, sha256_name, stable_json
from answerable.models._drivers import LocalProvider, ScriptedProvider, cost_nano_usd, load_prices
from answerable.models._errors import (
    ModelCallInvalid,
    ModelRejected,
    ModelReplyInvalid,
    ModelUnavailable,
    ModelUnknown,
    ProviderUnusable,
)
from answerable.models._ports import ModelReply, ModelRequest, Provider, ProviderFacts
from answerable.models._reply import ReplyMisfit, check_schema, parse_reply

__all__ = ["Models"]

_log = logging.getLogger(__name__)
_ROLES = ("system", "user", "assistant")
_ARGUMENTS = {"messages", "maxTokens", "schema"}
# A token is seldom less than two bytes of text; each message adds a few tokens of framing.
_BYTES_PER_TOKEN_AT_LEAST = 2
_TOKENS_PER_MESSAGE = 8
_MOST_TRIES = 2  # within the ceiling, which counts them
_RETRY_TOKENS = 256  # what the error adds to the second try, beside the reply that it quotes


class Models:
    """Providers of models, by name; the gate calls them, meters them and checks what they reply."""

    def __init__(self) -> None:
        self._providers: dict[str, Provider] = {}
        self._unpriced: set[str] = set()

    def add(self, provider: Provider) -> None:
        """Make its models callable as `provider:model`.

        Raises:
            ProviderUnusable: the name is taken, or cannot stand before a colon.
        """
        if not provider.name or ":" in provider.name:
            raise ProviderUnusable(provider=provider.name, problem="its name is empty or holds a colon")
        if provider.name in self._providers:
            raise ProviderUnusable(provider=provider.name, problem="there is already a provider of this name")
        self._providers[provider.name] = provider

    async def start(self) -> None:
        """Load the price list, off the loop; without it the first call would wait for it."""
        if not all(isinstance(provider, LocalProvider | ScriptedProvider) for provider in self._providers.values()):
            await asyncio.to_thread(load_prices)

    async def close(self) -> None:
        """Release every provider's connections."""
        for provider in self._providers.values():
            await provider.close()

    def names(self) -> tuple[str, ...]:
        """The providers, sorted."""
        return tuple(sorted(self._providers))

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """What the call is, with the most it can use: input as estimated, output as allowed.

        Raises:
            Refused: no such model, or the call is malformed.
        """
        provider, facts, request = self._parsed(name, arguments)
        return Description(
            # Asking a model changes nothing outside; its cost is the ceiling's business.
            effect=Effect.READ,
            ceiling=self._ceiling(facts, request),
            schema=sha256_name(stable_json(request.schema)) if request.schema is not None else "",
            timeout=facts.timeout,
            model=facts.identity(provider.name, request.model),
        )

    async def execute(self, step: Step) -> Outcome:
        """Ask; a reply that misses its schema is asked for once more, with what was wrong with it."""
        name = step.action.name
        provider, facts, request = self._parsed(name, step.action.arguments)
        used = Usage()
        problem = ""
        for _ in range(_MOST_TRIES):
            try:
                reply = await provider.complete(request)
            except (ModelUnavailable, ModelRejected) as error:
                return Outcome.of_error("failed", error, usage=used + Usage(calls=1))
            except AnswerableError as error:
                # The provider may have done the work: a budget counts it as done.
                return Outcome.of_error("failed", error, usage=used + self._at_most(facts, request))
            used += self._metered(facts, request.model, reply.input_tokens, reply.output_tokens)
            value = self._value(facts, reply)
            if request.schema is None:
                return Outcome(status="ok", value=stable_json(value), usage=used)
            try:
                value["data"] = parse_reply(reply.text, request.schema)
            except ReplyMisfit as misfit:
                problem = str(misfit)
                request = _asked_again(request, reply, problem)
                continue
            return Outcome(status="ok", value=stable_json(value), usage=used)
        return Outcome.of_error("failed", ModelReplyInvalid(model=name, problem=problem), usage=used)

    async def probe(self, step: Step) -> Finding:
        """Nobody can be asked; a lost model call is simply made again."""
        return "cannot say"

    def _parsed(self, name: str, arguments: bytes) -> tuple[Provider, ProviderFacts, ModelRequest]:
        prefix, _, model = name.partition(":")
        provider = self._providers.get(prefix)
        if provider is None or not model:
            known = ", ".join(f"`{known}:…`" for known in self.names()) or "none yet"
            raise ModelUnknown(model=name, advice=f"configured are: {known}")
        facts = provider.describe(model)
        return provider, facts, _request(name, model, orjson.loads(arguments))

    def _ceiling(self, facts: ProviderFacts, request: ModelRequest) -> Usage:
        first = self._at_most(facts, request)
        if request.schema is None:
            return first
        more = _input_tokens(request) + request.max_tokens + _RETRY_TOKENS
        return first + self._metered(facts, request.model, more, request.max_tokens)

    def _at_most(self, facts: ProviderFacts, request: ModelRequest) -> Usage:
        return self._metered(facts, request.model, _input_tokens(request), request.max_tokens)

    def _metered(self, facts: ProviderFacts, model: str, input_tokens: int, output_tokens: int) -> Usage:
        cost = self._cost(facts, model, input_tokens, output_tokens)
        return Usage(input_tokens=input_tokens, output_tokens=output_tokens, cost_nano_usd=cost or 0, calls=1)

    def _cost(self, facts: ProviderFacts, model: str, input_tokens: int, output_tokens: int) -> int | None:
        if not facts.prices_of:
            return 0
        cost = cost_nano_usd(facts.prices_of, model, input_tokens, output_tokens)
        if cost is None and model not in self._unpriced:
            self._unpriced.add(model)
            _log.warning("no list price is known for model %s: its cost is recorded as 0", model)
        return cost

    def _value(self, facts: ProviderFacts, reply: ModelReply) -> dict[str, Any]:
        return {
            "text": reply.text,
            "model": reply.model,
            "finish": reply.finish,
            "metered": reply.is_metered,
            "priced": self._cost(facts, reply.model, 0, 0) is not None,
        }


def _request(name: str, model: str, said: Any) -> ModelRequest:
    def invalid(problem: str) -> ModelCallInvalid:
        return ModelCallInvalid(model=name, problem=problem)

    if not isinstance(said, dict) or not {"messages", "maxTokens"} <= said.keys() <= _ARGUMENTS:
        raise invalid("its arguments are `messages`, `maxTokens` and perhaps `schema`")
    messages, most, schema = said["messages"], said["maxTokens"], said.get("schema")
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise invalid("`maxTokens` must be a whole number above zero")
    if not isinstance(messages, list) or not messages:
        raise invalid("there are no messages")
    for message in messages:
        if not isinstance(message, dict) or message.keys() != {"role", "content"}:
            raise invalid("a message has `role` and `content`")
        if message["role"] not in _ROLES or not isinstance(message["content"], str):
            raise invalid("a message's role is `system`, `user` or `assistant`, its content text")
    if schema is not None:
        if not isinstance(schema, dict):
            raise invalid("`schema` must be a JSON schema")
        try:
            check_schema(schema)
        except ValueError:
            raise invalid("`schema` is not a valid JSON schema") from None
    return ModelRequest(model=model, messages=tuple(messages), max_tokens=most, schema=schema)


def _input_tokens(request: ModelRequest) -> int:
    size = sum(len(message["content"].encode()) for message in request.messages)
    size += len(stable_json(request.schema)) if request.schema is not None else 0
    return -(-size // _BYTES_PER_TOKEN_AT_LEAST) + _TOKENS_PER_MESSAGE * len(request.messages)


def _asked_again(request: ModelRequest, reply: ModelReply, problem: str) -> ModelRequest:
    complaint = f"That reply cannot be used: {problem}. Reply again, with only a JSON value that fits the schema."
    more: tuple[Mapping[str, str], ...] = (
        {"role": "assistant", "content": reply.text},
        {"role": "user", "content": complaint},
    )
    return replace(request, messages=(*request.messages, *more))
