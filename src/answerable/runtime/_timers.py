"""The table `timers`: what sleeping runs wait for. `runs show` reads it; replay reads the receipts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from answerable.core import RunId, StepKey, parse_time
from answerable.ledger import Emptiness, Phase, Prepared, Reader, Receipt, Tx, metadata

__all__ = ["Timer", "TimersProjection", "list_timers"]

_timers = sa.Table(
    "timers",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("due", sa.Text, nullable=False),
    sa.Column("receipt", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_SET = Prepared(sa.insert(_timers))
_FIRED = Prepared(
    sa.delete(_timers).where(_timers.c.run == sa.bindparam("run"), _timers.c.step == sa.bindparam("step"))
)
_ANY = Prepared(sa.select(_timers.c.run).limit(1))
_ENDED = Prepared(sa.delete(_timers).where(_timers.c.run == sa.bindparam("run")))
_OF_RUN = Prepared(
    sa.select(_timers.c.step, _timers.c.due, _timers.c.receipt)
    .where(_timers.c.run == sa.bindparam("run"))
    .order_by(_timers.c.due)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A timer that was set and has not fired.

    Args:
        receipt: id of the receipt that set it.
    """

    step: StepKey
    due: datetime
    receipt: str


class TimersProjection:
    """Keeps the timers that are set: gone when they fire, or when their run ends."""

    def __init__(self) -> None:
        self._none_set = Emptiness(_ANY)

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `timers`."""
        return (_timers,)

    @property
    def phases(self) -> frozenset[Phase]:
        """Timers, and the ends of runs."""
        return frozenset({"timer", "run.close"})

    def forget(self) -> None:
        """Others may have set some."""
        self._none_set.end()

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        said = receipt.predicate
        if said["phase"] == "run.close":
            if not self._none_set.stands(tx):
                tx.run(_ENDED, run=said["run"])
        elif said["control"]["state"] == "set":
            self._none_set.end()
            tx.run(_SET, run=said["run"], step=said["step"], due=said["control"]["due"], receipt=said["id"])
        else:
            tx.run(_FIRED, run=said["run"], step=said["step"])


def list_timers(reader: Reader, run: RunId) -> list[Timer]:
    """What the run sleeps for, the earliest first."""
    rows = reader.rows(_OF_RUN, run=run)
    return [Timer(step=row[0], due=parse_time(row[1]), receipt=row[2]) for row in rows]
