"""Who calls: from a request's headers to the session that its calls belong to."""

from collections.abc import Mapping

from answerable.app import Gate
from answerable.core import Outcome, TenantId
from answerable.runtime import AgentUnknown, Session, TenantUnknown
from answerable.server._errors import AgentNotServed, KeyMissing, KeyRefused

__all__ = ["RECEIPT", "SESSION", "agent_of", "headers_of", "secret_of", "session_for", "session_of"]

SESSION = "answerable-session"
RECEIPT = "answerable-receipt"


async def session_of(gate: Gate, headers: Mapping[str, str], *, name: str = "") -> Session:
    """The session of a request: the one it names (by id or by a name of its own), or its agent's current one.

    Args:
        headers: the request's, names in lower case.
        name: the session, where something other than a header names it.

    Raises:
        KeyMissing, KeyRefused, AgentNotServed: nobody is served by this key.
        SessionUnknown: the id is not that of an open session of this agent.
    """
    return await session_for(gate, agent_of(gate, headers), headers, name=name)


async def session_for(gate: Gate, agent: str, headers: Mapping[str, str], *, name: str = "") -> Session:
    """The session of a request whose agent is known.

    Raises:
        AgentNotServed: nobody here is served by this name.
        SessionUnknown: the id is not that of an open session of this agent.
    """
    known, _, tenant = agent.rpartition("@")
    try:
        return await gate.sessions.get(known, name or headers.get(SESSION, ""), tenant=TenantId(tenant))
    except (AgentUnknown, TenantUnknown):
        raise AgentNotServed(agent=known) from None


def agent_of(gate: Gate, headers: Mapping[str, str]) -> str:
    """The agent whose key a request carries, as `name@tenant`: what is kept for one is found by no other.

    Raises:
        KeyMissing, KeyRefused: nobody is served by this key.
    """
    secret = secret_of(headers)
    if not secret:
        raise KeyMissing
    key = gate.agent_keys.find(secret)
    if key is None:
        raise KeyRefused
    return f"{key.holder}@{key.tenant}"


def secret_of(headers: Mapping[str, str]) -> str:
    """The key that a request carries; empty where it carries none."""
    scheme, _, credential = headers.get("authorization", "").partition(" ")
    return headers.get("x-api-key", "") or (credential.strip() if scheme.lower() == "bearer" else "")


def headers_of(session: Session, outcome: Outcome | None = None, *, receipt: str = "") -> dict[str, str]:
    """What every answer says of its place on the record."""
    found = receipt or (outcome.receipt if outcome is not None else "")
    return {SESSION: session.run, **({RECEIPT: found} if found else {})}
