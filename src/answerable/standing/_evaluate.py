"""What a check finds in the record. Pure: same receipts, same findings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from answerable.core import Money
from answerable.standing._checks import AtMost, Check, Every, Never, SumAtMost
from answerable.standing._require import meets
from answerable.standing._run_record import RunRecord
from answerable.standing._select import Match, Truth, select

__all__ = ["Finding", "evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a check found.

    Args:
        truth: the clause holds here (True), is broken here (False), or the record cannot tell (None).
        said: in words, for the report.
        receipts: ids of the receipts that show it, the one that decides first.
        runs: the runs judged by it.
    """

    truth: Truth
    said: str
    receipts: tuple[str, ...]
    runs: tuple[str, ...] = ()


def evaluate(check: Check, judged: Sequence[RunRecord], record: Sequence[RunRecord] | None) -> list[Finding]:
    """The findings of a check on the judged runs.

    Args:
        check: what to look for.
        judged: the runs that the findings are about.
        record: every run of the tenant, for checks that count over the record; None if they are not at
            hand, which such a check says instead of passing.
    """
    match check:
        case Every():
            return [finding for run in judged for finding in _every(check, run)]
        case Never():
            return [_never(each) for run in judged for each in select(check.of, run)]
        case AtMost() | SumAtMost():
            return list(_limited(check, judged, record))


def _every(check: Every, run: RunRecord) -> Iterator[Finding]:
    for each in select(check.of, run):
        for requirement in check.requires:
            answer = meets(each, requirement)
            truth, said = answer.truth, f"{each.words} {answer.said}"
            if truth is not True and each.doubt:
                # Whether the clause asks anything of it is not known, so neither is whether it is broken.
                truth, said = None, f"{said} ({each.doubt})"
            elif truth is False and not run.is_complete:
                truth, said = None, f"{said}; receipts of the run are missing"
            yield Finding(truth=truth, said=said, receipts=(each.id, *answer.receipts), runs=(run.run,))


def _never(each: Match) -> Finding:
    said = f"{each.words} is there"
    if each.doubt:
        return Finding(truth=None, said=f"{each.words}: {each.doubt}", receipts=(each.id,), runs=(each.run.run,))
    return Finding(truth=False, said=said, receipts=(each.id,), runs=(each.run.run,))


def _limited(
    check: AtMost | SumAtMost, judged: Sequence[RunRecord], record: Sequence[RunRecord] | None
) -> Iterator[Finding]:
    """Each judged match beside those before it: the one that passes the limit is the one at fault."""
    names = {run.run for run in judged}
    counted = list(judged)
    if check.within == "record" and record is not None:
        counted += [run for run in record if run.run not in names]
    groups: dict[tuple[str, str], list[Match]] = {}
    for run in counted:
        for each in select(check.of, run):
            groups.setdefault((run.run if check.within == "run" else "", _group(check, each)), []).append(each)
    for (_, group), matches in groups.items():
        matches.sort(key=lambda each: each.receipt.position)
        for at, each in enumerate(matches):
            if each.run.run not in names:
                continue
            # An outcome that may still be recorded would come after all that are, whenever its intent was.
            before = matches[:at] + matches[at + 1 :] if each.is_unseen else matches[:at]
            finding = _against_limit(check, [*before, each], group)
            if finding.truth is True and check.within == "record" and record is None:
                said = f"{finding.said} among the runs at hand; the whole record was not"
                finding = Finding(truth=None, said=said, receipts=finding.receipts, runs=finding.runs)
            yield finding


def _group(check: AtMost | SumAtMost, each: Match) -> str:
    match check.per:
        case "target":
            return each.target
        case "agent":
            return each.run.agent
        case "initiator":
            return each.run.initiator
        case _:
            return "all"


def _against_limit(check: AtMost | SumAtMost, matches: Sequence[Match], group: str) -> Finding:
    """Whether the last of `matches` still lies within the limit, given all before it."""
    last = matches[-1]
    sure = [each for each in matches if not each.doubt]
    if isinstance(check, AtMost):
        limit, most = f"{check.n}", len(matches)
        is_over = not last.doubt and len(sure) > check.n
        may_be_over = most > check.n
        count = f"{len(sure)}" if most == len(sure) else f"{len(sure)} to {most}"
    else:
        limit = f"{check.amount}"
        least, most_minor, is_comparable = _sums(matches, check.amount)
        is_over = not last.doubt and least > check.amount.minor
        may_be_over = most_minor > check.amount.minor or not is_comparable
        count = f"{Money(least, check.amount.currency)}" + ("" if is_comparable else " and what cannot be added")
        if most_minor > least:
            count += f" to {Money(most_minor, check.amount.currency)}"
    where = {"": "", "target": f" for {group}", "agent": f" by agent {group}", "initiator": f" asked for by {group}"}
    span = "on record" if check.within == "record" else "in the run"
    said = f"{last.words} brings it to {count}{where[check.per]} {span}, at most {limit}"
    doubts = [f"{each.id}: {each.doubt}" for each in matches if each.doubt]
    truth: Truth = True
    if is_over:
        truth = False
    elif may_be_over:
        truth, said = None, "; ".join([said, *doubts])
    if not group:
        truth, said = None, f"{last.words} has no {check.per} to count by"
    others = [each.id for each in matches[:-1]]
    return Finding(truth=truth, said=said, receipts=(last.id, *others), runs=(last.run.run,))


def _sums(matches: Sequence[Match], limit: Money) -> tuple[int, int, bool]:
    """The sum of the sure matches, of all of them, and whether every amount could be added."""
    least = most = 0
    is_comparable = True
    for each in matches:
        amount = each.run.amount(each.receipt)
        if amount is None or amount.currency != limit.currency:
            is_comparable = False
            continue
        most += amount.minor
        least += 0 if each.doubt else amount.minor
    return least, most, is_comparable
