"""One call of an agent: its step key and the future its outcome is handed back in."""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from answerable.core import AnswerableError, Mac, Outcome, StepKey, stable_json
from answerable.ledger import Draft, Slice
from answerable.runtime._agents import AgentSpec

__all__ = ["Call", "Signature", "SliceFuture", "mark_draft", "step_key"]

Signature = tuple[str, str, str, bytes]
"""Branch, kind, name and arguments of a call."""


class SliceFuture(asyncio.Future[Outcome]):
    """Where a slice hands an outcome back. Its type tells a durable wait from any other."""


@dataclass(slots=True, eq=False, kw_only=True)
class Call:
    """One call between the moment the agent makes it and the moment its outcome is handed back.

    Args:
        signature: identical writes of one signature exclude each other.
        future: what the agent awaits; the agent may cancel it without any effect on the call.
        confidence: how sure the agent says it is, in percent; no part of the step's name.
        denial: why the runtime refuses it, decided when the call was made.
        seen_wakes: how many wakes the slice had seen when the journal was last asked about this step.
        is_waiting: at the gate, for a person, the clock or a signal: nothing is being done for it.
        task: the gate's task, if there is one.
    """

    step: StepKey
    signature: Signature
    future: SliceFuture
    confidence: int | None = None
    denial: AnswerableError | None = None
    seen_wakes: int = 0
    is_waiting: bool = False
    task: asyncio.Task[None] | None = None


def step_key(run_key: Mac, signature: Signature, occurrence: int) -> StepKey:
    """The name of a call within its run: the same in every replay, and of no meaning without the run's key.

    Source: `docs/concepts/runs.md`, "Step keys".
    """
    branch, kind, name, arguments = signature
    said = stable_json([branch, kind, name, arguments.decode(), occurrence])
    return StepKey(run_key.digest(said).hex()[:32])


def mark_draft(
    call: Call, spec: AgentSpec, lease: Slice, phase: Literal["timer", "version"], once: str, control: dict[str, Any]
) -> Draft:
    """The receipt of a call that is no action: a timer set or fired, a code-change marker passed."""
    return Draft(
        tenant=spec.tenant,
        run=lease.run,
        phase=phase,
        agent=spec.agent_id,
        build=spec.build,
        step=call.step,
        branch=call.signature[0],
        once=once,
        members={"control": control},
        fence=lease.fence,
    )
