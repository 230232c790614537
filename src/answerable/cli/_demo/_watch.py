"""What the demo sees of the record while the worker writes it: from another process, read-only."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from answerable.cli._approvals import what_of
from answerable.cli._demo._books import Books, Effect, effect_of
from answerable.cli._demo._proposals import proposal_of
from answerable.cli._desk import approvals_of
from answerable.core import RunId
from answerable.ledger import Reader, Receipt
from answerable.policy import Approvals

__all__ = ["InFlight", "News", "Ticket", "Watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A ticket, as the run over it was opened."""

    id: str
    order: str
    subject: str
    run: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """A receipt that is worth a line."""

    event: str
    line: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """An effect of which the record holds the intent and no outcome.

    Args:
        is_on_books: the shop has done it.
    """

    ticket: str
    intent: Receipt
    is_on_books: bool

    @property
    def name(self) -> str:
        """The tool."""
        return str(self.intent.predicate["action"]["name"])


class Watch:
    """The receipts so far, and what they amount to.

    Args:
        tells_proposals: what the model proposes is worth a line too.
    """

    def __init__(self, data: Path, *, tells_proposals: bool = False) -> None:
        self.reader = Reader.open(data)
        self.tells_proposals = tells_proposals
        self.receipts: list[Receipt] = []
        self.tickets: dict[RunId, Ticket] = {}
        self.closed: set[RunId] = set()

    @property
    def approvals(self) -> Approvals:
        """What waits for a person, and what they said."""
        return approvals_of(self.reader)

    def look(self) -> list[News]:
        """What has happened since the last look."""
        if self.reader.log_size() == len(self.receipts):
            return []  # each receipt is an entry of the log, and counting them is cheap
        fresh = self.reader.receipts()[len(self.receipts) :]
        self.receipts += fresh
        for receipt in fresh:
            run = RunId(receipt.predicate["run"])
            if receipt.phase == "run.open":
                said = json.loads(self.reader.text(receipt).input or b"{}")
                self.tickets[run] = Ticket(id=said["id"], order=said["order"], subject=said["subject"], run=run)
            elif receipt.phase == "run.close":
                self.closed.add(run)
        return [news for receipt in fresh if (news := self._news(receipt))]

    def is_settled(self, tickets: int) -> bool:
        """Whether every ticket's run has ended or waits for a person."""
        waiting = {approval.run for approval in self.approvals.list()}
        return len(self.tickets) == tickets and set(self.tickets) <= self.closed | waiting

    def is_over(self, tickets: int) -> bool:
        """Whether every ticket's run has ended."""
        return len(self.closed) == tickets

    def of_run(self, run: RunId) -> list[Receipt]:
        """The run's receipts in order."""
        return [receipt for receipt in self.receipts if receipt.predicate["run"] == run]

    def finals(self, runs: set[RunId]) -> list[Receipt]:
        """The receipts that settle a step of these runs."""
        return [
            receipt
            for receipt in self.receipts
            if receipt.phase in ("outcome", "denied") and receipt.predicate["run"] in runs
        ]

    def in_flight(self, books: Books) -> list[InFlight]:
        """Effects that may or may not have happened, as far as the record goes."""
        answered = {receipt.predicate.get("intentRef") for receipt in self.receipts}
        done = books.effects()
        return [
            InFlight(
                ticket=self.tickets[intent.predicate["run"]].id,
                intent=intent,
                is_on_books=bool(done[effect_of(intent.predicate["action"])]),
            )
            for intent in self._intents()
            if intent.predicate["id"] not in answered and intent.predicate["action"]["effect"] != "read"
        ]

    def outcome_of(self, intent: Receipt) -> Receipt | None:
        """What became of the step that the intent was an attempt at."""
        said = intent.predicate
        for receipt in self.finals({RunId(said["run"])}):
            if receipt.predicate["step"] == said["step"]:
                return receipt
        return None

    def refusals(self, ticket: str) -> list[Receipt]:
        """What was refused in the runs over a ticket."""
        runs = {run for run, each in self.tickets.items() if each.id == ticket}
        return [receipt for receipt in self.finals(runs) if receipt.phase == "denied"]

    def result_of(self, run: RunId) -> dict[str, Any]:
        """What the agent returned; empty where it failed."""
        closing = self.of_run(run)[-1]
        if closing.phase != "run.close" or closing.predicate["control"]["state"] != "done":
            return {}
        found: dict[str, Any] = json.loads(self.reader.text(closing).output or b"{}")
        return found

    def effects(self, receipts: Sequence[Receipt]) -> set[Effect]:
        """Those of the receipts that are about effects, as the books call them."""
        return {
            effect_of(receipt.predicate["action"])
            for receipt in receipts
            if receipt.predicate["action"]["kind"] == "tool" and receipt.predicate["action"]["effect"] != "read"
        }

    def _intents(self) -> Iterator[Receipt]:
        for receipt in self.receipts:
            if receipt.phase == "intent" and receipt.predicate["action"]["kind"] == "tool":
                yield receipt

    def _news(self, receipt: Receipt) -> News | None:
        said = receipt.predicate
        ticket = self.tickets.get(RunId(said["run"]))
        action = said.get("action", {})
        if ticket is None or receipt.phase not in ("outcome", "denied", "held"):
            return None
        if receipt.phase == "outcome" and action["kind"] == "model" and self.tells_proposals:
            proposed = proposal_of(self.reader, receipt, ticket.order) or "nothing that can be used"
            fields = {"ticket": ticket.id, "receipt": said["id"], "proposed": proposed}
            return News(event="proposed", line=f"{ticket.id}  the model proposes: {proposed}", fields=fields)
        if receipt.phase == "outcome" and (action["effect"] == "read" or action["kind"] != "tool"):
            return None
        event, because = self._what_happened(receipt)
        line = f"{ticket.id}  {event:<9}{what_of(action) if action else '':<34}  {because}".rstrip()
        fields = {
            "ticket": ticket.id,
            "run": said["run"],
            "receipt": said["id"],
            "name": action.get("name", ""),
            "target": action.get("target", ""),
            "because": because,
        }
        return News(event=event, line=line, fields=fields)

    def _what_happened(self, receipt: Receipt) -> tuple[str, str]:
        said = receipt.predicate
        if receipt.phase == "held":
            return "held", f"{_rules(said)}: waits for a {said['control']['role']}"
        if receipt.phase == "denied":
            reason = said["authority"].get("reason")
            if reason == "refused.policy_denied" and not said["authority"].get("rules"):
                return "refused", "no policy permits it"
            return "refused", "by a person" if reason == "refused.approval_rejected" else f"by {_rules(said)}"
        if said["effect"]["status"] != "ok":
            return "declined", "by the shop itself"
        intent = next((each for each in self._intents() if each.predicate["id"] == said.get("intentRef")), receipt)
        if intent.predicate["authority"].get("approvals"):
            return "done", "approved by a person, then permitted"
        return "done", f"permitted by {_rules(intent.predicate)}"


def _rules(said: dict[str, Any]) -> str:
    return ", ".join(said.get("authority", {}).get("rules", ())) or "the run itself"
