"""`/v1/chat/completions` and `/v1/messages`: an agent's own request, governed, and the provider's own answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from answerable.app import Gate
from answerable.core import AnswerableError, Outcome
from answerable.models import (
    Check,
    DialectName,
    ModelLost,
    ModelRejected,
    ModelUnavailable,
    NotGoverned,
    WireCall,
)
from answerable.runtime import Session
from answerable.server._errors import RequestMalformed, ToolNotSeen
from answerable.server._exchange import BodyTooLarge, Exchange
from answerable.server._front import confidence_of, headers_of, session_of
from answerable.server._telling import tell

__all__ = ["ModelEndpoint"]

_MOST_BYTES = 32 << 20
_JSON = {"content-type": "application/json"}
_STREAM = {"content-type": "text/event-stream; charset=utf-8"}


class ModelEndpoint:
    """One dialect's endpoint, as an ASGI application: it has to know whether its answers are read."""

    def __init__(self, gate: Gate, dialect: DialectName) -> None:
        self._gate = gate
        self._dialect: DialectName = dialect
        self._performing: set[asyncio.Task[Outcome]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(scope, receive, send)
        try:
            session = await session_of(self._gate, exchange.headers)
        except AnswerableError as error:
            await self._refuse(exchange, error)
            return
        try:
            await self._ask(exchange, session)
        except asyncio.CancelledError:
            if not exchange.has_left:
                raise  # the server ends
        except NotGoverned as error:
            await self._refuse(exchange, RequestMalformed(problem=str(error)), session)
        except AnswerableError as error:
            await self._refuse(exchange, error, session)

    async def _ask(self, exchange: Exchange, session: Session) -> None:
        body = await _json(exchange)
        # Who leaves stops waiting, so that nothing held is done, and no other provider asked, behind their back.
        # What is under way is in a task of the session and goes on: the same call made again gets its outcome.
        exchange.on_leave(_cancelling())
        candidates = self._gate.upstreams.candidates(self._dialect, _model(body))
        key, sure = exchange.headers.get("idempotency-key"), confidence_of(exchange.headers)
        # An SDK that tries again says so; the same question asked twice is otherwise meant twice.
        is_retry = exchange.headers.get("x-stainless-retry-count", "0") != "0"
        check = _check_for(self._gate, session)
        for left, name in enumerate(candidates, start=1 - len(candidates)):
            cloak = self._gate.cloak(name, session)
            call = self._gate.upstreams.call(
                self._dialect, name, body, headers=exchange.headers, check=check, cloak=cloak
            )
            asked = session.perform(
                "model", name, call.arguments, key=key, joins=is_retry, effects=call, confidence=sure
            )
            if call.streams:
                performing = self._keep(asyncio.create_task(asked))
                if await self._streamed(exchange, session, call, performing):
                    return
                outcome = await performing
            else:
                outcome = await asked
            if left and _is_for_the_next(outcome):
                session.delivered(outcome)
                continue
            await self._whole(exchange, session, call, outcome)
            return

    def _keep(self, performing: "asyncio.Task[Outcome]") -> "asyncio.Task[Outcome]":
        """Have it go on to its end, whatever becomes of the connection."""
        self._performing.add(performing)
        performing.add_done_callback(self._performed)
        return performing

    async def _whole(self, exchange: Exchange, session: Session, call: WireCall, outcome: Outcome) -> None:
        headers = {**headers_of(session, outcome), **_JSON}
        try:
            said = outcome.result
        except AnswerableError as error:
            told = tell(error, self._dialect)
            status, body = told.status, told.body
            if isinstance(error, ModelRejected) and call.passage.rejected is not None:
                status, body = call.passage.rejected
            await exchange.answer(status, {**headers, **told.headers}, body)
        else:
            await exchange.answer(200, {**headers, "content-type": said["type"]}, said["body"].encode())
        if not exchange.has_left:
            session.delivered(outcome)

    async def _streamed(
        self, exchange: Exchange, session: Session, call: WireCall, performing: "asyncio.Task[Outcome]"
    ) -> bool:
        """Whether the answer went out as a stream; it does not where there is none, or a recorded one."""
        passage = call.passage
        performing.add_done_callback(lambda _: passage.end())
        try:
            first = await passage.next()
            if first is None:
                return False

            async def passed() -> AsyncIterator[bytes]:
                chunk: bytes | None = first
                while chunk is not None:
                    yield chunk
                    chunk = await passage.next()
                await asyncio.shield(performing)  # on the record before the agent sees the end

            headers = {**headers_of(session, receipt=passage.intent), "cache-control": "no-cache", **_STREAM}
            await exchange.stream(headers, passed())
        except asyncio.CancelledError:
            passage.leave()  # but nobody reads a stream later: its call is cut
            performing.cancel()
            raise
        if not passage.is_left and not exchange.has_left:
            session.delivered(performing.result())
        return True

    def _performed(self, performing: "asyncio.Task[Outcome]") -> None:
        self._performing.discard(performing)
        if not performing.cancelled():
            performing.exception()  # whoever waited has it; after a disconnect nobody does

    async def _refuse(self, exchange: Exchange, error: AnswerableError, session: Session | None = None) -> None:
        told = tell(error, self._dialect)
        headers = {**told.headers, **(headers_of(session) if session else {}), **_JSON}
        await exchange.answer(told.status, headers, told.body)


def _cancelling() -> Callable[[], None]:
    """Cancels the task that this is called in."""
    task = asyncio.current_task()
    assert task is not None

    def cancel() -> None:
        task.cancel()

    return cancel


def _check_for(gate: Gate, session: Session) -> Check:
    """Decides whether a tool call that a model proposes may reach the agent."""
    own = session.spec.own_tools

    async def check(name: str, arguments: bytes) -> str | None:
        if name in own or "*" in own:
            return None
        served = gate.tools_named(name)
        unseen = None if served else ToolNotSeen(tool=name)
        refusal = await session.refusal(*(served or (name,)), arguments=_object(arguments), because=unseen)
        if refusal is None:
            return None
        said = orjson.loads(refusal.value)["message"]
        return f"[The gate refused the call of `{name}`: {said}. Receipt: {refusal.receipt}]"

    return check


def _object(arguments: bytes) -> bytes:
    try:
        said = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        said = None
    # What is no object fits no tool's schema: it is recorded as it came, and refused.
    return orjson.dumps(
        said if isinstance(said, dict) else {"notAnObject": arguments.decode(errors="replace")},
        option=orjson.OPT_SORT_KEYS,
    )


def _is_for_the_next(outcome: Outcome) -> bool:
    try:
        outcome.result  # noqa: B018 - raises what the outcome carries
    except (ModelUnavailable, ModelLost):
        return True
    except AnswerableError:
        return False
    return False


async def _json(exchange: Exchange) -> Any:
    try:
        return orjson.loads(await exchange.body(most_bytes=_MOST_BYTES))
    except BodyTooLarge:
        raise RequestMalformed(problem=f"its body is larger than {_MOST_BYTES} bytes") from None
    except orjson.JSONDecodeError:
        raise RequestMalformed(problem="its body is not JSON") from None


def _model(body: Any) -> str:
    model = body.get("model") if isinstance(body, dict) else None
    if not isinstance(model, str) or not model:
        raise RequestMalformed(problem="it names no `model`")
    return model
