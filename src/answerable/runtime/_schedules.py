"""Schedules: runs that start by the clock, each due time once, whatever happened meanwhile.

A due time is a start key, so however often and by whomever it is looked for, it gives one run. What was
due while no gate ran is caught up with, or passed over on the record, as the schedule says.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa
from cronsim import CronSim, CronSimError

from answerable.core import AnswerableError, TenantId, format_time, parse_time
from answerable.ledger import Draft, Ledger, Phase, Prepared, Reader, Receipt, Tx, control_run, metadata
from answerable.runtime._errors import ScheduleInvalid, ScheduleUnknown
from answerable.runtime._runs import Runs
from answerable.runtime._tenants import DEFAULT_TENANT

__all__ = ["Schedule", "ScheduleRow", "Schedules", "SchedulesProjection", "list_schedules"]

log = logging.getLogger("answerable.runtime")

_LONGEST_NAP_S = 60.0
_MOST_AT_ONCE = 100
_IN_TIME = timedelta(minutes=1)
"""A due time is not missed until this much later: a busy gate is no absent gate."""

_schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("since", sa.Text, nullable=False),
    sa.Column("last", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_ALL = Prepared(
    sa.select(_schedules.c.name, _schedules.c.rule, _schedules.c.since, _schedules.c.last, _schedules.c.state)
    .where(_schedules.c.tenant == _P("tenant"))
    .order_by(_schedules.c.name)
)
_PUT = Prepared(sa.insert(_schedules))
_DROP = Prepared(
    sa.delete(_schedules).where(_schedules.c.tenant == _P("of_tenant"), _schedules.c.name == _P("of_name"))
)
_MOVE = Prepared(
    sa.update(_schedules)
    .where(_schedules.c.tenant == _P("of_tenant"), _schedules.c.name == _P("of_name"), _schedules.c.last < _P("due"))
    .values(last=_P("due"))
)
_STATE = Prepared(
    sa.update(_schedules)
    .where(_schedules.c.tenant == _P("of_tenant"), _schedules.c.name == _P("of_name"))
    .values(state=_P("to_state"), last=_P("due"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When an agent is started by the clock.

    Args:
        given: its input.
        every: how often, counted from when the schedule was first seen; or
        cron: at which times, as five fields; `timezone` says of which clock.
        catch_up: what becomes of due times that passed while no gate ran: `one` run for the latest of them,
            `all` of them (the oldest first, at most a hundred), or `none`.
        tenant: whose run it starts, in whose log the schedule stands.
    """

    name: str
    agent: str
    given: Any = None
    every: timedelta | None = None
    cron: str = ""
    timezone: str = "UTC"
    catch_up: Literal["one", "all", "none"] = "one"
    tenant: str = DEFAULT_TENANT

    def __post_init__(self) -> None:
        if (self.every is None) == (not self.cron):
            raise ScheduleInvalid(name=self.name, problem="it says either `every` or `cron`")
        if self.every is not None and self.every < timedelta(seconds=1):
            raise ScheduleInvalid(name=self.name, problem="`every` is a second or more")
        if self.catch_up not in ("one", "all", "none"):
            raise ScheduleInvalid(name=self.name, problem="`catch_up` is `one`, `all` or `none`")
        try:
            next(self.dues(datetime.now(UTC), datetime.now(UTC)))
        except (CronSimError, StopIteration, ZoneInfoNotFoundError, ValueError) as error:
            raise ScheduleInvalid(name=self.name, problem=f"`{self.cron or self.timezone}`: {error}") from None

    @property
    def rule(self) -> str:
        """What it follows, in one line: as it stands on the record."""
        when = f"every {self.every.total_seconds():g} s" if self.every is not None else f"{self.cron} {self.timezone}"
        return f"{self.agent}: {when}"

    def dues(self, since: datetime, after: datetime) -> Iterator[datetime]:
        """The due times after a moment, in order.

        Args:
            since: where `every` counts from.
        """
        if self.every is None:
            zone = ZoneInfo(self.timezone)
            for due in CronSim(self.cron, after.astimezone(zone)):
                yield due.astimezone(UTC)
            return
        number = (after - since) // self.every + 1
        while True:
            yield since + number * self.every
            number += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """A schedule as it stands on the record.

    Args:
        rule: agent and times, in a line.
        last: the last due time that was dealt with.
        state: `active` or `paused`.
    """

    name: str
    rule: str
    since: datetime
    last: datetime
    state: str


