"""Texts are kept as long as a rule says, and then dropped: of runs that are over, by agent and by kind of text.

Receipts stay, as they do after an erasure. What is under a legal hold stays whole, and so does a run that an open
run may still need: one that shares receipts or state with it, came of it, or undoes it.
"""

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import sqlalchemy as sa

from answerable.core import ConfigError, RunId, TenantId, format_time
from answerable.ledger import (
    Concerned,
    Draft,
    Erasure,
    Ledger,
    Phase,
    Prepared,
    Receipt,
    Tx,
    control_run,
    drop_texts,
    drop_these,
    metadata,
    seqs_of,
    standing_holds,
    texts_of,
)
from answerable.runtime._links import links_of_tx
from answerable.runtime._runs import ended_between, find_run

__all__ = ["KINDS", "Retained", "Retaining", "Retention", "RetentionInvalid", "RetentionProjection"]

log = logging.getLogger("answerable.runtime")

Kind = Literal["all", "tool", "model", "memory", "decision", "delegation", "run", "people"]
KINDS: tuple[Kind, ...] = ("all", "tool", "model", "memory", "decision", "delegation", "run", "people")
_EVERY = timedelta(hours=1)
_AT_ONCE = 50  # runs a transaction
_OF_RUN: frozenset[Phase] = frozenset({"run.open", "run.close", "signal"})
_NEVER = ""

