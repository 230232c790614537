"""How a record goes on that stands still, because it was restored or somebody has seen more of it.

Either nothing was lost: the log goes on as it was. Or entries were: then the log goes on under a new origin, so that
no two histories bear one name, and every open run is paused, because it may have done more than the record knows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from answerable.app._ledger import all_projections
from answerable.core import Clock, ConfigError, RunId, stable_json
from answerable.ledger import (
    SYSTEM,
    Draft,
    Head,
    KeysElsewhere,
    Ledger,
    LogBehind,
    Standstill,
    control_run,
    lift_standstill,
    published_beyond,
    put_away,
    store_of,
    why_it_stands_still,
)
from answerable.runtime import Control, ControlRefused, Erasing, list_runs
from answerable.witness import read_log_config, seen_elsewhere

__all__ = ["Continued", "GapOnSharedRecord", "NothingStandsStill", "continue_log"]

_MOST_RUNS = 1_000_000


@dataclass(eq=False, kw_only=True)
class NothingStandsStill(ConfigError):
    """The record may be gone on with as it is."""

    code = "config.nothing_stands_still"
    what = "the record in `{directory}` does not stand still"
    why = "it was not restored, and nobody is known to have seen more of it"
    fix = "nothing to do: run the gate"

    directory: str


@dataclass(eq=False, kw_only=True)
class GapOnSharedRecord(ConfigError):
    """Logs cannot be given new origins while other gates write them."""

    code = "config.gap_on_shared_record"
    what = "the logs of the record in `{directory}` cannot go on under new origins while {gates} other gates write it"
    why = "what those are doing belongs to the history before the gap, and is to be looked at first"
    fix = "stop them, wait until the lease of those that were killed has ended, and say it again"

    directory: str
    gates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """How a record goes on.

    Args:
        origins: the logs' origins from now on.
        paused: open runs that wait for a person's `answerable runs resume`.
    """

    is_after_gap: bool
    origins: tuple[str, ...]
    paused: tuple[RunId, ...]


async def continue_log(
    directory: Path, *, is_after_gap: bool, by: str, reason: str, clock: Clock | None = None
) -> Continued:
    """Say how a record goes on that stands still; on the record when this returns.

    Args:
        is_after_gap: entries may be lost. Else none was written after what is here; whoever watches the logs is asked.
        by: who says so.

    Raises:
        NothingStandsStill: it may be gone on with as it is.
        LogBehind: somebody has seen what is said not to have been.
        GapOnSharedRecord: entries may be lost of a record that other gates write.
        KeysElsewhere: they may be, and this data directory has not the log's key.
        DirectoryInUse: another process owns it.
    """
    standing = why_it_stands_still(directory)
    if standing is None:
        raise NothingStandsStill(directory=str(directory))
    ledger = Ledger.open(directory, projections=all_projections(), clock=clock, continues=True)
    try:
        if is_after_gap:
            _check_alone(ledger)
        heads = {tenant: ledger.reader.head(tenant) for tenant in ledger.reader.tenants()}
        known = standing.seen
        if not is_after_gap:
            await _check_nothing_is_lost(ledger, standing, list(heads.values()))
        else:
            elsewhere = await seen_elsewhere(directory, read_log_config(directory))
            known = {**standing.seen, **(elsewhere.seen if elsewhere else {})}
            # Where it was said before, only what follows from it was cut off.
            if not ledger.reader.is_taken(_once(standing, SYSTEM)):
                ledger.begin_line()
        await ledger.start()

        def declare(tx: Any) -> None:
            ledger.settle(tx)
            for tenant, head in heads.items():
                person = ledger.pseudonym(tenant, by)
                control: dict[str, Any] = {
                    "do": "continue",
                    "how": "after-gap" if is_after_gap else "nothing-lost",
                    "by": person,
                }
                control |= {"from": standing.id, "origin": head.origin, "size": head.size, "root": head.root.hex()}
                seen = known.get(head.origin, 0)
                tx.append(
                    Draft(
                        tenant=tenant,
                        run=control_run(tenant),
                        phase="control",
                        agent="gate",
                        once=_once(standing, tenant),
                        members={
                            "control": control | ({"seen": seen} if seen > head.size else {}) | {"reason": reason}
                        },
                        input=stable_json({"by": by, "reason": reason}),
                    )
                )

        await ledger.writer.submit(declare)
        await ledger.enter()
        paused = await _pause_all(ledger, by, reason) if is_after_gap else []
        await Erasing(ledger).catch_up()
        origins = tuple(ledger.reader.log_key(tenant)[0] for tenant in heads)
        put_away(directory, set(origins), at=standing.at)
        lift_standstill(directory)
        return Continued(is_after_gap=is_after_gap, origins=origins, paused=tuple(paused))
    finally:
        await ledger.close()


def _check_alone(ledger: Ledger) -> None:
    """Logs that gates share are renamed by one that can sign their heads, while no other writes."""
    if (others := ledger.others) > 0:
        raise GapOnSharedRecord(directory=str(ledger.directory), gates=others)
    if not ledger.enters_log:
        store = store_of(ledger.directory).address
        raise KeysElsewhere(directory=str(ledger.directory), key="log key", address=store)


async def _check_nothing_is_lost(ledger: Ledger, standing: Standstill, heads: list[Head]) -> None:
    directory = ledger.directory
    if (published := published_beyond(directory, ledger.reader.rows)) is not None:
        raise published.error(directory)
    for head in heads:
        seen = standing.seen.get(head.origin, 0)
        if seen > head.size:
            raise LogBehind(
                directory=str(directory),
                origin=head.origin,
                size=head.size,
                who=standing.who,
                seen=f"{seen} entries",
            )
    elsewhere = await seen_elsewhere(directory, read_log_config(directory))
    if elsewhere is not None:
        raise elsewhere.error(directory)


def _once(standing: Standstill, tenant: str) -> str:
    return f"continue:{standing.id}:{tenant}"


async def _pause_all(ledger: Ledger, by: str, reason: str) -> list[RunId]:
    control, paused = Control(ledger), []
    for tenant in ledger.reader.tenants():
        for row in list_runs(ledger.reader, tenant=tenant, most=_MOST_RUNS):
            if row.state == "open":
                try:
                    await control.pause(row.run, by=by, reason=reason)
                except ControlRefused:  # it is paused, or killed
                    pass
                paused.append(row.run)
    return paused
