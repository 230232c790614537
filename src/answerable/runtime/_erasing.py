"""Erases what the record holds about a person, or of a run: the texts and their keys, never the receipts.

An erasure is entered in the list of erasures first, then done in one transaction: texts and keys go, receipts of phase
`erasure` say so, and open runs that cannot go on without what is gone are closed as `erased`. What stands under a legal
hold is not erased. `docs/guides/erase-a-person.md` tells the rest.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from answerable.core import ConfigError, Outcome, Refused, RunId, TenantId, format_time, stable_json
from answerable.ledger import (
    Concerned,
    Draft,
    Erasure,
    ErasureLists,
    Hold,
    Ledger,
    ObjectErased,
    control_run,
    drop_texts,
    seqs_of,
    standing_holds,
    texts_of,
)
from answerable.runtime._closing import end_run
from answerable.runtime._links import links_of_tx
from answerable.runtime._runs import find_run

__all__ = ["Erased", "Erasing", "ErasureHeld", "ErasureUnnamed"]

TENANT = TenantId("default")


@dataclass(eq=False, kw_only=True)
class ErasureHeld(Refused):
    """What is to be erased must be kept."""

    code = "refused.erasure_held"
    what = "nothing is erased: `{scope}` is under a legal hold"
    why = "held since {since}: {reason}"
    fix = "release it first, if it may be: `answerable evidence release`, named as it was held"

    scope: str
    since: str
    reason: str


@dataclass(eq=False, kw_only=True)
class ErasureUnnamed(ConfigError):
    """It is not said what is to be erased or held, by whom, or why."""

    code = "config.erasure_unnamed"
    what = "it is not said {missing}"
    why = "an erasure cannot be undone, and stands on the record with who ordered it and why"
    fix = "name a subject (`customer:c-7`) or a run, yourself (`--as`) and a reason"

    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What an erasure did.

    Args:
        texts: how many were dropped, of so many `runs`.
        closed: open runs that could not go on.
        unknown: effects of these that were dispatched and have no outcome on the record: intents' receipts.
        untold: places of backups that could not be told; a backup from there must be restored with this list.
        is_scrubbed: nothing is left in the store's files; else somebody reads an old moment of it, and it will be.
    """

    erasure: Erasure
    texts: int
    runs: int
    closed: tuple[RunId, ...]
    unknown: tuple[str, ...]
    untold: tuple[Path, ...]
    is_scrubbed: bool


