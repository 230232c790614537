"""How outcomes and errors become results that clients of MCP understand.

Source: Model Context Protocol, "Tools: Error Handling", "General fields: _meta".
"""

from collections.abc import Mapping
from typing import Any

import orjson

from answerable.core import AnswerableError, Outcome
from answerable.runtime import Session
from answerable.server._mcp._ports import INTERNAL, RpcFailed
from answerable.tools import ToolFailed

__all__ = ["RPC", "failure", "meta_of", "result_of", "rpc_of", "with_meta"]

RPC = "JSON-RPC "
"""How a `ToolFailed` begins that was an error of the protocol, not of the tool."""


def result_of(said: Any) -> dict[str, Any]:
    """A tool result; an outcome that a person or a probe supplied may be any value."""
    if isinstance(said, dict) and isinstance(said.get("content"), list):
        return said
    return {"content": [{"type": "text", "text": said if isinstance(said, str) else orjson.dumps(said).decode()}]}


def failure(error: AnswerableError, session: Session, outcome: Outcome | None = None) -> dict[str, Any]:
    """The model may read it and do better, so it is a result; the code is for programs."""
    meta = {**meta_of(session, outcome), "answerable/error": {"code": error.code, "message": error.message}}
    if isinstance(error, ToolFailed):
        if error.result:
            return with_meta(orjson.loads(error.result), meta)
        return {"content": [{"type": "text", "text": error.said or error.message}], "isError": True, "_meta": meta}
    meta["answerable/error"] = error.to_json()
    return {"content": [{"type": "text", "text": error.message}], "isError": True, "_meta": meta}


def with_meta(result: dict[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    """The result, with what the gate says of it beside what its server says."""
    theirs = result.get("_meta")
    return {**result, "_meta": {**theirs, **meta} if isinstance(theirs, dict) else dict(meta)}


def meta_of(session: Session, outcome: Outcome | None = None) -> dict[str, Any]:
    """Where the answer stands on the record."""
    meta: dict[str, Any] = {"answerable/session": session.run}
    if outcome is not None:
        meta["answerable/receipt"] = outcome.receipt
        if outcome.labels:
            meta["answerable/labels"] = list(outcome.labels)
    return meta


def rpc_of(error: AnswerableError) -> RpcFailed:
    """The error as the protocol has it; the server's own as it came."""
    if isinstance(error, ToolFailed) and error.error.startswith(RPC):
        data = orjson.loads(error.result).get("data") if error.result else None
        return RpcFailed(int(error.error.removeprefix(RPC)), error.said, data)
    return RpcFailed(INTERNAL, error.message, {"answerable/error": error.to_json()})