class SchedulesProjection:
    """The table `schedules`."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `schedules`."""
        return (_schedules,)

    @property
    def phases(self) -> frozenset[Phase]:
        """What is said of schedules, and the runs they start."""
        return frozenset({"control", "run.open"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        said = receipt.predicate
        schedule = said["control"].get("schedule")
        if schedule is None:
            return
        of = {"of_tenant": said["tenant"], "of_name": schedule["name"]}
        if "rule" in schedule:
            tx.run(_DROP, **of)
            row = {"rule": schedule["rule"], "since": said["at"], "last": said["at"], "state": "active"}
            tx.run(_PUT, tenant=said["tenant"], name=schedule["name"], **row)
        elif "state" in schedule:
            tx.run(_STATE, to_state=schedule["state"], due=said["at"], **of)
        else:
            tx.run(_MOVE, due=schedule["due"], **of)


def list_schedules(reader: Reader, *, tenant: TenantId = TenantId("default")) -> list[ScheduleRow]:
    """The schedules on record, by name."""
    return [
        ScheduleRow(name=row[0], rule=row[1], since=parse_time(row[2]), last=parse_time(row[3]), state=row[4])
        for row in reader.rows(_ALL, tenant=tenant)
    ]


class Schedules:
    """Starts what is due of a tenant. Needs `SchedulesProjection` among the ledger's projections.

    Args:
        schedules: as declared; those of other tenants are left out.
    """

    def __init__(
        self,
        ledger: Ledger,
        runs: Runs,
        schedules: Sequence[Schedule] = (),
        *,
        tenant: TenantId = TenantId("default"),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._runs = runs
        self._schedules = tuple(each for each in schedules if each.tenant == tenant)
        self._tenant = tenant
        self._sleep = sleep

    async def start(self) -> None:
        """Put what is declared on the record; what is new or changed counts from now."""
        known = self._rows()
        for schedule in self._schedules:
            row = known.get(schedule.name)
            if row is None or row.rule != schedule.rule:
                await self._say({"name": schedule.name, "rule": schedule.rule})

    async def serve(self) -> None:
        """Start what is due when it is due, until cancelled."""
        while True:
            due = await self.look()
            wait_s = (due - self._ledger.clock.now()).total_seconds() if due is not None else _LONGEST_NAP_S
            await self._sleep(min(max(wait_s, 0.001), _LONGEST_NAP_S))

    async def look(self) -> datetime | None:
        """Start what is due by now; when something is due next."""
        rows = self._rows()
        active = [each for each in self._schedules if each.name in rows and rows[each.name].state == "active"]
        upcoming = []
        for schedule in active:
            try:
                upcoming.append(await self._catch_up(schedule, rows[schedule.name]))
            except AnswerableError as error:  # one that cannot be started is no reason to start no other
                log.error("schedule %s started nothing: %s", schedule.name, error)
        return min(upcoming, default=None)

    async def pause(self, name: str, *, by: str, reason: str) -> None:
        """Start nothing by this schedule until it is resumed; what is due meanwhile is passed over.

        Raises:
            ScheduleUnknown: there is none of this name.
        """
        await self._order(name, "paused", by, reason)

    async def resume(self, name: str, *, by: str, reason: str) -> None:
        """Start again what is due from now on.

        Raises:
            ScheduleUnknown: there is none of this name.
        """
        await self._order(name, "active", by, reason)

    async def _order(self, name: str, state: str, by: str, reason: str) -> None:
        if name not in self._rows():
            raise ScheduleUnknown(name=name)
        person = self._ledger.pseudonym(self._tenant, by)
        await self._say({"name": name, "state": state}, by=person, reason=reason)

    async def _catch_up(self, schedule: Schedule, row: ScheduleRow) -> datetime:
        now = self._ledger.clock.now()
        due: list[datetime] = []
        missed, passed = 0, row.last
        for upcoming in schedule.dues(row.since, row.last):
            if upcoming > now:
                break
            due.append(upcoming)
            if len(due) > _MOST_AT_ONCE:
                passed = due.pop(0)
                missed += 1
        wanted = due if schedule.catch_up == "all" else due[-1:]
        if schedule.catch_up == "none":
            wanted = [each for each in wanted if now - each < _IN_TIME]
        missed += len(due) - len(wanted)
        if missed:
            passed = max((each for each in due if each not in wanted), default=passed)
            await self._say({"name": schedule.name, "due": format_time(passed), "passedOver": missed})
        for each in wanted:
            at = format_time(each)
            await self._runs.start(
                schedule.agent,
                schedule.given,
                key=f"schedule:{schedule.name}:{at}",
                on_behalf_of=f"schedule:{schedule.name}",
                schedule={"name": schedule.name, "due": at},
                tenant=self._tenant,
            )
        return upcoming

    def _rows(self) -> dict[str, ScheduleRow]:
        return {row.name: row for row in list_schedules(self._ledger.reader, tenant=self._tenant)}

    async def _say(self, schedule: dict[str, Any], **more: str) -> None:
        await self._ledger.append(
            Draft(
                tenant=self._tenant,
                run=control_run(self._tenant),
                phase="control",
                agent="gate",
                members={"control": {"do": "schedule", "schedule": schedule, **more}},
            )
        )
