"""What can go wrong with a tool, said so that the reader knows what to do.

Refused
├── ToolUnknown              no tool of that name
├── ToolsNotListed           its server has not been asked yet
├── CompensationUnfit        the tool that undoes it cannot be called with what is known
├── ToolHeld                 its server says something else of it than was accepted
├── ToolNotHeld              there is nothing to accept
├── ToolListingMoved         what was to be accepted is not what its server says
└── ArgumentsInvalid         the arguments do not fit
Transient
├── ToolUnavailable          the tool says so: nothing was done, try later
├── ToolServerUnavailable    the server could not be reached: nothing was sent
├── ToolServerLost           the server died with the call in flight
└── ToolTimedOut             no answer in time
Permanent
├── ToolFailed               the tool's own answer: it failed
├── ToolLeftWaiting          it asked for more and was not told
├── ToolResultInvalid        it answered, and not with what it declares
└── ToolChanged              the server came back with another schema
ConfigError
├── ToolUnusable             a declaration or signature the gate cannot work with
└── ToolNotServed            a declaration for a tool its server does not have
"""

from dataclasses import dataclass

from answerable.core import ConfigError, Permanent, Refused, Transient

__all__ = [
    "ArgumentsInvalid",
    "CompensationUnfit",
    "ToolChanged",
    "ToolFailed",
    "ToolHeld",
    "ToolLeftWaiting",
    "ToolListingMoved",
    "ToolNotHeld",
    "ToolNotServed",
    "ToolResultInvalid",
    "ToolServerLost",
    "ToolServerUnavailable",
    "ToolTimedOut",
    "ToolUnavailable",
    "ToolUnknown",
    "ToolUnusable",
    "ToolsNotListed",
]


@dataclass(eq=False, kw_only=True)
class ToolUnknown(Refused):
    """No tool of that name was declared."""

    code = "refused.tool_unknown"
    what = "there is no tool `{tool}`"
    why = "an agent reaches only tools that were declared to the gate"
    fix = "{advice}"

    tool: str
    advice: str


@dataclass(eq=False, kw_only=True)
class CompensationUnfit(Refused):
    """The tool that undoes a call needs something that the call does not give."""

    code = "refused.compensation_unfit"
    what = "`{tool}` cannot be undone with `{by}`: nothing gives its `{parameter}`"
    why = "each parameter of the undoing tool is what the call was given under that name, else what it returned"
    fix = "give the parameter the name that it has in the arguments or the result of `{tool}`"

    tool: str
    by: str
    parameter: str


@dataclass(eq=False, kw_only=True)
class ToolsNotListed(Refused):
    """A tool server has not been asked for its tools yet."""

    code = "refused.tools_not_listed"
    what = "`{tool}` cannot be described: the tools of server `{server}` are not listed yet"
    why = "the gate checks arguments against the schema that the server gives when it starts"
    fix = "start the toolbox before the first run"

    tool: str
    server: str


@dataclass(eq=False, kw_only=True)
class ToolHeld(Refused):
    """A server says something else of a tool than was accepted."""

    code = "refused.tool_held"
    what = "`{tool}` was not called: what its server says of it is not what was accepted"
    why = "a changed schema, description or name can mislead an agent, so a person looks at it first"
    fix = "`answerable tools diff` shows the difference; `answerable tools accept {tool}` takes it"

    tool: str


@dataclass(eq=False, kw_only=True)
class ToolNotHeld(Refused):
    """There is nothing about the tool to accept."""

    code = "refused.tool_not_held"
    what = "`{tool}` is not held"
    why = "it is as it was accepted, or no server here has it"
    fix = "`answerable tools list` shows what is held"

    tool: str


@dataclass(eq=False, kw_only=True)
class ToolListingMoved(Refused):
    """What a person saw of a tool is not what its server says to the gate."""

    code = "refused.tool_listing_moved"
    what = "`{tool}` was not accepted: its server says something else to the gate than what was looked at"
    why = "it changed meanwhile, or the gate still talks to an older process of it"
    fix = "look again with `answerable tools diff`; restart the gate if its server was upgraded"

    tool: str


@dataclass(eq=False, kw_only=True)
class ArgumentsInvalid(Refused):
    """The arguments do not fit the tool's schema or declaration."""

    code = "refused.arguments_invalid"
    what = "`{tool}` was not called: {problem}"
    why = "arguments are checked before anything is decided or done"
    fix = "correct the call; `answerable tools list` shows the schema"

    tool: str
    problem: str


