"""What can go wrong between a gate and whoever reaches it: the command line, and agents elsewhere."""

from dataclasses import dataclass

from answerable.core import ExecutionError, Refused

__all__ = [
    "AgentNotServed",
    "GateSilent",
    "GateStopping",
    "KeyCrossed",
    "KeyMissing",
    "KeyRefused",
    "NotYours",
    "OperatorNeeded",
    "PasskeyRefused",
    "PeerRefused",
    "PersonKeyRefused",
    "RequestMalformed",
    "ToolNotSeen",
]


@dataclass(eq=False, kw_only=True)
class GateSilent(ExecutionError):
    """The gate took the request and the connection ended before it answered."""

    code = "execution.gate_silent"
    what = "the gate behind `{socket}` did not answer `{asked}`"
    why = "it stopped, or was stopped, while it worked: what was asked may or may not have been done"
    fix = "look at the record (`answerable runs list`, `answerable approvals list`) before asking again"

    socket: str
    asked: str


@dataclass(eq=False, kw_only=True)
class NotYours(Refused):
    """Another user asked."""

    code = "refused.not_yours"
    what = "user {uid} may not write through this gate"
    why = "only the user that runs the gate, or root, writes through its socket"
    fix = "run the command as the gate's user"

    uid: int


@dataclass(eq=False, kw_only=True)
class PeerRefused(Refused):
    """A user connected who is not to be among the agents."""

    code = "refused.peer_refused"
    what = "user {uid} may not reach this gate as an agent"
    why = "it takes agents of other users only: one of the gate's own user, or root, could read its keys"
    fix = "run the agent as one of the users that `answerable serve --user` names"

    uid: int


@dataclass(eq=False, kw_only=True)
class KeyMissing(Refused):
    """The request carries no key."""

    code = "refused.key_missing"
    what = "request refused: it carries no key"
    why = "every call is some agent's, and the key says which"
    fix = "send the key that `answerable agent key new NAME` printed, as the API key of your SDK"


@dataclass(eq=False, kw_only=True)
class KeyRefused(Refused):
    """No agent has this key."""

    code = "refused.key_unknown"
    what = "request refused: its key is not in use"
    why = "it was revoked, belongs to another gate, or is the provider's own key, which only the gate needs"
    fix = "send the key that `answerable agent key new NAME` printed"


@dataclass(eq=False, kw_only=True)
class KeyCrossed(Refused):
    """The key is for another environment."""

    code = "refused.environment_crossed"
    what = "request refused: its key is for `{bound}`, and it came to `{environment}`"
    why = "environments are kept apart: what is tried in one must not act in another"
    fix = "use the gate of `{bound}`, or a key that was issued for `{environment}` (`answerable agent key new NAME`)"

    bound: str
    environment: str


@dataclass(eq=False, kw_only=True)
class PersonKeyRefused(Refused):
    """Nobody who may decide has this key."""

    code = "refused.person_key_refused"
    what = "request refused: it carries no key of a person"
    why = "only people see and decide what waits, each by a key of their own; an agent's key is none"
    fix = "send `Authorization: Bearer …` with the key that `answerable person key new NAME --role ROLE` printed"

    is_agent: bool = False


@dataclass(eq=False, kw_only=True)
class GateStopping(Refused):
    """The gate is on its way out."""

    code = "refused.gate_stopping"
    what = "call refused: this gate is being stopped"
    why = "it only lets calls end that are under way; nothing of this one was done"
    fix = "make the same call again in a moment, to the gate that takes its place"


@dataclass(eq=False, kw_only=True)
class AgentNotServed(Refused):
    """The key is good, and this gate does not serve its agent."""

    code = "refused.agent_not_served"
    what = "request refused: this gate does not serve agent `{agent}`"
    why = "the application that it runs registers no such agent"
    fix = "register it with `app.wired(...)`, or use the gate that serves it"

    agent: str


@dataclass(eq=False, kw_only=True)
class OperatorNeeded(Refused):
    """The key is a person's who may not control runs."""

    code = "refused.operator_needed"
    what = "request refused: this key does not act as `{role}`"
    why = "whoever controls runs could end or undo anybody's work"
    fix = "use a key with that role: `answerable person key new NAME --role {role}`"

    role: str


@dataclass(eq=False, kw_only=True)
class RequestMalformed(Refused):
    """The request is not one that the gate can let through."""

    code = "refused.request_malformed"
    what = "request refused: {problem}"
    why = "what the gate does not understand, it cannot govern"
    fix = "change the request; `docs/guides/connect-an-agent.md` lists what is served"

    problem: str


@dataclass(eq=False, kw_only=True)
class ToolNotSeen(Refused):
    """A model calls a tool that neither the gate serves nor the agent has declared."""

    code = "refused.tool_not_seen"
    what = "call of `{tool}` refused: the gate does not serve this tool, and the agent does not declare it"
    why = "what the agent would do with it could be neither decided nor recorded"
    fix = "serve the tool through the gate, or name it in the agent's `own_tools`"

    tool: str


@dataclass(eq=False, kw_only=True)
class PasskeyRefused(Refused):
    """A passkey cannot be registered."""

    code = "refused.passkey_refused"
    what = "passkey refused: {problem}"
    why = "whoever registers a passkey answers with it in that person's name"
    fix = "open the gate's own page by the name it is served at (`http://localhost:PORT/decide`) and try again"

    problem: str
