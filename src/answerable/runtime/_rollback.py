"""Undoing a run: the declared compensations of what it did, in reverse order, each on the road.

A roll-back is a run of its own: durable, governed, recorded. Its agent's function is `RollBack`, which
reads from the record what there is to undo. `docs/concepts/runs.md`, "Roll-backs".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from answerable.core import AnswerableError, RunId, StepKey, TenantId, stable_json
from answerable.ledger import Draft, History, Ledger, ObjectErased, Reader, Receipt, begun_at
from answerable.runtime._closing import seen_labels, seen_subjects
from answerable.runtime._errors import ControlRefused, RollbackIncomplete
from answerable.runtime._fork import place_of
from answerable.runtime._gate import Compensation
from answerable.runtime._links import links_from
from answerable.runtime._run import Run

__all__ = ["RollBack", "open_rollback", "rollback_draft"]

_PASSED_ON = ("continue", "hand-over")
_WITHIN = ("decision", "model", "delegation")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Undo:
    """One effect to undo.

    Args:
        receipt: of its outcome, or of its intent where it has none.
        by, arguments: the undoing call.
        problem: why it cannot be undone; empty if it can.
    """

    name: str
    receipt: str
    by: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


class RollBack:
    """What a roll-back has in place of its agent's function: `undo`."""

    def __init__(self, reader: Reader, origin: dict[str, Any], compensation: Compensation) -> None:
        self._reader = reader
        self._origin = origin
        self._compensation = compensation

    async def undo(self, run: Run, given: Any) -> dict[str, Any]:
        """Undo one effect after the other; what was undone, and what was left where that was allowed."""
        target = RunId(self._origin["run"])
        plan = self._plan(target, self._origin["seq"], self._settled(target, run.id))
        left = [each for each in plan if each.problem]
        if left and not self._origin["partial"]:
            raise self._incomplete(0, plan, left[0].name, left[0].problem)
        undone: list[dict[str, str]] = []
        todo = [each for each in plan if not each.problem]
        for number, each in enumerate(todo):
            try:
                await run.branch("undo").branch(each.receipt).tool(each.by, **each.arguments)
            except AnswerableError as error:
                raise self._incomplete(number, todo, each.name, error.code) from error
            undone.append({"name": each.name, "receipt": each.receipt, "by": each.by})
        return {"undone": undone, "left": [{"name": each.name, "problem": each.problem} for each in left]}

    def _plan(self, run: RunId, seq: int, settled: Mapping[str, str]) -> list[_Undo]:
        """What there is to undo, the latest first: of the run, its successors and its children."""
        links = links_from(self._reader, run)
        successors = [link.run for link in reversed(links) if link.how in _PASSED_ON]
        found = [item for each in successors for item in self._plan(each, 1, settled)]
        receipts = self._reader.receipts(run=run)
        begun = begun_at(receipts)
        children = {
            step: link.run
            for link in links
            if link.how == "delegate" and (step := self._reader.opened(link.run)["control"]["origin"]["step"])
        }
        history = self._reader.history(run)
        for receipt in reversed(receipts):
            said = receipt.predicate
            step = StepKey(said.get("step", ""))
            if "action" not in said or begun.get(step, 0) < seq:
                continue
            if receipt.phase == "outcome" and step in children:
                found += self._plan(children[step], 1, settled)
            if said["action"]["effect"] == "read" or _is_within(said["action"]):
                continue
            if receipt.phase == "outcome" and said["effect"]["status"] == "ok":
                found += self._undo(receipt, settled)
            elif receipt.phase == "intent" and _is_in_doubt(history, step):
                problem = "nobody knows whether it happened: look, and undo it by hand"
                found.append(_Undo(name=said["action"]["name"], receipt=said["id"], problem=problem))
        return found

    def _undo(self, receipt: Receipt, settled: Mapping[str, str]) -> list[_Undo]:
        said = receipt.predicate
        name, id_ = said["action"]["name"], said["id"]
        if said["action"]["kind"] != "tool":
            return [_Undo(name=name, receipt=id_, problem="only what tools did can be undone by tools")]
        if id_ in settled:
            return [_Undo(name=name, receipt=id_, problem=settled[id_])] if settled[id_] else []
        try:
            asked = self._reader.find(said.get("intentRef", "")) or receipt
            arguments = orjson.loads(self._reader.text(asked).input or b"{}")
            result = orjson.loads(self._reader.text(receipt).output or b"null")
            call = self._compensation(name, arguments, result)
        except ObjectErased:
            return [_Undo(name=name, receipt=id_, problem="what it was called with is erased")]
        except AnswerableError as error:
            return [_Undo(name=name, receipt=id_, problem=error.message)]
        if call is None:
            return [_Undo(name=name, receipt=id_, problem="no tool is declared that undoes it")]
        return [_Undo(name=name, receipt=id_, by=call[0], arguments=call[1])]

    def _settled(self, target: RunId, own: RunId) -> dict[str, str]:
        """Effects that an earlier roll-back undid, and those of which nobody knows whether it did."""
        settled: dict[str, str] = {}
        for link in links_from(self._reader, target):
            if link.how != "rollback" or link.run == own:
                continue
            history = self._reader.history(link.run)
            for receipt in self._reader.receipts(run=link.run):
                said = receipt.predicate
                undoes = said.get("branch", "").removeprefix("undo/")
                if receipt.phase == "outcome" and said["effect"]["status"] == "ok":
                    settled[undoes] = ""
                elif receipt.phase == "intent" and _is_in_doubt(history, said["step"]):
                    settled[undoes] = "an earlier roll-back may have undone it, and nobody knows"
        return settled

    def _incomplete(self, undone: int, plan: list[_Undo], at: str, problem: str) -> RollbackIncomplete:
        left = len(plan) - undone
        return RollbackIncomplete(run=self._origin["run"], undone=undone, left=left, at=at, problem=problem)


