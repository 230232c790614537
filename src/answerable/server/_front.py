"""Who calls: from a request's headers to the session that its calls belong to, and what they say of themselves."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from answerable.app import Gate
from answerable.core import Outcome, TenantId
from answerable.identity import stated_environment
from answerable.runtime import AgentUnknown, Session, TenantUnknown
from answerable.server._errors import AgentNotServed, KeyCrossed, KeyMissing, KeyRefused, RequestMalformed

__all__ = ["agent_of", "confidence_of", "headers_of", "secret_of", "session_for", "session_of"]

_SESSION = "answerable-session"
_RECEIPT = "answerable-receipt"
_MANDATE = "answerable-mandate"
_CONFIDENCE = "answerable-confidence"
_NUMBER = re.compile(r"[01](\.\d{1,17})?|\.\d{1,17}", re.ASCII)
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


async def session_of(gate: Gate, headers: Mapping[str, str]) -> Session:
    """The session of a request: the one it names (by id or by a name of its own), or its agent's current one.

    Args:
        headers: the request's, names in lower case.

    Raises:
        KeyMissing, KeyRefused, KeyCrossed, AgentNotServed: nobody is served by this key.
        SessionUnknown: the id is not that of an open session of this agent.
        MandateNotGranted: it names a mandate that the agent was not given.
    """
    return await session_for(gate, await agent_of(gate, headers), headers)


async def session_for(
    gate: Gate, agent: str, headers: Mapping[str, str], *, name: str = "", meta: Mapping[str, Any] | None = None
) -> Session:
    """The session of a request whose agent is known.

    Args:
        name: the session, where something other than a header names it.
        meta: the request's `_meta`, of which the same may be said; it counts before headers.

    Raises:
        AgentNotServed: nobody here is served by this name.
        SessionUnknown: the id is not that of an open session of this agent.
        MandateNotGranted: it names a mandate that the agent was not given.
        RequestMalformed: what it names cannot be a mandate.
    """
    known, _, tenant = agent.rpartition("@")
    mandate = (meta or {}).get("answerable/mandate", headers.get(_MANDATE, ""))
    if not isinstance(mandate, str) or (mandate and not _NAME.fullmatch(mandate)):
        raise RequestMalformed(problem="the mandate that it names is no text of 128 characters at most")
    try:
        return await gate.sessions.get(
            known, name or headers.get(_SESSION, ""), tenant=TenantId(tenant), mandate=mandate
        )
    except (AgentUnknown, TenantUnknown):
        raise AgentNotServed(agent=known) from None


async def agent_of(gate: Gate, headers: Mapping[str, str]) -> str:
    """The agent whose key a request carries, as `name@tenant`: what is kept for one is found by no other.

    Raises:
        KeyMissing, KeyRefused: nobody is served by this key.
        KeyCrossed: it is for another environment. The refusal is on the record.
    """
    secret = secret_of(headers)
    if not secret:
        raise KeyMissing
    key = gate.agent_keys.find(secret)
    if stated := stated_environment(secret):
        holder = key.holder if key is not None else ""
        here = gate.crossings.of(holder)
        if here and here != stated:
            named = key.id if key is not None else "sha256:" + hashlib.sha256(secret.encode()).hexdigest()
            await gate.crossings.record(stated, key=named, agent=holder)
            raise KeyCrossed(bound=stated, environment=here)
    if key is None:
        raise KeyRefused
    return f"{key.holder}@{key.tenant}"


def confidence_of(headers: Mapping[str, str], meta: Mapping[str, Any] | None = None) -> int | None:
    """How sure the agent says it is, in whole percent, rounded down; None where it does not say.

    Said both ways, the lower counts: what an agent says of itself only makes a decision stricter.

    Raises:
        RequestMalformed: it is no number from 0 to 1.
    """
    stated: list[float] = []
    if _CONFIDENCE in headers:
        text = headers[_CONFIDENCE].strip()
        stated.append(float(text) if _NUMBER.fullmatch(text) else -1)
    if meta is not None and "answerable/confidence" in meta:
        said = meta["answerable/confidence"]
        stated.append(said if isinstance(said, int | float) and not isinstance(said, bool) else -1)
    if not all(0 <= each <= 1 for each in stated):
        raise RequestMalformed(problem="the confidence that it states is no number from 0 to 1")
    return int(min(stated) * 100) if stated else None


def secret_of(headers: Mapping[str, str]) -> str:
    """The key that a request carries; empty where it carries none."""
    scheme, _, credential = headers.get("authorization", "").partition(" ")
    return headers.get("x-api-key", "") or (credential.strip() if scheme.lower() == "bearer" else "")


def headers_of(session: Session, outcome: Outcome | None = None, *, receipt: str = "") -> dict[str, str]:
    """What every answer says of its place on the record."""
    found = receipt or (outcome.receipt if outcome is not None else "")
    return {_SESSION: session.run, **({_RECEIPT: found} if found else {})}
