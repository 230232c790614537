"""Which receipts a selector means. Three answers: yes, no, and the record cannot tell."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from answerable.core import Money
from answerable.ledger import Receipt
from answerable.standing._checks import Selector
from answerable.standing._run_record import RunRecord, in_words

__all__ = ["Match", "Truth", "select"]

Truth = bool | None
"""True, False, or None: the record at hand does not tell (Kleene's third value)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A receipt that a selector means, or may mean.

    Args:
        doubt: why it only may; empty for a sure match.
        is_unseen: an outcome is selected, and this is an intent that may still get one.
    """

    run: RunRecord
    receipt: Receipt
    doubt: str = ""
    is_unseen: bool = False

    @property
    def id(self) -> str:
        receipt_id: str = self.receipt.predicate["id"]
        return receipt_id

    @property
    def seq(self) -> int:
        seq: int = self.receipt.predicate["seq"]
        return seq

    @property
    def target(self) -> str:
        target: str = self.run.action(self.receipt).get("target", "")
        return target

    @property
    def words(self) -> str:
        return in_words(self.run, self.receipt)


def select(selector: Selector, run: RunRecord) -> Iterator[Match]:
    """The receipts of a run that match or may match, in order.

    An intent without an outcome may have had any outcome: where outcomes are selected, it may match.
    """
    open_ids = {receipt.predicate["id"] for receipt in run.open_intents} if selector.phase == "outcome" else set()
    for receipt in run.receipts:
        if receipt.phase == selector.phase:
            is_seen = True
        elif selector.phase == "outcome" and receipt.phase == "intent" and receipt.predicate["id"] in open_ids:
            is_seen = False
        else:
            continue
        truth, doubt = _matches(selector, run, receipt, is_seen=is_seen)
        if truth is not False:
            yield Match(run=run, receipt=receipt, doubt=doubt, is_unseen=not is_seen)


def _matches(selector: Selector, run: RunRecord, receipt: Receipt, *, is_seen: bool) -> tuple[Truth, str]:
    said = receipt.predicate
    action, authority = run.action(receipt), run.authority(receipt)
    model = run.basis(receipt).get("model", {})
    texts: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
        (selector.kind, (action.get("kind", ""),)),
        (selector.name, (action.get("name", ""),)),
        (selector.effect, (action.get("effect", ""),)),
        (selector.target, (action.get("target", ""),)),
        (selector.agent, (said["agent"]["id"],)),
        (selector.environment, (run.environment,)),
        (selector.rule, tuple(authority.get("rules", ()))),
        (selector.model, (f"{model['provider']}:{model['id']}",) if model else ()),
    )
    for patterns, found in texts:
        if patterns and not any(fnmatchcase(text, pattern) for text in found for pattern in patterns):
            return False, ""
    doubts = []
    if is_seen:
        if selector.status and said.get("effect", {}).get("status", "") not in selector.status:
            return False, ""
        if selector.label and not _any(said.get("labels", ()), selector.label):
            return False, ""
    else:
        doubts.append("it has no outcome: it may have happened")
    for limit, is_over in ((selector.amount_over, True), (selector.amount_up_to, False)):
        if limit is not None:
            truth, doubt = _compares(run.amount(receipt), limit, is_over=is_over)
            if truth is False:
                return False, ""
            doubts += [doubt] * bool(doubt)
    return (None, "; ".join(doubts)) if doubts else (True, "")


def _any(texts: tuple[str, ...] | list[str], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, pattern) for text in texts for pattern in patterns)


def _compares(amount: Money | None, limit: Money, *, is_over: bool) -> tuple[Truth, str]:
    if amount is None:
        return None, f"it says no amount to compare with {limit}"
    if amount.currency != limit.currency:
        return None, f"{amount} cannot be compared with {limit}"
    return (amount.minor > limit.minor) is is_over, ""
