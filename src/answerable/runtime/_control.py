"""What people order of a run from outside. Each order has a name and a reason on the record.

To pause, resume or kill is a receipt of phase `control` in the run itself. It takes effect at the next
action: it is looked for inside the transaction that would open one. Effects already dispatched are
finished and recorded.
A fork, a retry and a roll-back are runs of their own, which say in their `run.open` where they come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from answerable.core import Action, RunId, new_run_id, stable_json
from answerable.ledger import Appended, Draft, Ledger, Phase, Prepared, Receipt, Ruling, Tx, metadata
from answerable.runtime._agents import Agents, AgentSpec
from answerable.runtime._errors import AgentUnknown, ControlRefused, RunKilled, RunUnknown, TenantUnknown
from answerable.runtime._fork import fork_draft, place_of, retry_place
from answerable.runtime._rollback import open_rollback, rollback_draft
from answerable.runtime._runs import RunRow, find_by_key, find_run

__all__ = ["Control", "Order", "OrdersProjection", "find_order"]

Do = Literal["pause", "resume", "kill"]
_AS_IT_WAS: Mapping[str, Any] = {}

_orders = sa.Table(
    "run_orders",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("do", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("since", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_FIND = Prepared(
    sa.select(_orders.c.do, _orders.c.by, _orders.c.reason, _orders.c.since).where(_orders.c.run == _P("run"))
)
_ANY = Prepared(sa.select(_orders.c.run).limit(1))
_PUT = Prepared(sa.insert(_orders))
_DROP = Prepared(sa.delete(_orders).where(_orders.c.run == _P("run")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What stands ordered of a run: `pause` or `kill`, by whom (a pseudonym), why and since when."""

    do: str
    by: str
    reason: str
    since: str


