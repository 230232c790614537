"""Answers MCP requests: tool calls, resources, prompts and completion take the road; lists do not.

Source: Model Context Protocol 2025-11-25 and 2026-07-28, "Tools", "Resources", "Prompts", "Completion".
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from answerable.action import OutcomeUnknown
from answerable.app import Gate
from answerable.core import AnswerableError, Outcome, stable_json
from answerable.runtime import Held, Session
from answerable.server._errors import RequestMalformed
from answerable.server._front import confidence_of, headers_of, session_for
from answerable.server._mcp._exchange import Exchange
from answerable.server._mcp._names import Names
from answerable.server._mcp._ports import INTERNAL, INVALID_PARAMS, Asked, RpcFailed
from answerable.server._mcp._results import RPC, failure, meta_of, result_of, rpc_of, with_meta
from answerable.server._mcp._state import StateSeal
from answerable.tools import RELAYED, NobodyAsked, ServerFace, ToolFailed, ToolUnknown

__all__ = ["GateRelay"]

_LISTS = {
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
_ALWAYS = ("tools/list", "tools/call")
_QUESTION = "approval"
_BESIDE = ("_meta", "requestState", "inputResponses")


class _Asks(Exception):
    """The call's server asks the client something first. Control flow."""

    def __init__(self, questions: Mapping[str, Any], round: int) -> None:
        super().__init__()
        self.questions = questions
        self.round = round