@dataclass(eq=False, kw_only=True)
class ToolUnavailable(Transient):
    """A tool said that it could not act now, and did nothing."""

    code = "execution.tool_unavailable"
    what = "`{tool}` could not act now ({error})"
    why = "the tool says that nothing was done"
    fix = "try again later"

    tool: str
    error: str
    retry_after_s: int = 0


@dataclass(eq=False, kw_only=True)
class ToolServerUnavailable(Transient):
    """A tool server could not be reached; nothing was sent to it."""

    code = "execution.tool_server_unavailable"
    what = "tool server `{server}` is not available: {reason}"
    why = "the call was not sent, so nothing happened"
    fix = "run its command by hand to see what it says, then try again"

    server: str
    reason: str


@dataclass(eq=False, kw_only=True)
class ToolServerLost(Transient):
    """A tool's connection ended while it had the call."""

    code = "execution.tool_server_lost"
    what = "the connection behind `{tool}` ended before it answered"
    why = "the call had been sent: a write may or may not have happened"
    fix = "declare an idempotency key or a status probe, so that the gate can find out by itself"

    tool: str


@dataclass(eq=False, kw_only=True)
class ToolTimedOut(Transient):
    """A tool did not answer in time."""

    code = "execution.tool_timed_out"
    what = "`{tool}` gave no answer within its time-out of {after_ms} ms"
    why = "the call had been sent: a write may or may not have happened"
    fix = "raise its `timeout`, or declare an idempotency key or a status probe"

    tool: str
    after_ms: int


@dataclass(eq=False, kw_only=True)
class ToolFailed(Permanent):
    """A tool's own answer: it failed.

    `said` is the tool's text, for the agent. It stays out of the message, which goes to logs and
    consoles, because nobody vouches for what a tool writes.
    """

    code = "execution.tool_failed"
    what = "`{tool}` answered that it failed ({error})"
    why = "the tool's own answer"
    fix = "what it said is kept sealed with the outcome; the agent reads it as `said`"

    tool: str
    error: str
    said: str = ""
    result: str = ""
    """All of the answer, as JSON: a tool result, or an error with its code and data."""


@dataclass(eq=False, kw_only=True)
class ToolLeftWaiting(Permanent):
    """A tool asked for more before it could go on, and was not told."""

    code = "execution.tool_left_waiting"
    what = "`{tool}` wants to be told more, and was not: {reason}"
    why = "its server asked the client in the middle of the call, and what it had done by then, nobody knows"
    fix = "call it from a client that can be asked (elicitation, sampling, roots), and answer"

    tool: str
    reason: str


@dataclass(eq=False, kw_only=True)
class ToolResultInvalid(Permanent):
    """A tool answered with something other than it declares."""

    code = "execution.tool_result_invalid"
    what = "`{tool}` answered with something it does not declare: {problem}"
    why = "a result is checked before it goes on the record; what the call did, it may well have done"
    fix = "correct the tool's return type or the server's output schema"

    tool: str
    problem: str


@dataclass(eq=False, kw_only=True)
class ToolChanged(Permanent):
    """A tool server came back with another schema for a tool."""

    code = "execution.tool_changed"
    what = "`{tool}` was not called: its server came back and says something else of it"
    why = "the call was decided by what it said before"
    fix = "`answerable tools diff` shows what changed; `answerable tools accept {tool}` takes it"

    tool: str


@dataclass(eq=False, kw_only=True)
class ToolUnusable(ConfigError):
    """A tool's signature or declaration is something the gate cannot work with."""

    code = "config.tool_unusable"
    what = "tool `{tool}` cannot be used: {problem}"
    why = "the gate must know every argument, and where the idempotency key goes"
    fix = "correct the declaration or the signature"

    tool: str
    problem: str


@dataclass(eq=False, kw_only=True)
class ToolNotServed(ConfigError):
    """A declaration names a tool that its server does not have."""

    code = "config.tool_not_served"
    what = "server `{server}` has no tool `{tool}`, and the declarations name it"
    why = "a misspelt declaration would leave the real tool with defaults"
    fix = "it has: {served}"

    server: str
    tool: str
    served: str
