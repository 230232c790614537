"""Answers MCP requests: tool calls, resources, prompts and completion take the road; lists do not.

Source: Model Context Protocol 2025-11-25 and 2026-07-28, "Tools", "Resources", "Prompts", "Completion".
"""

from collections.abc import Mapping
from typing import Any

import orjson

from answerable.action import OutcomeUnknown
from answerable.app import Gate
from answerable.core import AnswerableError, Outcome, stable_json
from answerable.runtime import Held, Session
from answerable.server._front import headers_of, session_of
from answerable.server._mcp._names import Names
from answerable.server._mcp._ports import Asked, RpcFailed
from answerable.tools import RELAYED, ToolFailed, ToolUnknown

__all__ = ["GateRelay"]

_INTERNAL = -32603
_NO_PARAMS = -32602
_LISTS = {
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
    "prompts/list": "prompts",
}
_QUESTION = "approval"
_RPC = "JSON-RPC "


class GateRelay:
    """The relay of one endpoint."""

    def __init__(self, gate: Gate, server: str = "") -> None:
        self._gate = gate
        self._names = Names(gate.tools, server)

    @property
    def methods(self) -> frozenset[str]:
        """Tools always; the rest where a server behind this endpoint has it."""
        known = {*_LISTS, *RELAYED}
        return frozenset({"tools/list", "tools/call"} | {each for each in known if self._names.offering(each)})

    def schema(self, name: str) -> dict[str, Any] | None:
        """The argument schema of a tool."""
        full = self._names.full(name)
        return self._gate.tools.tool(full).schema if full in self._gate.tools.names() else None

    async def answer(self, asked: Asked) -> dict[str, Any]:
        """The result of one request."""
        try:
            if asked.method == "tools/list":
                return {"tools": self._names.tools()}
            if asked.method in _LISTS:
                return await self._list(asked)
            if asked.method == "tools/call":
                return await self._call(asked)
            return await self._read(asked)
        except AnswerableError as error:
            raise _rpc(error) from None

    async def _list(self, asked: Asked) -> dict[str, Any]:
        """One page of one server; the cursor says whose."""
        kind = _LISTS[asked.method]
        offering = self._names.offering(asked.method)
        number, _, cursor = str(asked.params.get("cursor") or "0:").partition(":")
        if not number.isdecimal() or int(number) >= len(offering):
            raise RpcFailed(_NO_PARAMS, "this cursor is not one of ours")
        server = offering[int(number)]
        page = await server.ask(asked.method, {"cursor": cursor} if cursor else {})
        result: dict[str, Any] = {kind: [self._names.seen(server, item) for item in page.get(kind, [])]}
        if page.get("nextCursor"):
            result["nextCursor"] = f"{number}:{page['nextCursor']}"
        elif int(number) + 1 < len(offering):
            result["nextCursor"] = f"{int(number) + 1}:"
        return result

    async def _call(self, asked: Asked) -> dict[str, Any]:
        name = self._names.full(asked.params["name"])
        arguments = asked.params.get("arguments") or {}
        state = _state(asked.params)
        session = await self._session(asked, state)
        if state and _answer_to(asked.params) in ("decline", "cancel"):
            return _failure(Held(name=name, approval=state["approval"]), session)
        try:
            outcome = await self._perform(session, asked, name, arguments)
        except Held as held:
            return _input_required(held, session, asked) if asked.may_need_input else _failure(held, session)
        except OutcomeUnknown as error:
            return _failure(error, session)
        try:
            said = outcome.result
        except ToolUnknown as error:
            raise RpcFailed(_NO_PARAMS, error.message) from None
        except ToolFailed as error:
            if error.error.startswith(_RPC):
                raise _rpc(error) from None
            return _failure(error, session, outcome, said=error.said)
        except AnswerableError as error:
            return _failure(error, session, outcome)
        return {**_result(said), "_meta": _meta(session, outcome)}

    async def _read(self, asked: Asked) -> dict[str, Any]:
        params = {name: value for name, value in asked.params.items() if name not in ("_meta", "requestState")}
        params.pop("inputResponses", None)
        server, params = await self._owner(asked.method, params)
        state = _state(asked.params)
        session = await self._session(asked, state)
        try:
            outcome = await self._perform(session, asked, f"{server}.{asked.method}", params)
        except Held as held:
            if asked.may_need_input and asked.method != "completion/complete":
                return _input_required(held, session, asked)
            raise
        return {**outcome.result, "_meta": _meta(session, outcome)}

    async def _owner(self, method: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if method == "resources/read":
            return await self._names.owner(params["uri"]), params
        if method == "prompts/get":
            server, name = self._names.prompt(params["name"])
            return server, {**params, "name": name}
        ref = params["ref"]
        if ref.get("type") == "ref/resource":
            return await self._names.owner(ref["uri"]), params
        server, name = self._names.prompt(ref["name"])
        return server, {**params, "ref": {**ref, "name": name}}

    async def _session(self, asked: Asked, state: Mapping[str, str]) -> Session:
        named = state.get("session") or asked.meta.get("answerable/session") or ""
        session = await session_of(self._gate, asked.headers, name=str(named))
        asked.told.update(headers_of(session))
        return session

    async def _perform(self, session: Session, asked: Asked, name: str, arguments: Mapping[str, Any]) -> Outcome:
        key = asked.meta.get("answerable/key")
        outcome = await session.perform(
            "tool",
            name,
            stable_json(dict(arguments)),
            key=str(key) if key is not None else None,
            effects=self._gate.whole,
        )
        asked.told.update(headers_of(session, outcome))
        asked.on_delivered.append(lambda: session.delivered(outcome))
        return outcome


def _result(said: Any) -> dict[str, Any]:
    """A tool result; an outcome that a person or a probe supplied may be any value."""
    if isinstance(said, dict) and isinstance(said.get("content"), list):
        return said
    return {"content": [{"type": "text", "text": said if isinstance(said, str) else orjson.dumps(said).decode()}]}


def _failure(
    error: AnswerableError, session: Session, outcome: Outcome | None = None, *, said: str = ""
) -> dict[str, Any]:
    """The model may read it and do better, so it is a result; the code is for programs."""
    meta = {**_meta(session, outcome), "answerable/error": error.to_json()}
    return {"content": [{"type": "text", "text": said or error.message}], "isError": True, "_meta": meta}


def _meta(session: Session, outcome: Outcome | None = None) -> dict[str, Any]:
    meta: dict[str, Any] = {"answerable/session": session.run}
    if outcome is not None:
        meta["answerable/receipt"] = outcome.receipt
        if outcome.labels:
            meta["answerable/labels"] = list(outcome.labels)
    return meta


def _input_required(held: Held, session: Session, asked: Asked) -> dict[str, Any]:
    """The client asks again with `requestState`; one that can ask its user shows what is waited for."""
    state = orjson.dumps({"approval": held.approval, "session": session.run}).decode()
    said: dict[str, Any] = {
        "resultType": "input_required",
        "requestState": state,
        "_meta": {**_meta(session), "answerable/approval": held.approval},
    }
    if asked.can_elicit:
        question = {
            "mode": "form",
            "message": f"{held.message}. Continue once it is decided.",
            "requestedSchema": {"type": "object", "properties": {}},
        }
        said["inputRequests"] = {_QUESTION: {"method": "elicitation/create", "params": question}}
    return said


def _state(params: Mapping[str, Any]) -> dict[str, str]:
    """What we said ourselves: the driver lets no other `requestState` through."""
    state = params.get("requestState")
    return orjson.loads(state) if state else {}


def _answer_to(params: Mapping[str, Any]) -> str:
    answer = (params.get("inputResponses") or {}).get(_QUESTION) or {}
    return str(answer.get("action", "accept"))


def _rpc(error: AnswerableError) -> RpcFailed:
    data = {"answerable/error": error.to_json()}
    if isinstance(error, ToolFailed) and error.error.startswith(_RPC):
        return RpcFailed(int(error.error.removeprefix(_RPC)), error.said)
    return RpcFailed(_INTERNAL, error.message, data)