class GateRelay:
    """The relay of one endpoint.

    Args:
        server: the only server behind it; empty for all, and the Python tools too.
        seal: for what clients are to send back.
    """

    def __init__(self, gate: Gate, server: str, *, seal: StateSeal) -> None:
        self.news: list[Callable[[str, Mapping[str, Any]], None]] = []
        self._gate = gate
        self._names = Names(gate.tools, server)
        self._seal = seal
        self._exchanges: dict[tuple[str, ...], Exchange] = {}
        gate.tools.listen(self._heard)

    def serves(self, method: str) -> bool:
        """Tools always; the rest where a server behind this endpoint has it."""
        if method in _ALWAYS:
            return True
        return (method in _LISTS or method in RELAYED) and bool(self._names.offering(method))

    @property
    def info(self) -> dict[str, Any]:
        """Who answers."""
        return self._names.info

    def schema(self, name: Any) -> dict[str, Any] | None:
        """The argument schema of a tool."""
        full = self._names.full(str(name))
        return self._gate.tools.tool(full).schema if self._gate.tools.has(full) else None

    async def face(self, *, is_modern: bool) -> ServerFace:
        """How this endpoint presents itself."""
        try:
            return await self._names.face(is_modern=is_modern)
        except AnswerableError as error:
            raise rpc_of(error) from None

    def close(self) -> None:
        """Give up on answers that clients owe."""
        for exchange in self._exchanges.values():
            exchange.abandon()

    async def follow(self, uri: str, *, is_wanted: bool) -> None:
        """Ask a resource's server for news of it, or no more."""
        try:
            await self._names.server(await self._names.owner(uri)).follow(uri, is_wanted=is_wanted)
        except AnswerableError as error:
            raise rpc_of(error) from None

    async def log(self, level: str) -> None:
        """Have the servers write their logs from this level on."""
        try:
            for server in self._names.servers():
                await server.log(level)
        except AnswerableError as error:
            raise rpc_of(error) from None

    async def answer(self, asked: Asked) -> dict[str, Any]:
        """The result of one request.

        Raises:
            RpcFailed: the answer is an error.
        """
        try:
            if asked.method == "tools/list":
                return {"tools": self._names.tools()}
            if asked.method in _LISTS:
                return await self._list(asked)
            if asked.method == "tools/call":
                return await self._call(asked)
            return await self._read(asked)
        except RequestMalformed as error:
            raise RpcFailed(INVALID_PARAMS, error.message, {"answerable/error": error.to_json()}) from None
        except AnswerableError as error:
            raise rpc_of(error) from None

    # -- lists --------------------------------------------------------------------------------------------------------

    async def _list(self, asked: Asked) -> dict[str, Any]:
        """One page of one server; the cursor says whose."""
        kind = _LISTS[asked.method]
        offering = self._names.offering(asked.method)
        number, _, cursor = str(asked.params.get("cursor") or "0:").partition(":")
        if not number.isdecimal() or int(number) >= len(offering):
            raise RpcFailed(INVALID_PARAMS, "this cursor is not one of ours")
        server = offering[int(number)]
        page = await server.ask(asked.method, {"cursor": cursor} if cursor else {})
        result = {**page, kind: [self._names.seen(server, item) for item in page.get(kind, [])]}
        result.pop("nextCursor", None)
        if page.get("nextCursor"):
            result["nextCursor"] = f"{number}:{page['nextCursor']}"
        elif int(number) + 1 < len(offering):
            result["nextCursor"] = f"{int(number) + 1}:"
        return result

    # -- calls --------------------------------------------------------------------------------------------------------

    async def _call(self, asked: Asked) -> dict[str, Any]:
        name = self._names.full(str(_needed(asked.params, "name")))
        arguments = asked.params.get("arguments") or {}
        if not isinstance(arguments, dict):
            raise RpcFailed(INVALID_PARAMS, "`arguments` is one JSON object")
        state = self._state(asked)
        session = await self._session(asked, state)
        if _QUESTION in state and _answer_to(asked.params) in ("decline", "cancel"):
            return failure(Held(name=name, approval=state[_QUESTION]), session)
        try:
            outcome = await self._perform(session, asked, state, name, arguments)
        except _Asks as asks:
            return self._asking(asks, session, asked)
        except Held as held:
            return self._holding(held, session, asked) if asked.is_modern else failure(held, session)
        except OutcomeUnknown as error:
            return failure(error, session)
        try:
            said = outcome.result
        except ToolUnknown as error:
            raise RpcFailed(INVALID_PARAMS, error.message) from None
        except ToolFailed as error:
            if error.error.startswith(RPC):
                raise rpc_of(error) from None
            return failure(error, session, outcome)
        except AnswerableError as error:
            return failure(error, session, outcome)
        return with_meta(result_of(said), meta_of(session, outcome))

    async def _read(self, asked: Asked) -> dict[str, Any]:
        _needed(asked.params, RELAYED[asked.method])
        params = {name: value for name, value in asked.params.items() if name not in _BESIDE}
        server, params = await self._owner(asked.method, params)
        state = self._state(asked)
        session = await self._session(asked, state)
        try:
            outcome = await self._perform(session, asked, state, f"{server}.{asked.method}", params)
        except _Asks as asks:
            return self._asking(asks, session, asked)
        except Held as held:
            if asked.is_modern and asked.method != "completion/complete":
                return self._holding(held, session, asked)
            raise
        return with_meta(outcome.result, meta_of(session, outcome))

    async def _owner(self, method: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if method == "resources/read":
            return await self._names.owner(str(params["uri"])), params
        if method == "prompts/get":
            server, name = self._names.prompt(str(params["name"]))
            return server, {**params, "name": name}
        ref = params["ref"]
        if not isinstance(ref, dict) or ("uri" not in ref and "name" not in ref):
            raise RpcFailed(INVALID_PARAMS, "`ref` names a prompt or a resource")
        if ref.get("type") == "ref/resource":
            return await self._names.owner(str(ref.get("uri"))), params
        server, name = self._names.prompt(str(ref.get("name")))
        return server, {**params, "ref": {**ref, "name": name}}

    async def _session(self, asked: Asked, state: Mapping[str, str]) -> Session:
        named = state.get("session") or asked.meta.get("answerable/session") or ""
        session = await session_for(self._gate, asked.agent, asked.headers, name=str(named), meta=asked.meta)
        asked.told.update(headers_of(session))
        return session

    async def _perform(
        self, session: Session, asked: Asked, state: Mapping[str, str], name: str, arguments: Mapping[str, Any]
    ) -> Outcome:
        key, sure = asked.meta.get("answerable/key"), confidence_of(asked.headers, asked.meta)
        body = stable_json(dict(arguments))
        place = (session.run, name, body.decode(), str(key or ""), asked.agent if asked.is_modern else str(id(asked)))
        inputs = asked.params.get("inputResponses")
        inputs = inputs if isinstance(inputs, dict) and _QUESTION not in state and asked.is_modern else {}
        exchange = self._exchanges.get(place)
        if exchange is None:

            async def record(method: str, said: Mapping[str, Any]) -> None:
                await self._record(session, name, method, said)

            for left in [each for each, found in self._exchanges.items() if found.is_over]:
                del self._exchanges[left]
            exchange = self._exchanges[place] = Exchange(asked, inputs, record=record)
        else:
            exchange.join(asked, inputs)
        performing = session.perform(
            "tool",
            name,
            body,
            key=str(key) if key is not None else None,
            effects=self._gate.relaying(exchange),
            confidence=sure,
        )
        try:
            outcome = await (_or_asks(performing, exchange) if asked.is_modern else performing)
        except _Asks:
            raise
        except BaseException:
            self._exchanges.pop(place, None)
            raise
        self._exchanges.pop(place, None)
        asked.told.update(headers_of(session, outcome))
        asked.on_delivered.append(lambda: session.delivered(outcome))
        return outcome

    async def _record(self, session: Session, name: str, method: str, said: Mapping[str, Any]) -> None:
        """What a client answers a server is an action too: decided, and on the record, before it is passed on."""
        server = name.partition(".")[0]
        outcome = await session.perform("tool", f"{server}.{method}", stable_json(dict(said)), joins=False)
        session.delivered(outcome)
        try:
            outcome.result  # noqa: B018 - raises what the outcome carries
        except AnswerableError as error:
            raise NobodyAsked(INTERNAL, error.message) from None

    # -- questions ----------------------------------------------------------------------------------------------------

    def _state(self, asked: Asked) -> dict[str, str]:
        said = asked.params.get("requestState") if asked.is_modern else None
        return self._seal.unseal(said, agent=asked.agent, method=asked.method, params=asked.params)

    def _sealed(self, state: Mapping[str, str], asked: Asked) -> str:
        return self._seal.seal(state, agent=asked.agent, method=asked.method, params=asked.params)

    def _asking(self, asks: _Asks, session: Session, asked: Asked) -> dict[str, Any]:
        """The server's own questions; the client asks again with its answers."""
        return {
            "resultType": "input_required",
            "inputRequests": dict(asks.questions),
            "requestState": self._sealed({"session": session.run, "round": str(asks.round)}, asked),
            "_meta": meta_of(session),
        }

    def _holding(self, held: Held, session: Session, asked: Asked) -> dict[str, Any]:
        """The client asks again with `requestState`; one that can ask its user shows what is waited for."""
        said: dict[str, Any] = {
            "resultType": "input_required",
            "requestState": self._sealed({_QUESTION: held.approval, "session": session.run}, asked),
            "_meta": {**meta_of(session), "answerable/approval": held.approval},
        }
        if "elicitation" in asked.capabilities:
            question = {
                "mode": "form",
                "message": f"{held.message}. Continue once it is decided.",
                "requestedSchema": {"type": "object", "properties": {}},
            }
            said["inputRequests"] = {_QUESTION: {"method": "elicitation/create", "params": question}}
        return said

    def _heard(self, server: str, method: str, params: Mapping[str, Any]) -> None:
        if self._names.shows(server):
            for tell in self.news:
                tell(method, params)


async def _or_asks(performing: Coroutine[Any, Any, Outcome], exchange: Exchange) -> Outcome:
    """The outcome, unless the call's server asks something first; the call goes on without whoever waited for it."""
    working = asyncio.ensure_future(performing)
    try:
        await asyncio.wait((working, exchange.asking), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise _Asks(exchange.questions, exchange.rounds)
    finally:
        if not working.done():
            working.cancel()
            await asyncio.wait((working,))


def _needed(params: Mapping[str, Any], name: str) -> Any:
    if name not in params:
        raise RpcFailed(INVALID_PARAMS, f"`{name}` is missing")
    return params[name]


def _answer_to(params: Mapping[str, Any]) -> str:
    answer = (params.get("inputResponses") or {}).get(_QUESTION) or {}
    return str(answer.get("action", "accept"))