class OrdersProjection:
    """The table `run_orders`: runs that are paused, or killed and not closed yet. Opens nothing for them."""

    def __init__(self) -> None:
        # Known to hold no order at all. INVARIANT: as for stops, once this process has seen an order it always
        # asks the table: a commit that failed would leave a copy in memory wrong.
        self._is_empty: bool | None = None

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `run_orders`."""
        return (_orders,)

    @property
    def phases(self) -> frozenset[Phase]:
        """Orders, and the ends of runs."""
        return frozenset({"control", "run.close"})

    def forget(self) -> None:
        """Others may have ordered something."""
        self._is_empty = None

    def check(self, tx: Tx, action: Action, decision: Any, digest: str) -> Ruling | None:
        """A killed run is refused; a paused one opens nothing, and its step waits where it was."""
        if self._is_empty:
            return None
        if self._is_empty is None:
            self._is_empty = not tx.rows(_ANY)
            return self.check(tx, action, decision, digest)
        found = tx.rows(_FIND, run=action.run)
        if not found:
            return None
        do, _, reason, _ = found[0]
        if do == "kill":
            return Ruling(refuse=RunKilled(run=action.run, reason=reason))
        return Ruling(moved=True)

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        said = receipt.predicate
        if said["phase"] == "run.close":
            if self._is_empty is not True:
                tx.run(_DROP, run=said["run"])
            return
        control = said["control"]
        if control.get("do") not in ("pause", "resume", "kill"):
            return
        self._is_empty = False
        tx.run(_DROP, run=said["run"])
        if control["do"] != "resume":
            tx.run(
                _PUT,
                run=said["run"],
                do=control["do"],
                by=control["by"],
                reason=control["reason"],
                since=said["at"],
            )


def find_order(reader: Any, run: RunId) -> Order | None:
    """What stands ordered of the run, if anything does."""
    rows = reader.rows(_FIND, run=run)
    return Order(do=rows[0][0], by=rows[0][1], reason=rows[0][2], since=rows[0][3]) if rows else None


class Control:
    """Orders from people. Needs the projections of orders, runs and links among the ledger's.

    Args:
        agents: those of this process; without one, a fork is opened as its first run was.
    """

    def __init__(self, ledger: Ledger, agents: Agents | None = None) -> None:
        self._ledger = ledger
        self._agents = agents or Agents()

    async def pause(self, run: RunId, *, by: str, reason: str) -> None:
        """Have the run begin nothing more until it is resumed; timers and signals wait for it.

        Raises:
            RunUnknown: no such run, or it has ended.
            ControlRefused: it is paused or killed already.
        """
        await self._order("pause", run, by=by, reason=reason)

    async def resume(self, run: RunId, *, by: str, reason: str) -> None:
        """Have a paused run go on where it was.

        Raises:
            RunUnknown: no such run, or it has ended.
            ControlRefused: it is not paused.
        """
        await self._order("resume", run, by=by, reason=reason)

    async def kill(self, run: RunId, *, by: str, reason: str) -> None:
        """End the run: nothing more begins, what was dispatched is recorded, and it closes as `killed`.

        Its children are killed with it. There is no way back but `retry`, which is a run of its own.

        Raises:
            RunUnknown: no such run, or it has ended.
            ControlRefused: it is killed already.
        """
        await self._order("kill", run, by=by, reason=reason)

    async def fork(
        self, run: RunId, at: str = "", *, by: str, reason: str, changed: Mapping[str, Any] = _AS_IT_WAS, key: str = ""
    ) -> RunId:
        """Open a run that shares what had begun before a place in this one, and does the rest anew.

        It is decided by the policy in force when it acts, and by the agent's code of then.

        Args:
            run: any run, open or over.
            at: a step key, a receipt's id or its `seq`: the first step to be done anew. Empty for the start.
            by: who asks for it.
            reason: why.
            changed: what is different from there on: `input`; `model`, in place of the agent's own; and `policy`, by
                its name on the record: it decides beside the one in force, and the narrower counts.
            key: a start key: the same key gives the same fork.

        Raises:
            RunUnknown: no such run.
            ControlRefused: no such place, or an effect begun before it is not settled.
        """
        self._named(run, "fork", by, reason)
        place = place_of(self._ledger.reader, run, at)
        return await self._open_fork(place, "fork", by=by, reason=reason, changed=changed, key=key)

    async def retry(self, run: RunId, *, by: str, reason: str, key: str = "") -> RunId:
        """Try a run again that failed or was killed: a fork at the step that it failed with.

        Raises:
            RunUnknown: no such run.
            ControlRefused: it did not fail, or an effect of it is not settled.
        """
        self._named(run, "retry", by, reason)
        place = retry_place(self._ledger.reader, run)
        return await self._open_fork(place, "retry", by=by, reason=reason, changed=_AS_IT_WAS, key=key)

    async def roll_back(self, run: RunId, to: str = "", *, by: str, reason: str, partial: bool = False) -> RunId:
        """Open a run that undoes what this one did, its children and successors included, the latest first.

        Each effect is undone by the tool that its declaration names, on the road. What fails leaves the rest
        as it is; rolled back again, it goes on there. While a roll-back is under way, that one is given.

        Args:
            run: a run that has ended.
            to: the first step to be undone, named as for `fork`; empty for all.
            by: who asks for it. They initiate it: what policy holds then needs somebody else.
            reason: why.
            partial: undo what can be undone, where something else cannot. Else nothing is begun.

        Raises:
            RunUnknown: no such run.
            ControlRefused: it, or a run that came of it, has not ended.
        """
        self._named(run, "rollback", by, reason)
        reader, new = self._ledger.reader, new_run_id()
        if (under_way := open_rollback(reader, run)) is not None:
            return under_way
        draft = rollback_draft(self._ledger, run, new=new, to=to, partial=partial, by=_person(by), reason=reason)
        appended = await self._ledger.open_run(draft)
        return open_rollback(reader, run) or new if appended.status == "dup" else new

    async def _open_fork(
        self, place: tuple[RunId, int], do: str, *, by: str, reason: str, changed: Mapping[str, Any], key: str
    ) -> RunId:
        row = self._find(place[0])
        spec = self._spec_of(row)
        new = new_run_id()
        draft = fork_draft(
            self._ledger, place, new=new, do=do, spec=spec, changed=changed, by=_person(by), reason=reason, key=key
        )
        appended = await self._ledger.open_run(draft)
        return find_by_key(self._ledger.reader, row.tenant, row.agent, key) or new if appended.status == "dup" else new

    async def _order(self, do: Do, run: RunId, *, by: str, reason: str) -> None:
        draft = self._draft(do, self._named(run, do, by, reason), by=_person(by), reason=reason)

        def work(tx: Any) -> tuple[Appended | None, str]:
            found = tx.rows(_FIND, run=run)
            standing = found[0][0] if found else ""
            return (tx.append(draft), "") if _may_follow(do, standing) else (None, standing)

        appended, standing = await self._ledger.writer.submit(work)
        if appended is None:
            problem = {"pause": "it is paused", "kill": "it is killed"}.get(standing, "it is not paused")
            raise ControlRefused(run=run, do=do, problem=problem)
        if appended.status == "closed":
            raise RunUnknown(run=run, problem="the run has ended")

    def _spec_of(self, row: RunRow) -> AgentSpec | None:
        try:
            return self._agents.get(row.agent, row.tenant)
        except (AgentUnknown, TenantUnknown):
            return None

    def _named(self, run: RunId, do: str, by: str, reason: str) -> RunRow:
        row = self._find(run)
        if not by or not reason:
            raise ControlRefused(run=run, do=do, problem="an order needs a name and a reason")
        return row

    def _find(self, run: RunId) -> RunRow:
        row = find_run(self._ledger.reader, run)
        if row is None:
            raise RunUnknown(run=run, problem="there is no such run")
        return row

    def _draft(self, do: Do, row: RunRow, *, by: str, reason: str) -> Draft:
        person = self._ledger.pseudonym(row.tenant, by)
        return Draft(
            tenant=row.tenant,
            run=row.run,
            phase="control",
            agent=row.agent_id,
            members={"control": {"do": do, "by": person, "reason": reason}},
            input=stable_json({"by": by, "reason": reason}),
            wake=True,
        )


def _may_follow(do: Do, standing: str) -> bool:
    return standing in {"pause": ("",), "resume": ("pause",), "kill": ("", "pause")}[do]


def _person(by: str) -> str:
    """One person has one pseudonym, whether they give their name alone or with its type."""
    return by if ":" in by else f"person:{by}"