_retained = sa.Table(
    "retained",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("agent", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("until", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_WHICH = (_retained.c.tenant == _P("tenant"), _retained.c.agent == _P("agent"), _retained.c.kind == _P("kind"))
_FIND = Prepared(sa.select(_retained.c.until).where(*_WHICH))
_DROP = Prepared(sa.delete(_retained).where(*_WHICH))
_PUT = Prepared(sa.insert(_retained))


@dataclass(eq=False, kw_only=True)
class RetentionInvalid(ConfigError):
    """A rule of retention cannot be followed."""

    code = "config.retention_invalid"
    what = "the retention of `{texts}` of agent `{agent}` cannot be followed: {problem}"
    why = "what is dropped does not come back"
    fix = "say how long texts of runs that are over are kept, and of which kind: {kinds}"

    agent: str
    texts: str
    problem: str
    kinds: str = ", ".join(KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long texts are kept after their run is over.

    Args:
        keep: for so long.
        texts: of calls of tools, models, memory, of decisions asked of people, of delegations; inputs, results
            and signals of runs (`run`); what people gave as reasons and answers (`people`); or `all`.
        agent: the agent whose runs; of every agent where it is empty.
    """

    keep: timedelta
    texts: Kind = "all"
    agent: str = ""
    tenant: TenantId = TenantId("default")

    def __post_init__(self) -> None:
        if self.texts not in KINDS:
            raise RetentionInvalid(agent=self.agent, texts=self.texts, problem="there is no such kind of text")
        if self.keep <= timedelta(0):
            raise RetentionInvalid(agent=self.agent, texts=self.texts, problem="it is not kept at all")

    def concerns(self, receipt: Receipt) -> bool:
        """Whether the text of a receipt is of this kind."""
        if self.texts == "all":
            return True
        action = receipt.predicate.get("action")
        if receipt.phase in _OF_RUN:
            return self.texts == "run"
        if receipt.phase == "approval" or action is None:
            return self.texts == "people"
        return bool(action["kind"] == self.texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """What following a rule did, or would do.

    Args:
        runs, texts: how many texts of how many runs were dropped.
        kept: runs whose time is over, and that are held or still needed.
    """

    rule: Retention
    runs: int
    texts: int
    kept: tuple[RunId, ...]


class RetentionProjection:
    """The table `retained`: up to which end of a run each rule was followed."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `retained`."""
        return (_retained,)

    @property
    def phases(self) -> frozenset[Phase]:
        """What was followed is a change by the gate."""
        return frozenset({"control"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        control = receipt.predicate["control"]
        if control.get("do") == "retain":
            which = {"tenant": receipt.predicate["tenant"], "agent": control["agent"], "kind": control["kind"]}
            tx.run(_DROP, **which)
            tx.run(_PUT, until=control["until"], **which)


class Retaining:
    """Follows rules of retention. Needs `RetentionProjection` and `ErasuresProjection` among the projections."""

    def __init__(self, ledger: Ledger, rules: Sequence[Retention]) -> None:
        self._ledger = ledger
        self._rules = tuple(rules)

    async def serve(self) -> None:
        """Follow the rules now and every hour, until cancelled."""
        while self._rules:
            for rule in self._rules:
                done = await self.follow(rule)
                if done.texts:
                    log.info("retention: %d texts of %d runs are dropped (%s)", done.texts, done.runs, rule)
            await asyncio.sleep(_EVERY.total_seconds())

    async def follow(self, rule: Retention, *, is_rehearsal: bool = False) -> Retained:
        """Drop what the rule no longer keeps; or only say what that is."""
        reader = self._ledger.reader
        cutoff = format_time(self._ledger.clock.now() - rule.keep)
        known = reader.rows(_FIND, tenant=rule.tenant, agent=rule.agent, kind=rule.texts)
        since = known[0][0] if known else _NEVER
        runs = texts = looked = 0
        kept: list[RunId] = []
        until, is_past = since, True
        for batch in _batches(ended_between(reader, rule.tenant, since, cutoff, agent=rule.agent)):
            done, left = await self._drop(rule, [run for run, _ in batch], is_rehearsal=is_rehearsal)
            looked += len(batch)
            runs += sum(1 for count in done.values() if count)
            texts += sum(done.values())
            kept += left
            if left and is_past:  # whatever ended from here on is looked at again
                is_past, until = False, min(ended for run, ended in batch if run in left)
            elif is_past:
                until = batch[-1][1]
        if not is_rehearsal and until != since and (texts or looked >= _AT_ONCE):
            await self._note(rule, until, runs, texts)
        return Retained(rule=rule, runs=runs, texts=texts, kept=tuple(kept))

    async def _drop(
        self, rule: Retention, runs: Sequence[RunId], *, is_rehearsal: bool
    ) -> tuple[dict[RunId, int], list[RunId]]:
        """How many texts of each run were dropped, and the runs that keep theirs."""

        def work(tx: Any, vault: Any) -> tuple[dict[RunId, int], list[RunId]]:
            tx.flush()
            held = {hold.scope for hold in standing_holds(tx, rule.tenant)}
            done: dict[RunId, int] = {}
            left = []
            for run in runs:
                found = texts_of(tx, vault, _of(rule, run))
                due = [each for each in found if each.is_there and rule.concerns(each.receipt)]
                if not due:
                    continue
                if _is_held(held, run, due) or self._is_needed(tx, run):
                    left.append(run)
                    continue
                done[run] = len(due)
                if is_rehearsal:
                    continue
                if rule.texts == "all":  # with the run's own key
                    drop_texts(tx, vault, _of(rule, run))
                    tx.forget(rule.tenant, [run])
                else:
                    drop_these(tx, due)
                self._say(tx, rule, run, due)
            return done, left

        if is_rehearsal:
            return await self._ledger.writer.submit(lambda tx: work(tx, None))
        result, _ = await self._ledger.drop(work)
        return result

    def _is_needed(self, tx: Any, run: RunId) -> bool:
        family = self._ledger.reader.opened(run)["control"].get("family", run)
        return any(_is_open(tx, each) for each in (family, *_came_of(tx, run)))

    def _say(self, tx: Any, rule: Retention, run: RunId, due: Sequence[Concerned]) -> None:
        agent = due[0].receipt.predicate["agent"]["id"]
        control = {"do": "erase", "erasure": f"era_{os.urandom(12).hex()}", "kind": rule.texts, "texts": len(due)}
        members = {
            "control": {
                **control,
                "erased": seqs_of(due),
                "reason": f"kept for {rule.keep.total_seconds():.0f} s after its end",
            }
        }
        tx.append(Draft(tenant=rule.tenant, run=run, phase="erasure", agent=agent, members=members))

    async def _note(self, rule: Retention, until: str, runs: int, texts: int) -> None:
        about: dict[str, Any] = {"agent": rule.agent, "kind": rule.texts, "until": until, "runs": runs, "texts": texts}
        control = {"do": "retain", "by": "gate", **about}
        run = control_run(rule.tenant)
        await self._ledger.append(
            Draft(tenant=rule.tenant, run=run, phase="control", agent="gate", members={"control": control})
        )


def _of(rule: Retention, run: RunId) -> Erasure:
    return Erasure(id="", tenant=rule.tenant, at="", run=run)


def _batches(found: Sequence[tuple[RunId, str]]) -> Iterator[Sequence[tuple[RunId, str]]]:
    for start in range(0, len(found), _AT_ONCE):
        yield found[start : start + _AT_ONCE]


def _is_held(held: set[str], run: RunId, due: Sequence[Concerned]) -> bool:
    people = {f"subject:{name}" for each in due for name in each.subjects}
    return bool(held & {"tenant", f"run:{run}", *people})


def _is_open(tx: Any, run: RunId) -> bool:
    row = find_run(tx, run)
    return row is not None and row.state == "open"


def _came_of(tx: Any, run: RunId) -> Iterator[RunId]:
    """The runs that came of it, however far."""
    for link in links_of_tx(tx, run):
        yield link.run
        yield from _came_of(tx, link.run)
