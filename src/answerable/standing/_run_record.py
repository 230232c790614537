"""One run's receipts, laid out for the questions that checks and trails ask."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from answerable.core import Money, RunId
from answerable.ledger import Receipt

__all__ = ["RunRecord", "in_words", "run_records"]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The receipts of one run, by `seq`.

    INVARIANT: nothing but the receipts is read, so two readers of one record see the same.
    """

    run: RunId
    receipts: tuple[Receipt, ...]

    @cached_property
    def opened(self) -> dict[str, Any]:
        """The `run.open` predicate; empty where it is missing."""
        first = self.receipts[0].predicate if self.receipts else {}
        return first if first.get("phase") == "run.open" else {}

    @property
    def agent(self) -> str:
        agent: str = self.opened.get("control", {}).get("agent") or self.receipts[0].predicate["agent"]["id"]
        return agent

    @property
    def environment(self) -> str:
        environment: str = self.opened.get("control", {}).get("environment", "")
        return environment

    @property
    def initiator(self) -> str:
        """Who asked for the run; empty where nobody is named."""
        initiator: str = self.opened.get("onBehalfOf", "")
        return initiator

    @property
    def resources(self) -> tuple[str, ...]:
        return tuple(self.opened.get("control", {}).get("resources", ()))

    @property
    def specs(self) -> dict[str, str]:
        """The specifications recorded with the run: id to the digest of the stored version."""
        specs: dict[str, str] = self.opened.get("control", {}).get("specs", {})
        return specs

    @property
    def is_closed(self) -> bool:
        return self.receipts[-1].phase == "run.close"

    @property
    def is_complete(self) -> bool:
        """Whether no receipt between the first and the last one at hand is missing."""
        return [receipt.predicate["seq"] for receipt in self.receipts] == list(range(len(self.receipts)))

    @cached_property
    def by_id(self) -> dict[str, Receipt]:
        return {receipt.predicate["id"]: receipt for receipt in self.receipts}

    @cached_property
    def _intents(self) -> dict[str, list[Receipt]]:
        """The attempts at each step, in order."""
        intents: dict[str, list[Receipt]] = {}
        for receipt in self.receipts:
            if receipt.phase == "intent":
                intents.setdefault(receipt.predicate.get("step", ""), []).append(receipt)
        return intents

    @cached_property
    def open_intents(self) -> tuple[Receipt, ...]:
        """The last attempt of each step that may have happened and has no outcome."""
        done = {receipt.predicate.get("step", "") for receipt in self.receipts if receipt.phase == "outcome"}
        written_off = {
            receipt.predicate["control"].get("intent") or receipt.predicate.get("intentRef")
            for receipt in self.receipts
            if receipt.phase == "control" and receipt.predicate.get("control", {}).get("do") == "write-off"
        }
        open_: list[Receipt] = []
        for step, intents in self._intents.items():
            left = [intent for intent in intents if intent.predicate["id"] not in written_off]
            if left and step not in done:
                open_.append(left[-1])
        return tuple(open_)

    def intent_of(self, receipt: Receipt) -> Receipt | None:
        """The intent that a receipt is, answers or was opened by; None for a read or a refusal."""
        if receipt.phase == "intent":
            return receipt
        reference = receipt.predicate.get("intentRef", "")
        if reference in self.by_id:
            return self.by_id[reference]
        attempts = self._intents.get(receipt.predicate.get("step", ""), [])
        earlier = [intent for intent in attempts if intent.predicate["seq"] < receipt.predicate["seq"]]
        return earlier[-1] if earlier and receipt.phase != "denied" else None

    def action(self, receipt: Receipt) -> dict[str, Any]:
        """The action a receipt is about, with what only its intent says of it."""
        return self._with_intent(receipt, "action")

    def authority(self, receipt: Receipt) -> dict[str, Any]:
        """The decision a receipt rests on: its own, or its intent's."""
        return self._with_intent(receipt, "authority")

    def basis(self, receipt: Receipt) -> dict[str, Any]:
        """The clauses and the model a receipt rests on: its own, or its intent's."""
        return self._with_intent(receipt, "basis")

    def _with_intent(self, receipt: Receipt, member: str) -> dict[str, Any]:
        own: dict[str, Any] = receipt.predicate.get(member, {})
        intent = self.intent_of(receipt)
        return own if intent is None or intent is receipt else {**intent.predicate.get(member, {}), **own}

    def amount(self, receipt: Receipt) -> Money | None:
        """The money that the action moves, if its receipt says so."""
        said = self.action(receipt).get("amount")
        return Money(said["minor"], said["currency"]) if said else None


def run_records(receipts: Iterable[Receipt]) -> list[RunRecord]:
    """Receipts sorted into their runs, in the order in which the runs first appear on the record.

    Receipts that belong to no run (a tenant's control run) are left out.
    """
    runs: dict[str, list[Receipt]] = {}
    for receipt in sorted(receipts, key=lambda receipt: receipt.position):
        runs.setdefault(receipt.predicate["run"], []).append(receipt)
    return [
        RunRecord(run=RunId(run), receipts=tuple(sorted(theirs, key=lambda receipt: receipt.predicate["seq"])))
        for run, theirs in runs.items()
        if not run.startswith("control:")
    ]


def in_words(run: RunRecord, receipt: Receipt) -> str:
    """A receipt as a reader knows it: `shop.refund of 250.00 EUR on order:1003 (rcpt_…)`."""
    action = run.action(receipt)
    said = action.get("name") or receipt.phase
    if amount := run.amount(receipt):
        said += f" of {amount}"
    if target := action.get("target"):
        said += f" on {target}"
    return f"{said} ({receipt.predicate['id']})"