class Erasing:
    """Erasures and legal holds. Needs `ErasuresProjection` among the ledger's projections."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lists = ErasureLists(ledger.directory)

    async def erase(
        self, *, subject: str = "", run: RunId = RunId(""), tenant: TenantId = TENANT, by: str, reason: str
    ) -> Erased:
        """Erase every text that concerns a person (`type:id`, as it was declared), or every text of a run.

        Raises:
            ErasureUnnamed: not exactly one of them is named, or nobody orders it for a reason.
            ErasureHeld: some of it is under a legal hold; nothing is erased then.
        """
        _check_named(bool(subject) != bool(run), by, reason)
        erasure = Erasure(
            id=f"era_{os.urandom(12).hex()}",
            tenant=tenant,
            at=format_time(self._ledger.clock.now()),
            subject=self._ledger.called(tenant, (subject,))[0] if subject else "",
            run=run,
        )
        return await self._do(erasure, by=self._ledger.pseudonym(tenant, by), reason=reason)

    async def catch_up(self) -> list[Erased]:
        """Do what is listed as erased and not on the record: a crash came between, or an old copy was put back.

        What has come under a legal hold since stays, and is not done.
        """
        done = []
        for erasure in self._lists.entries():
            if not self._ledger.reader.is_taken(_once(erasure)):
                try:
                    reason = "it was listed as erased, and not on the record"
                    done.append(await self._do(erasure, by="gate", reason=reason, is_late=True))
                except ErasureHeld:
                    continue
        return done

    async def hold(
        self,
        *,
        subject: str = "",
        run: RunId = RunId(""),
        tenant: TenantId = TENANT,
        by: str,
        reason: str,
        release: bool = False,
    ) -> str:
        """Keep what concerns a person, or of a run, or (where neither is named) of the tenant; its scope comes back.

        Raises:
            ErasureUnnamed: nobody orders it for a reason, or what is to be released is not held.
        """
        _check_named(not (subject and run), by, reason)
        scope = (
            f"run:{run}" if run else f"subject:{self._ledger.called(tenant, (subject,))[0]}" if subject else "tenant"
        )
        if release and scope not in {each.scope for each in self.holds(tenant)}:
            raise ErasureUnnamed(missing=f"what is to be released: `{scope}` is not held")
        person = self._ledger.pseudonym(tenant, by)
        control = {"do": "release" if release else "hold", "scope": scope, "by": person, "reason": reason}
        await self._ledger.append(
            Draft(
                tenant=tenant,
                run=control_run(tenant),
                phase="control",
                agent="",
                members={"control": control},
                input=stable_json({"by": by, "reason": reason, "subject": subject}),
                subjects=(subject,) if subject else (),
            )
        )
        return scope

    def holds(self, tenant: TenantId = TENANT) -> list[Hold]:
        """What may not be erased now, the oldest first."""
        return standing_holds(self._ledger.reader, tenant)

    async def _do(self, erasure: Erasure, *, by: str, reason: str, is_late: bool = False) -> Erased:
        untold: list[Path] = []

        def work(tx: Any, vault: Any) -> tuple[list[Concerned], list[RunId], list[str]]:
            tx.flush()
            everything = texts_of(tx, vault, erasure)
            _check_holds(tx, erasure, {each.run for each in everything})
            # INVARIANT: listed before it is done, so that no crash leaves an erasure that old backups do not know of.
            untold[:] = self._lists.add(erasure)
            drop_texts(tx, vault, erasure)
            tx.forget(erasure.tenant, [erasure.subject or erasure.run])
            closed, unknown = self._end_runs(tx, everything)
            # Whoever restored a backup dropped the texts at once, and could not say so on the record.
            found = [each for each in everything if each.is_there or is_late]
            self._say(tx, erasure, found, by=by, reason=reason)
            return found, closed, unknown

        (found, closed, unknown), is_scrubbed = await self._ledger.drop(work)
        return Erased(
            erasure=erasure,
            texts=len(found),
            runs=len({each.run for each in found}),
            closed=tuple(closed),
            unknown=tuple(unknown),
            untold=tuple(untold),
            is_scrubbed=is_scrubbed,
        )

    def _end_runs(self, tx: Any, found: Sequence[Concerned]) -> tuple[list[RunId], list[str]]:
        """Close the open runs that need what is gone: their own texts, or those that they share as forks."""
        needed: dict[RunId, str] = {}
        for each in found:
            if each.is_needed:
                needed.setdefault(each.run, each.receipt.predicate["id"])
        closed: list[RunId] = []
        unknown: list[str] = []
        for run, receipt in _with_forks(tx, needed):
            row = find_run(tx, run)
            if row is None or row.state != "open":
                continue
            history = self._ledger.reader.outline(run)
            unknown += [
                intent.receipt
                for step, intent in history.intents.items()
                if step not in history.finals and not intent.is_written_off
            ]
            error = ObjectErased(receipt=receipt)
            draft = Draft(
                tenant=row.tenant,
                run=run,
                phase="run.close",
                agent=row.agent_id,
                once=f"c:{run}",
                members={
                    "control": {"state": "erased"},
                    "effect": {"status": "refused", "observedBy": "gate", "error": error.code},
                },
                output=Outcome.of_error("refused", error).value,
                wake=True,
            )
            if end_run(tx, history, draft).status == "ok":
                closed.append(run)
        return closed, unknown

    def _say(self, tx: Any, erasure: Erasure, found: Sequence[Concerned], *, by: str, reason: str) -> None:
        """Write the receipts: one in each run whose texts are gone, and one that tells of the whole."""
        own = control_run(erasure.tenant)
        per_run: dict[RunId, list[Concerned]] = {}
        for each in found:
            per_run.setdefault(each.run, []).append(each)
        for run, texts in per_run.items():
            if run != own:
                agent = texts[0].receipt.predicate["agent"]["id"]
                tx.append(_draft(erasure, run, agent, {"erased": seqs_of(texts), "texts": len(texts)}))
        whole: dict[str, Any] = {"subject": erasure.subject} if erasure.subject else {"run": erasure.run}
        whole |= {"texts": len(found), "runs": len(per_run), "by": by, "reason": reason}
        if own in per_run:
            whole["erased"] = seqs_of(per_run[own])
        tx.append(_draft(erasure, own, "gate", whole, once=_once(erasure)))


def _check_named(is_one: bool, by: str, reason: str) -> None:
    for is_said, missing in ((is_one, "what"), (bool(by), "by whom"), (bool(reason), "why")):
        if not is_said:
            raise ErasureUnnamed(missing=missing)


def _check_holds(tx: Any, erasure: Erasure, runs: Iterable[RunId]) -> None:
    kept = {"tenant", f"subject:{erasure.subject}", f"run:{erasure.run}", *(f"run:{run}" for run in runs)}
    for hold in standing_holds(tx, erasure.tenant):
        if hold.scope in kept:
            raise ErasureHeld(scope=hold.scope, since=hold.since, reason=hold.reason)


def _with_forks(tx: Any, needed: dict[RunId, str]) -> list[tuple[RunId, str]]:
    """These runs, and all that share what they need, as forks or forks of forks."""
    found, waiting = dict(needed), list(needed)
    while waiting:
        run = waiting.pop()
        for link in links_of_tx(tx, run):
            if link.how == "fork" and link.run not in found:
                found[link.run] = found[run]
                waiting.append(link.run)
    return list(found.items())


def _once(erasure: Erasure) -> str:
    return f"erase:{erasure.id}"


def _draft(erasure: Erasure, run: RunId, agent: str, control: dict[str, Any], *, once: str = "") -> Draft:
    members = {"control": {"do": "erase", "erasure": erasure.id, **control}}
    return Draft(tenant=erasure.tenant, run=run, phase="erasure", agent=agent, once=once, members=members)
