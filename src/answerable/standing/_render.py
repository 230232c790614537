"""A trail and a list of verdicts as plain text, for a terminal, a mail or a ticket."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from answerable.standing._conformance import ClauseVerdict
from answerable.standing._trail import ActionTrail, ApprovalLink, DecisionLink, Trail

__all__ = ["trail_lines", "verdict_lines"]

_MARK = {"satisfied": "✓", "violated": "✗", "not applicable": "–", "undetermined": "?"}
_STATUS = {
    "ok": "done",
    "failed": "failed",
    "refused": "refused: it was not done",
    "held": "held: waits for a person, not done",
    "written off": "written off: it did not happen",
    "unknown": "unknown: it may have happened",
}
_DIGEST_SHOWN = len("sha256:") + 12
_MOST_SHOWN = 4


def trail_lines(trail: Trail) -> list[str]:
    """The trail, outermost first; every line can be checked by the receipts it names."""
    lines = [trail.asked]
    for number, action in enumerate(trail.actions, start=1):
        if number > 1:
            lines.append("│")
        is_last = number == len(trail.actions) and not trail.reads
        lines += _block(list(_action(action)), is_last=is_last)
    if trail.reads:
        calls = ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in trail.reads)
        lines += _block([f"also read or asked: {calls}"], is_last=True)
    if trail.said:
        lines += _block([trail.said], is_last=True)
    return lines


def verdict_lines(verdicts: Sequence[ClauseVerdict]) -> list[str]:
    """A line a clause, then why, then the receipts that show it; grouped by version of the specification."""
    lines: list[str] = []
    for (version, is_as_recorded), group in groupby(verdicts, key=lambda each: (each.version, each.is_as_recorded)):
        lines.append(f"{version}" + ("" if is_as_recorded else ", not recorded with the runs"))
        for each in group:
            lines.append(f"  {_MARK[each.verdict]} {each.clause:<12} {each.verdict:<14} {each.title}")
            lines.append(f"      {each.reason}")
            if each.verdict in ("violated", "undetermined"):
                others = [f"      {finding.said}" for finding in each.findings[1:] if finding.truth is not True]
                lines += others[: _MOST_SHOWN - 1]
                if len(others) >= _MOST_SHOWN:
                    lines.append(f"      and {len(others) - _MOST_SHOWN + 1} more")
            if each.shown_by:
                lines.append(f"      shown by {_some(each.shown_by)}")
    return lines


def _action(action: ActionTrail) -> Iterator[str]:
    said = f"{action.name} ({action.effect})"
    said += f" {action.amount}" if action.amount else ""
    said += f" on {action.target}" if action.target else ""
    yield f"{said} — {_STATUS.get(action.status, action.status)}"
    seen = f", seen by the {action.observed_by}" if action.observed_by else ""
    yield f"evidence   {action.at}{seen}"
    yield from (f"           {phase:<10} {receipt}" for phase, receipt in action.receipts)
    yield from (f"           {each}" for each in action.evidence)
    for decision in action.decisions:
        yield f"decision   {_decision(decision)}"
    for approval in action.approvals:
        yield f"approval   {_approval(approval)}"
    where = f" in {action.environment}" if action.environment else ""
    mandate = f"under mandate {action.mandate}" if action.mandate else "in its own role, without a mandate"
    yield f"agent      {action.agent}{where}, {mandate}"
    yield f"asked by   {action.initiator}, run {action.run}"
    for clause in action.clauses:
        title = f" {clause.title}" if clause.title else ""
        version = f" [{clause.version}]" if clause.version else " (text not at hand)"
        verdict = f": {clause.verdict}" if clause.verdict else ""
        yield f"clause     {clause.clause}{title}{version}{verdict}"
    if not action.clauses:
        yield "clause     none governs it"
    if action.model:
        said = "asked" if action.model.is_own else "heard last before it"
        yield f"model      {action.model.provider}:{action.model.id}, {said}, {action.model.receipt}"


def _decision(decision: DecisionLink) -> str:
    said = f"{decision.decision} by {', '.join(decision.rules) or 'no rule'}"
    said += f" ({decision.reason})" if decision.reason else ""
    # The permit that follows a hold repeats what was asked: it was met, or the intent would not stand.
    said += f", asks {'; '.join(decision.obligations)}" if decision.obligations and decision.decision == "hold" else ""
    said += f", policy {decision.policy[:_DIGEST_SHOWN]}" if decision.policy else ""
    return f"{said}, {decision.receipt}"


def _approval(approval: ApprovalLink) -> str:
    if approval.decision == "waiting":
        return f"waiting for role {approval.role}, {approval.approval}"
    taken = ", taken by the intent" if approval.is_taken else ""
    role = f" as {approval.role}" if approval.role else ""
    return f"{approval.decision} by {approval.person}{role} at {approval.at}{taken}, {approval.receipt}"


def _block(lines: list[str], *, is_last: bool) -> list[str]:
    first, rest = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
    return [(first if at == 0 else rest) + line for at, line in enumerate(lines)]


def _some(receipts: Sequence[str]) -> str:
    shown = ", ".join(receipts[:_MOST_SHOWN])
    more = len(receipts) - _MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
