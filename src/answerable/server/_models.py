"""`/v1/chat/completions` and `/v1/messages`: an agent's own request, governed, and the provider's own answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

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
from answerable.server._front import headers_of, session_of
from answerable.server._telling import tell

__all__ = ["ModelEndpoint"]

_MOST_BYTES = 32 << 20


class ModelEndpoint:
    """One dialect's endpoint."""

    def __init__(self, gate: Gate, dialect: DialectName) -> None:
        self._gate = gate
        self._dialect: DialectName = dialect
        self._performing: set[asyncio.Task[Outcome]] = set()

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        try:
            session = await session_of(self._gate, request.headers)
        except AnswerableError as error:
            return self._refused(error)
        try:
            return await self._ask(request, session)
        except NotGoverned as error:
            return self._refused(RequestMalformed(problem=str(error)), session)
        except AnswerableError as error:
            return self._refused(error, session)

    async def _ask(self, request: Request, session: Session) -> Response:
        body = _json(await request.body())
        candidates = self._gate.upstreams.candidates(self._dialect, _model(body))
        key = request.headers.get("idempotency-key")
        # An SDK that tries again says so; the same question asked twice is otherwise meant twice.
        is_retry = request.headers.get("x-stainless-retry-count", "0") != "0"
        check = _check_for(self._gate, session)
        for left, name in enumerate(candidates, start=1 - len(candidates)):
            call = self._gate.upstreams.call(self._dialect, name, body, headers=request.headers, check=check)
            performing = asyncio.create_task(
                session.perform("model", name, call.arguments, key=key, joins=is_retry, effects=call)
            )
            self._performing.add(performing)
            performing.add_done_callback(self._performed)
            if call.streams and (first := await _first(call, performing)) is not None:
                return self._streamed(session, call, performing, first)
            outcome = await asyncio.shield(performing)
            if left and _is_for_the_next(outcome):
                session.delivered(outcome)
                continue
            return await self._whole(request, session, call, outcome)
        raise AssertionError("there is a last candidate")

    async def _whole(self, request: Request, session: Session, call: WireCall, outcome: Outcome) -> Response:
        headers = headers_of(session, outcome)
        if await request.is_disconnected():
            return Response(status_code=499)  # nobody reads it: the same call made again gets the outcome
        done = BackgroundTask(session.delivered, outcome)
        try:
            said = outcome.result
        except AnswerableError as error:
            told = tell(error, self._dialect)
            status, body = told.status, told.body
            if isinstance(error, ModelRejected) and call.passage.rejected is not None:
                status, body = call.passage.rejected
            headers |= told.headers
            return Response(body, status, headers, media_type="application/json", background=done)
        return Response(said["body"].encode(), 200, headers, media_type=said["type"], background=done)

    def _streamed(
        self, session: Session, call: WireCall, performing: "asyncio.Task[Outcome]", first: bytes
    ) -> StreamingResponse:
        async def passed() -> AsyncIterator[bytes]:
            was_read = False
            try:
                yield first
                async for chunk in call.passage.chunks():
                    yield chunk
                was_read = True
            finally:
                if not was_read:
                    call.passage.leave()
            session.delivered(await asyncio.shield(performing))

        headers = {**headers_of(session, receipt=call.passage.intent), "cache-control": "no-cache"}
        return StreamingResponse(passed(), headers=headers, media_type="text/event-stream")

    def _performed(self, performing: "asyncio.Task[Outcome]") -> None:
        self._performing.discard(performing)
        if not performing.cancelled():
            performing.exception()  # whoever waited has it; after a disconnect nobody does

    def _refused(self, error: AnswerableError, session: Session | None = None) -> Response:
        told = tell(error, self._dialect)
        headers = {**told.headers, **(headers_of(session) if session else {})}
        return Response(told.body, told.status, headers, media_type="application/json")


async def _first(call: WireCall, performing: "asyncio.Task[Outcome]") -> bytes | None:
    """The first bytes for the agent; None where there will be none."""
    chunk = asyncio.ensure_future(anext(call.passage.chunks(), None))
    try:
        await asyncio.wait((chunk, performing), return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        call.passage.leave()
        raise
    if not chunk.done() and call.passage.has_sent:
        await asyncio.wait((chunk,))
    if chunk.done():
        return chunk.result()
    chunk.cancel()
    return None


def _check_for(gate: Gate, session: Session) -> Check:
    """Decides whether a tool call that a model proposes may reach the agent."""
    own = session.spec.own_tools

    async def check(name: str, arguments: bytes) -> str | None:
        if name in own or "*" in own:
            return None
        served = gate.tool_named(name)
        unseen = ToolNotSeen(tool=name) if served is None else None
        refusal = await session.refusal(served or name, _object(arguments), because=unseen)
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


def _json(body: bytes) -> Any:
    if len(body) > _MOST_BYTES:
        raise RequestMalformed(problem=f"its body is larger than {_MOST_BYTES} bytes")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RequestMalformed(problem="its body is not JSON") from None


def _model(body: Any) -> str:
    model = body.get("model") if isinstance(body, dict) else None
    if not isinstance(model, str) or not model:
        raise RequestMalformed(problem="it names no `model`")
    return model