def open_rollback(reader: Reader, run: RunId) -> RunId | None:
    """The roll-back of a run that is under way, if one is."""
    found = [link.run for link in links_from(reader, run) if link.how == "rollback"]
    return next((each for each in found if reader.outline(each).closed is None), None)


def rollback_draft(ledger: Ledger, run: RunId, *, new: RunId, to: str, partial: bool, by: str, reason: str) -> Draft:
    """The `run.open` of a roll-back.

    Args:
        to: the first step to undo, as for a fork; empty to undo the whole run.

    Raises:
        ControlRefused: the run, or one that came of it, has not ended.
    """
    reader = ledger.reader
    place, seq = place_of(reader, run, to)
    if place != run:
        raise ControlRefused(run=run, do="rollback", problem=f"`{to}` was done by run `{place}`, which it shares")
    _check_ended(reader, run, run)
    receipts = reader.receipts(run=run)
    opened = receipts[0].predicate
    control: dict[str, Any] = {
        name: opened["control"][name]
        for name in ("agent", "environment", "resources", "chain", "ancestors", "groups", "mandate")
        if name in opened["control"]
    }
    tenant = TenantId(opened["tenant"])
    history = reader.history(run)
    subjects = seen_subjects(history)
    control.update({"subjects": list(subjects)} if subjects else {})
    control["limits"] = {}  # the plan is finite, and a bound would leave a run half undone
    # SECURITY: what is undone is said by the record of what the run saw, so it is as trusted as that.
    control["labels"] = seen_labels(history)
    control["origin"] = {
        "how": "rollback",
        "run": run,
        "seq": seq,
        "partial": partial,
        "head": receipts[-1].digest,
        "by": ledger.pseudonym(tenant, by),
        "reason": reason,
    }
    return Draft(
        tenant=tenant,
        run=new,
        phase="run.open",
        agent=opened["agent"]["id"],
        once=f"rollback:{run}:{len([link for link in links_from(reader, run) if link.how == 'rollback'])}",
        on_behalf_of=ledger.pseudonym(tenant, by),
        members={"control": control},
        input=b"null",
        output=stable_json({"onBehalfOf": by}),
        subjects=subjects,
    )


def _is_within(action: dict[str, Any]) -> bool:
    """Whether it changed nothing outside the runs that are undone."""
    return action["kind"] in _WITHIN or action["name"] == "shared.set"


def _is_in_doubt(history: History, step: StepKey) -> bool:
    return step not in history.finals and not history.intents[step].is_written_off


def _check_ended(reader: Reader, of: RunId, run: RunId) -> None:
    if reader.outline(run).closed is None:
        problem = "it has not ended: kill it first" if of == run else f"run `{run}`, which came of it, has not ended"
        raise ControlRefused(run=of, do="rollback", problem=problem)
    for link in links_from(reader, run):
        if link.how in (*_PASSED_ON, "delegate"):
            _check_ended(reader, of, link.run)
