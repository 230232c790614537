"""The story up to its end on the record: work, crash, resume, decide."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import typer

from answerable.cli._approvals import what_of
from answerable.cli._demo._books import Books
from answerable.cli._demo._telling import Telling
from answerable.cli._demo._watch import InFlight, Watch
from answerable.cli._desk import write
from answerable.cli._drivers._processes import Worker
from answerable.cli._errors import WorkerStuck
from answerable.core import Refused
from answerable.ledger import Receipt
from answerable.policy import Approval
from answerable.server import Writes

__all__ = ["SCRIPTED", "Story"]

SCRIPTED = "scripted:support"
_HALF = 6  # effects on the shop's books before the crash, of 13 that need no person
_LATE = 10  # from here on, a draft will do
_WORST = ("shop.refund", "shop.send_email")
_SLOW_MS = 120  # what a call to the shop takes: long enough to be cut short
_LOOK_S = 0.01
_PATIENCE_S = 90.0  # without a new receipt
_PATIENCE_WITH_A_MODEL_S = 330.0  # more than the local one may take, with two tickets before this one
_LEAD = "support-lead"
_REASONS = {"approve": "within the refund policy", "reject": "outside the refund policy"}

Decision = Literal["approve", "reject"]


@dataclass(kw_only=True)
class Story:
    """One telling of the story, over the record in `out`.

    Args:
        example: `examples/support`.
        answers: what to say to held actions, in the order in which they were held.
    """

    example: Path
    out: Path
    model: str
    answers: Sequence[Decision]
    telling: Telling
    in_doubt: list[InFlight] = field(default_factory=list)
    handed_back: list[Receipt] = field(default_factory=list)
    _watch: Watch | None = None
    _calls: int = 0
    _heard: float = 0.0

    @property
    def data(self) -> Path:
        """The record."""
        return self.out / "data"

    @property
    def books(self) -> Books:
        """The shop's own."""
        return Books(self.out / "books.sqlite3")

    @property
    def watch(self) -> Watch:
        """The record, read."""
        if self._watch is None:
            self._watch = Watch(self.data, tells_proposals=self.model != SCRIPTED)
        return self._watch

    @property
    def tickets(self) -> int:
        """How many tickets there are to work on."""
        return len(list((self.example / "tickets").glob("*.txt")))

    def tell(self) -> None:
        """All of it."""
        self._crash()
        worker = self._start(2, "The same command again: the same runs go on from the record")
        try:
            self._resume(worker)
            self._decide(worker)
            self._until(worker, self.watch.is_over)
            self.telling.check("stop", worker.stop() == 0, "the worker ended in good order")
        finally:
            worker.discard()

    def _crash(self) -> None:
        worker = self._start(1, f"{self.tickets} tickets, one shop (MCP over stdio), one agent ({self.model})")
        try:
            while not self._is_frozen_in_flight(worker) and not self.watch.is_settled(self.tickets):
                time.sleep(_LOOK_S)
            worker.kill()
        finally:
            worker.discard()
        self._look()
        self.in_doubt = self.watch.in_flight(self.books)
        open_runs = set(self.watch.tickets) - self.watch.closed
        self.handed_back = self.watch.finals(open_runs)
        self._calls = max((number for number, _ in self.books.calls()), default=0)
        done = self.books.effects().total()
        self.telling.tell(
            "killed",
            f"kill -9 {worker.pid}: the worker is gone, with {done} effects on the shop's books"
            f" and {len(open_runs)} runs unfinished",
            pid=worker.pid,
            effects=done,
            unfinished=len(open_runs),
        )
        for doubt in self.in_doubt:
            known = "the shop did it, the record does not know" if doubt.is_on_books else "the shop has not done it"
            line = f"{doubt.ticket}  in doubt {what_of(doubt.intent.predicate['action']):<34}  {known}"
            receipt = doubt.intent.predicate["id"]
            self.telling.tell("in doubt", line, ticket=doubt.ticket, receipt=receipt, onBooks=doubt.is_on_books)
        is_struck = any(doubt.is_on_books for doubt in self.in_doubt)
        if self.model == SCRIPTED:
            self.telling.check("crash", is_struck, "the crash struck between an effect and its outcome")

    def _is_frozen_in_flight(self, worker: Worker) -> bool:
        """Whether the worker now stands still in the middle of an effect, which is the worst moment to die."""
        self._look(worker)
        if not self._is_worst_moment():
            return False
        worker.freeze()
        self._look()
        if self._is_worst_moment():
            return True
        worker.thaw()  # the outcome reached the record before the worker stood
        return False

    def _is_worst_moment(self) -> bool:
        """Money or an e-mail is out, and not on record."""
        done = self.books.effects().total()
        if done < _HALF:
            return False
        struck = {each.name for each in self.watch.in_flight(self.books) if each.is_on_books}
        return not struck.isdisjoint(_WORST) or (bool(struck) and done >= _LATE)

    def _resume(self, worker: Worker) -> None:
        self._until(worker, self.watch.is_settled)
        for doubt in self.in_doubt:
            outcome = self.watch.outcome_of(doubt.intent)
            how = _how_settled(doubt, outcome)
            line = f"{doubt.ticket}  settled  {what_of(doubt.intent.predicate['action']):<34}  {how}"
            settled_by = outcome.predicate["id"] if outcome else ""
            self.telling.tell("settled", line, ticket=doubt.ticket, receipt=settled_by, how=how)
        before = self.watch.effects(self.handed_back)
        again = [effect for _, effect in self.books.calls(after=self._calls) if effect in before]
        self.telling.check(
            "handed back",
            not again,
            f"{len(self.handed_back)} steps of unfinished runs were handed back from the record;"
            f" {len(again)} of their effects reached the shop again",
            steps=len(self.handed_back),
            again=len(again),
        )

    def _decide(self, worker: Worker) -> None:
        """Be the support lead."""
        waiting = self.watch.approvals.list()
        self.telling.act(3, f"{len(waiting)} refund{'s wait' if len(waiting) != 1 else ' waits'} for a person")
        for number, approval in enumerate(waiting):
            ticket = self.watch.tickets[approval.run]
            detail = self.watch.approvals.show(approval.approval)
            self.telling.tell(
                "asked",
                f"{ticket.id}  {what_of(detail.action)}: {ticket.subject!r}, held by {', '.join(detail.rules)}",
                ticket=ticket.id,
                approval=approval.approval,
            )
            who = f"only a {approval.role} may decide" + (
                ", and never who opened the ticket" if approval.not_initiator else ""
            )
            if number == 0:
                self._refuse_others(approval, who)
            said = self._answer(approval, number)
            self._heard = time.monotonic()  # a person may take their time
            written = write(self.data, partial(_decide, said))
            self.telling.tell(
                "decided",
                f"{ticket.id}  {written['state']} by {said['by']}, {_LEAD}: {said['reason']}  {written['receipt']}",
                ticket=ticket.id,
                state=written["state"],
                receipt=written["receipt"],
            )
            self._look(worker)

    def _refuse_others(self, approval: Approval, who: str) -> None:
        said = {"approval": approval.approval, "decision": "approve", "by": "max", "reason": "", "roles": ["support"]}
        try:
            write(self.data, partial(_decide, said))
        except Refused as refused:
            self.telling.check("approver", True, f"{who}: max, support, was told no", code=refused.code)
        else:
            self.telling.check("approver", False, f"{who}, and max, support, was let through")

    def _answer(self, approval: Approval, number: int) -> dict[str, Any]:
        decision = self.answers[number] if number < len(self.answers) else "reject"
        reason = ""
        if self.telling.can_ask and not self.answers:
            default: Decision = "approve" if number == 0 else "reject"
            is_yes = typer.confirm("   You are lea, support-lead. Approve it?", default=default == "approve")
            decision = "approve" if is_yes else "reject"
            reason = typer.prompt("   Why?", default=_REASONS[decision])
        elif not self.answers:
            decision = "approve" if number == 0 else "reject"
        reason = reason or _REASONS[decision]
        return {"approval": approval.approval, "decision": decision, "by": "lea", "roles": [_LEAD], "reason": reason}

    def _until(self, worker: Worker, is_reached: Callable[[int], bool]) -> None:
        while not is_reached(self.tickets):
            self._look(worker)
            time.sleep(_LOOK_S)
        self._look()

    def _start(self, number: int, title: str) -> Worker:
        self.telling.act(number, title)
        arguments = ["--example", str(self.example), "--data", str(self.data), "--model", self.model]
        arguments += ["--books", str(self.books.path), "--slow-ms", str(_SLOW_MS)]
        worker = Worker("answerable.cli._demo._worker", arguments, log=self.out / "worker.log")
        if not worker.is_ready():
            worker.discard()
            raise self._stuck("did not start")
        self.telling.say(f"worker {worker.pid} owns {self.data}; what follows is read from its record")
        self._heard = time.monotonic()
        return worker

    def _look(self, worker: Worker | None = None) -> None:
        """Tell what is new on the record.

        Raises:
            WorkerStuck: the worker has ended, or nothing moves any more.
        """
        for news in self.watch.look():
            self.telling.tell(news.event, news.line, **news.fields)
            self._heard = time.monotonic()
        if worker is not None and not worker.is_running:
            raise self._stuck("ended by itself")
        patience = _PATIENCE_S if self.model == SCRIPTED else _PATIENCE_WITH_A_MODEL_S
        if worker is not None and time.monotonic() - self._heard > patience:
            raise self._stuck(f"wrote nothing for {patience:g} s")

    def _stuck(self, problem: str) -> WorkerStuck:
        log = self.out / "worker.log"
        words = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
        last = next((line.strip() for line in reversed(words) if line.strip()), "it said nothing")
        return WorkerStuck(problem=problem, words=last[:300], log=str(log))


def _how_settled(doubt: InFlight, outcome: Receipt | None) -> str:
    if outcome is None:
        return "not yet"
    said = outcome.predicate
    if said.get("intentRef") == doubt.intent.predicate["id"]:
        return "the shop was asked, and had done it: not done again"
    if said["action"].get("idempotencyKey") and doubt.name != "shop.send_email":
        end = "done once" if said["effect"]["status"] == "ok" else "declined"
        return f"asked again under its idempotency key (attempt {said['attempt']}): {end}"
    return f"the shop was asked, and had not done it (attempt {said['attempt']}): done now"


async def _decide(said: dict[str, Any], desk: Writes) -> Any:
    return await desk.decide(**said)
