"""What an agent's function is called with, and what becomes of what it returns or raises."""

import logging
import os
import traceback
from typing import Any

from answerable.core import AnswerableError, Outcome, Refused, RunId, mismatch
from answerable.runtime._agents import AgentSpec
from answerable.runtime._errors import AgentFailed, InputInvalid
from answerable.runtime._gate import Ending
from answerable.runtime._run import Run
from answerable.runtime._slice import Slice
from answerable.runtime._typed import from_json, input_type, to_json

__all__ = ["call_agent", "outcome_of"]

log = logging.getLogger("answerable.runtime")


async def call_agent(spec: AgentSpec, slice_: Slice, body: bytes) -> Any:
    """Call the agent's function with its input.

    Raises:
        InputInvalid: the input does not fit.
    """
    wanted = input_type(spec.fn)
    try:
        given = from_json(wanted, body)
    except ValueError as error:
        raise InputInvalid(agent=spec.name, problem=mismatch(error)) from None
    return await spec.fn(Run(slice_, "", given), given)


def outcome_of(run: RunId, ending: Ending) -> Outcome:
    """What a run's end says of it."""
    error = ending.error
    if error is None:
        try:
            return Outcome(status="ok", value=to_json(ending.result))
        except (TypeError, ValueError) as raised:
            error = raised
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # a task group around one failure: the failure is what matters
    if not isinstance(error, AnswerableError) or not error.code:
        log.error("run %s: the agent failed", run, exc_info=error)
        error = AgentFailed(kind=type(error).__name__, where=_where(error))
    return Outcome.of_error("refused" if isinstance(error, Refused) else "failed", error)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "its end"
