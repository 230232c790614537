"""How what a tool did becomes an outcome. One place, because the line between `failed` and `unknown` matters.

`failed` says: surely not done, so a Transient one may be tried again. `unknown` says: it was
dispatched, and may have been done. A read is never unknown: doing it again changes nothing.
"""

import re
from typing import Any

from answerable.action import OutcomeUnknown
from answerable.core import AnswerableError, Effect, Outcome, Transient, Usage, stable_json
from answerable.tools._errors import ToolFailed, ToolResultInvalid, ToolServerLost, ToolTimedOut, ToolUnavailable

__all__ = ["ended_badly", "lost", "succeeded", "told"]

_ONE_CALL = Usage(calls=1)
_LONGEST_SAID = 2_000
# Client libraries do not agree on one exception for a lost connection; their names do on these words.
_LOST = re.compile(r"Timeout|TimedOut|Connection|Transport|Network|Disconnect|ProtocolError")


def succeeded(tool: str, value: Any, *, effect: Effect, labels: tuple[str, ...]) -> Outcome:
    """The tool's result, as stable JSON; what JSON has no word for is invalid."""
    try:
        body = stable_json(value)
    except TypeError as error:
        return lost(ToolResultInvalid(tool=tool, problem=str(error)), effect=effect, labels=labels)
    return Outcome(status="ok", value=body, usage=_ONE_CALL, labels=labels)


def told(error: AnswerableError, *, labels: tuple[str, ...] = ()) -> Outcome:
    """The effect surely did not take place."""
    return Outcome.of_error("failed", error, usage=_ONE_CALL, labels=labels)


def lost(error: AnswerableError, *, effect: Effect, labels: tuple[str, ...] = ()) -> Outcome:
    """It was dispatched and may have taken place; a read did not change anything either way."""
    status = "failed" if effect is Effect.READ else "unknown"
    return Outcome.of_error(status, error, usage=_ONE_CALL, labels=labels)  # type: ignore[arg-type]


def ended_badly(tool: str, error: BaseException, *, effect: Effect, labels: tuple[str, ...]) -> Outcome:
    """What an exception out of a tool's own code says of its effect.

    Our errors are the tool's word: `Transient` and `Permanent` mean not done, `OutcomeUnknown` means
    it cannot tell. A time-out or a lost connection means nobody can. Anything else is the tool's own
    answer that it failed.
    """
    if isinstance(error, OutcomeUnknown | ToolServerLost | ToolTimedOut):
        return lost(error, effect=effect, labels=labels)
    if isinstance(error, AnswerableError) and error.code:
        return told(error, labels=labels)
    if isinstance(error, Transient):
        return told(ToolUnavailable(tool=tool, error=type(error).__name__), labels=labels)
    if any(_LOST.search(cls.__name__) for cls in type(error).__mro__):
        return lost(ToolServerLost(tool=tool), effect=effect, labels=labels)
    said = str(error)[:_LONGEST_SAID]
    return told(ToolFailed(tool=tool, error=type(error).__name__, said=said), labels=labels)
