"""Where arguments came from, told anew from the record alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from answerable.core import RunId
from answerable.ledger import ObjectErased, Receipt
from answerable.policy._labels._flow import NO_FLOW, Flow, Texts, flow_of, follow
from answerable.policy._labels._recognise import Recogniser
from answerable.policy._labels._rules import LabelRules
from answerable.policy._labels._texts import RunTexts

__all__ = ["flows_again"]


def flows_again(
    record: Texts, receipt: Receipt, before: Sequence[Receipt], rules: LabelRules, further: Sequence[Recogniser]
) -> Iterator[Flow]:
    """What the record could say of a call's arguments when it was decided; nothing where a text is gone.

    It was decided some time before its receipt was written, and others may have been written in between: what could
    be known at its receipt comes first, then what could be known at each receipt before.

    Args:
        receipt: of the decision.
        before: the receipts of its run before it.
    """
    action = receipt.predicate["action"]
    sink = rules.sinks.get(action["name"]) if action["kind"] == "tool" else None
    if sink is None:
        yield NO_FLOW
        return
    try:
        given = record.text(receipt).input
        if given is None:
            return
        for count in range(len(before), 0, -1):
            if count < len(before) and before[count].phase not in _TELLING:
                continue  # it said nothing that the moment before it did not know
            texts = RunTexts(rules)
            follow(texts, _Until(record, before[:count]), RunId(receipt.predicate["run"]))
            yield flow_of(sink, orjson.loads(given), texts, further)
    except ObjectErased:
        return


_TELLING = frozenset({"run.open", "intent", "outcome", "control", "approval"})


@dataclass(frozen=True, slots=True)
class _Until:
    """A record in which a run ends with these receipts."""

    record: Texts
    receipts: Sequence[Receipt]

    def after(self, run: RunId, seq: int) -> list[Receipt]:
        if not self.receipts or self.receipts[0].predicate["run"] != run:
            return self.record.after(run, seq)
        return [each for each in self.receipts if each.predicate["seq"] > seq]

    def text(self, receipt: Receipt) -> Any:
        return self.record.text(receipt)
