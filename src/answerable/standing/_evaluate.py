"""What a check finds in the record. Pure: same receipts, same findings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from answerable.core import Money
from answerable.standing._checks import AtMost, Check, Every, Never, SumAtMost
from answerable.standing._require import meets
from answerable.standing._run_record import RunRecord
from answerable.standing._select import Match, Truth, select

__all__ = ["Finding", "evaluate"]

_MOST_SHOWN = 50  # of the receipts that came before the one at fault: a count of thousands is checked otherwise


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
        total = _Tally(check)
        for each in matches:
            total.add(each)
        so_far = _Tally(check)
        for each in matches:
            so_far.add(each)
            if each.run.run not in names:
                continue
            # An outcome that may still be recorded would come after all that are, whenever its intent was.
            finding = _against_limit(check, each, total if each.is_unseen else so_far, group)
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


class _Tally:
    """A running count, or sum, of matches: the least and the most it can be."""

    def __init__(self, check: AtMost | SumAtMost) -> None:
        self.limit = check.n if isinstance(check, AtMost) else check.amount.minor
        self.unit = "" if isinstance(check, AtMost) else check.amount.currency
        self.least = self.most = 0
        self.is_comparable = True
        self.first: list[Match] = []

    def add(self, each: Match) -> None:
        """Take one more into account."""
        if len(self.first) < _MOST_SHOWN:
            self.first.append(each)
        weight = 1
        if self.unit:
            amount = each.run.amount(each.receipt)
            if amount is None or amount.currency != self.unit:
                self.is_comparable = False
                return
            weight = amount.minor
        self.most += weight
        self.least += 0 if each.doubt else weight

    def __str__(self) -> str:
        said = self._in_unit(self.least)
        if self.most > self.least:
            said += f" to {self._in_unit(self.most)}"
        return said if self.is_comparable else f"{said} and what cannot be added"

    def _in_unit(self, number: int) -> str:
        return str(Money(number, self.unit)) if self.unit else str(number)


def _against_limit(check: AtMost | SumAtMost, last: Match, tally: _Tally, group: str) -> Finding:
    """Whether a match still lies within the limit, given all that count before it."""
    limit = str(check.n if isinstance(check, AtMost) else check.amount)
    where = {"": "", "target": f" for {group}", "agent": f" by agent {group}", "initiator": f" asked for by {group}"}
    span = "on record" if check.within == "record" else "in the run"
    said = f"{last.words} brings it to {tally}{where[check.per]} {span}, at most {limit}"
    others = [each for each in tally.first if each.id != last.id]
    truth: Truth = True
    if not group:
        truth, said = None, f"{last.words} has no {check.per} to count by"
    elif not last.doubt and tally.least > tally.limit:
        truth = False
    elif tally.most > tally.limit or not tally.is_comparable:
        truth = None
        said = "; ".join([said, *(f"{each.id}: {each.doubt}" for each in (last, *others) if each.doubt)])
    shown = () if truth else tuple(each.id for each in others)
    return Finding(truth=truth, said=said, receipts=(last.id, *shown), runs=(last.run.run,))
