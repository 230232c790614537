"""The story up to the proof: work, crash, resume, decide."""

import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import typer

from answerable.cli._approvals import what_of
from answerable.cli._desk import approvals_of, write
from answerable.cli._drivers._processes import Worker
from answerable.core import Money, RunId, Usage
from answerable.ledger import Reader
from answerable.server import Writes
from answerable.standing import check_record, verdict_lines

__all__ = ["Demo"]

_DEFAULT_ANSWERS = {"T-03": "approve", "T-07": "reject"}
_REASONS = {
    ("T-03", "approve"): "Two days old and dead: within the policy.",
    ("T-07", "reject"): "Eleven weeks after delivery, and nothing is wrong with it.",
}
_CRASH_AFTER = 6  # tickets: half way
_CRASH_AT_LAST = 9
_SLOW_MS = 120  # what a call to the shop takes: long enough to be cut short
_LOOK_S = 0.005


@dataclass(kw_only=True)
class Demo:
    """One telling of the story.

    Args:
        example: `examples/support`.
        answers: what to do with held tickets.
        is_asking: ask on the terminal instead.
        runs: ticket to run, as the worker tells.
    """

    example: Path
    out: Path
    model: str
    answers: Mapping[str, str]
    is_asking: bool
    runs: dict[str, RunId] = field(default_factory=dict)
    settled: dict[str, str] = field(default_factory=dict)
    books_agree: bool = False

    @property
    def data(self) -> Path:
        """The record."""
        return self.out / "data"

    def work(self) -> bool:
        """Tell the story; whether every clause was satisfied and the shop's books agree."""
        say(f"Twelve tickets, one shop, one agent ({self.model}). Refunds over 200 EUR wait for a person.\n")
        self._crash()
        say("\n… and started again: the same runs go on from the record.")
        self._resume()
        self._count()
        return self._judge()

    def _crash(self) -> None:
        """Work until half way, then end the worker in the middle of an effect."""
        worker = self._worker()
        watch = threading.Thread(target=self._kill_in_flight, args=(worker,), daemon=True)
        try:
            watch.start()
            for told in worker.told():
                self._show(told)
            worker.wait()
            watch.join()
        finally:
            worker.discard()

    def _kill_in_flight(self, worker: Worker) -> None:
        """SIGKILL while the shop works on a refund: its intent is on disk, and nobody saw what became of it."""
        while len(self.settled) < _CRASH_AFTER and worker.is_running:
            time.sleep(_LOOK_S)
        reader = Reader.open(self.data)
        while len(self.settled) < _CRASH_AT_LAST and worker.is_running:
            doubt = self._in_flight(reader)
            if doubt:
                break
            time.sleep(_LOOK_S)
        else:
            doubt = "between two actions"
        reader.close()
        worker.kill()
        say(f"\nkill -9 {worker.pid}  {doubt}")

    def _in_flight(self, reader: Reader) -> str:
        run = list(self.runs.values())[-1]
        history = reader.history(run)
        for step, intent in history.intents.items():
            receipt = reader.find(intent.receipt)
            if step not in history.finals and receipt and receipt.predicate["action"]["name"] == "shop.refund":
                return f"while the shop worked on: {what_of(receipt.predicate['action'])}"
        return ""

    def _resume(self) -> None:
        worker = self._worker()
        try:
            for told in worker.told():
                if told["what"] == "worked through":
                    self._decide()
                else:
                    self._show(told)
            if worker.wait() != 0:
                say(f"the worker failed; see {self.out}/worker.log")
                raise typer.Exit(1)
        finally:
            worker.discard()

    def _decide(self) -> None:
        """Be the support lead."""
        tickets = {run: ticket for ticket, run in self.runs.items()}
        approvals = approvals_of(Reader.open(self.data))
        for held in approvals.list():
            ticket = tickets.get(held.run, "")
            what = what_of(approvals.show(held.approval).action)
            say(f"\n{ticket} waits for a {held.role}: {what}")
            decision, reason = self._answer(ticket)
            said = {"approval": held.approval, "decision": decision, "reason": reason}
            written = write(self.data, partial(_as_dana, said))
            say(f"      {written['state']} by dana: {reason}  {written['receipt']}")

    def _answer(self, ticket: str) -> tuple[Literal["approve", "reject"], str]:
        decision = {**_DEFAULT_ANSWERS, **self.answers}.get(ticket, "reject")
        if self.is_asking:
            decision = "approve" if typer.confirm("      Approve it?", default=decision == "approve") else "reject"
        reason = _REASONS.get((ticket, decision), "Decided in the demo.")
        if self.is_asking:
            reason = typer.prompt("      Why?", default=reason)
        return cast(Literal["approve", "reject"], decision), reason

    def _show(self, told: dict[str, Any]) -> None:
        ticket = told["ticket"]
        self.runs[ticket] = RunId(told["run"])
        if told["what"] == "started" or self.settled.get(ticket) in ("ended", "failed", told["what"]):
            return
        self.settled[ticket] = told["what"]
        said = {"held": "waits for a person", "failed": told.get("error", "")}.get(told["what"], "")
        if told["what"] == "ended":
            result = told["result"]
            money = f" {Money(result['refund_minor'], 'EUR')}" if result["refund_minor"] else ""
            said = f"{result['decision']}{money}" + (f": {_short(result['note'])}" if not money else "")
        say(f"  {ticket}  order {told['order']}  {told['subject']:<32.32}  {said}")

    def _count(self) -> None:
        """What each ticket cost, and whether the shop's own books agree with the record."""
        reader = Reader.open(self.data)
        say("\nTicket  receipts  tokens      USD  run")
        refunds = emails = 0
        repeated: list[str] = []
        for ticket, run in sorted(self.runs.items()):
            receipts, usage = reader.receipts(run=run), Usage()
            for receipt in receipts:
                said = receipt.predicate
                usage += Usage.from_json(said.get("usage", {}))
                done = receipt.phase == "outcome" and said["effect"]["status"] == "ok"
                refunds += done and said["action"]["name"] == "shop.refund"
                if done and said["attempt"] > 1:
                    repeated.append(
                        f"{ticket}: {said['action']['name']} was cut short; attempt {said['attempt']} "
                        "asked again under the same idempotency key"
                    )
                emails += done and said["action"]["name"] == "shop.send_email"
            say(f"{ticket:<8}{len(receipts):>8}{usage.tokens:>8}{usage.cost_nano_usd / 1e9:>9.5f}  {run}")
        for line in repeated:
            say(line)
        books = sqlite3.connect(self.out / "shop.sqlite3")
        count = "SELECT (SELECT count(*) FROM refunds), (SELECT count(*) FROM emails)"
        found = books.execute(count).fetchone()
        books.close()
        self.books_agree = found == (refunds, emails)
        say(
            f"The record: {refunds} refunds, {emails} e-mails. The shop's own books: {found[0]} refunds, {found[1]} "
            f"e-mails. {'Nothing lost, nothing doubled.' if self.books_agree else 'THEY DIFFER.'}"
        )

    def _judge(self) -> bool:
        verdicts = check_record(Reader.open(self.data), list(self.runs.values()))
        say("\nWas the specification satisfied? Computed from the receipts alone:")
        for line in verdict_lines(verdicts):
            say(f"  {line}")
        return self.books_agree and all(each.verdict in ("satisfied", "not applicable") for each in verdicts)

    def _worker(self) -> Worker:
        arguments = ["--example", str(self.example), "--data", str(self.data), "--model", self.model]
        arguments += ["--books", str(self.out / "shop.sqlite3"), "--slow-ms", str(_SLOW_MS)]
        return Worker("answerable.cli._demo._worker", arguments, log=self.out / "worker.log")


async def _as_dana(said: dict[str, Any], desk: Writes) -> Any:
    return await desk.decide(by="dana", roles=["support-lead"], **said)


def say(line: str = "") -> None:
    """Tell the person who watches."""
    typer.echo(line)


def _short(text: str) -> str:
    first = text.partition(";")[0]
    return first if len(first) <= 70 else first[:69] + "…"
