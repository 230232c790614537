"""Facts about history and the clock, read for one decision: only those that some policy reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from answerable.core import Action, FactScope
from answerable.identity import registered_roles
from answerable.policy._autonomy import is_tiered, read_tier, tier_scope, tier_version
from answerable.policy._counting import (
    WINDOWS,
    day_scope,
    days_of,
    look,
    look_among,
    own_approval,
    own_effect,
    payee_scope,
    payees_scope,
    target_scope,
)
from answerable.policy._labels import NO_FLOW, Flow
from answerable.policy._ports import Rows

__all__ = ["FACTS", "Facts", "read_facts"]

_AMOUNTS = {"amount_today_minor": 1, **{f"amount_{days}d_minor": days for days in WINDOWS}}
_COUNTS = {"count_today": 1, **{f"count_{days}d": days for days in WINDOWS}}
_CLOCK = frozenset({"hour", "weekday"})
_OF_DAYS = frozenset({*_AMOUNTS, *_COUNTS, "payees_today"})
_KEPT = _OF_DAYS | {"prior_on_target"}
_NOTHING = (0, 0, 0)

FACTS = frozenset(
    {"prior_on_target", "prior_approvals", "amount_run_minor", "initiator_roles", "tier", "clauses", *_OF_DAYS, *_CLOCK}
)
"""Attributes of the context that are looked up, and not told by the action itself."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What history and the clock say of an action, and the scopes it was read from."""

    values: Mapping[str, Any] = field(default_factory=dict)
    scopes: tuple[FactScope, ...] = ()
    flow: Flow = NO_FLOW


def read_facts(rows: Rows, action: Action, names: frozenset[str], now: datetime, *, initiator: str = "") -> Facts:
    """The facts in `names`, without what the action's own step has in flight.

    Args:
        initiator: the person who asked for the run, as the record calls them; empty where it was no person.
    """
    return _Reading(rows, action, now).facts(names, initiator)


class _Reading:
    """One reading: what is asked for twice is looked up once."""

    def __init__(self, rows: Rows, action: Action, now: datetime) -> None:
        self._rows = rows
        self._action = action
        self._now = now
        self._seen: dict[str, tuple[int, int]] = {}
        self._kept: dict[str, tuple[int, int, int]] | None = None
        self._scopes: list[FactScope] = []
        self._own: Any = False  # not looked up yet
        amount = action.described.amount
        self._currency = amount.currency if amount else ""

    def facts(self, names: frozenset[str], initiator: str) -> Facts:
        values: dict[str, Any] = {}
        today = self._now.isoformat()[:10]
        if names & _KEPT:
            self._kept = self._look_up(names, today)
        if "prior_on_target" in names:
            values["prior_on_target"] = self._prior_on_target()
        if names & _OF_DAYS:
            self._scopes.append(FactScope(f"date:{today}", 0))
            for name in sorted(names & _OF_DAYS):
                if name == "payees_today":
                    values[name] = self._payees(today)
                else:
                    count, total = self._days(today, _COUNTS.get(name) or _AMOUNTS[name])
                    values[name] = count if name in _COUNTS else total if self._currency else 0
        if "amount_run_minor" in names:
            values["amount_run_minor"] = self._moved()
        if "prior_approvals" in names:
            values["prior_approvals"] = self._approvals()
        if "initiator_roles" in names:
            values["initiator_roles"] = self._roles(initiator)
        if "tier" in names:
            values["tier"] = self._tier(values)
        if names & _CLOCK:
            self._scopes.append(FactScope(f"hour:{self._now.isoformat()[:13]}", 0))
            values |= {"hour": self._now.hour, "weekday": self._now.isoweekday()}
        return Facts(values, tuple(self._scopes))

    def _look_up(self, names: frozenset[str], today: str) -> dict[str, tuple[int, int, int]]:
        """All that is kept of what is asked for, in one query."""
        name, described = self._action.name, self._action.described
        target = target_scope(name, described.target)
        scopes = [target] if target and "prior_on_target" in names else []
        lengths = {_COUNTS.get(each) or _AMOUNTS.get(each, 1) for each in names & _OF_DAYS}
        if lengths:
            longest = max(lengths)
            scopes += days_of(f"days:{name}:{self._currency}:{longest}:{today}")
        if "payees_today" in names and target and self._currency:
            day = day_scope(name, self._currency, today)
            scopes += [payees_scope(day), payee_scope(day, target)]
        return look_among(self._rows, self._action.tenant, scopes) if scopes else {}

    def _read(self, scope: str) -> tuple[int, int, int]:
        """Version, count and total of a scope, from what was looked up if it was."""
        if self._kept is None or not scope.startswith(("target:", "day:", "days:", "payee")):
            version, count, total = look(self._rows, self._action.tenant, scope)
            return version, count, total
        if not scope.startswith("days:"):
            return self._kept.get(scope, _NOTHING)
        found = [self._kept[day] for day in days_of(scope) if day in self._kept]
        version, count, total = map(sum, zip(*found, strict=True)) if found else _NOTHING
        return version, count, total

    def _look(self, scope: str) -> tuple[int, int]:
        """Count and total of a scope, which the decision rests on from now on."""
        found = self._seen.get(scope)
        if found is None:
            version, count, total = self._read(scope)
            self._scopes.append(FactScope(scope, version))
            found = self._seen[scope] = (count, total)
        return found

    def _in_flight(self) -> Any:
        if self._own is False:
            self._own = own_effect(self._rows, self._action)
        return self._own

    def _prior_on_target(self) -> int:
        scope = target_scope(self._action.name, self._action.described.target)
        if not scope:
            return 0
        count, _ = self._look(scope)
        return count - 1 if count and (own := self._in_flight()) and own[1] == scope else count

    def _days(self, today: str, days: int) -> tuple[int, int]:
        name = self._action.name
        first = self._now.toordinal() - days
        scope = day_scope(name, self._currency, today) if days == 1 else f"days:{name}:{self._currency}:{days}:{today}"
        count, total = self._look(scope)
        if count and (own := self._in_flight()):
            named, day = own[2][:-10], own[2][-10:]
            if named == day_scope(name, self._currency, "") and datetime.fromisoformat(day).toordinal() > first:
                return count - 1, total - own[3]
        return count, total

    def _payees(self, today: str) -> int:
        """Targets that money went to today, this one among them."""
        target = target_scope(self._action.name, self._action.described.target)
        if not target or not self._currency:
            return 0
        day = day_scope(self._action.name, self._currency, today)
        self._look(day)
        _, others, _ = self._read(payees_scope(day))
        return others + (0 if self._read(payee_scope(day, target))[1] else 1)

    def _moved(self) -> int:
        """What the run moved in the action's currency so far."""
        if not self._currency:
            return 0
        _, moved = self._look(f"moved:{self._currency}:{self._action.run}")
        own = self._in_flight() if moved else None
        return moved - own[3] if own and own[2][-15:-10] == f":{self._currency}:" else moved

    def _approvals(self) -> int:
        name, target = self._action.name, self._action.described.target
        if self._action.kind != "tool" or not target:
            return 0
        count, _ = self._look(f"approved:{name}:{target}")
        return count - own_approval(self._rows, self._action) if count else 0

    def _tier(self, values: dict[str, Any]) -> str:
        if not is_tiered(self._action):
            return "execute"
        scope = tier_scope(self._action)
        tier, role = read_tier(self._rows, self._action.tenant, scope)
        self._scopes.append(FactScope(scope, tier_version(self._rows, self._action.tenant, scope)))
        if tier != "execute":
            values["autonomy"] = (tier, role)
        return tier

    def _roles(self, initiator: str) -> list[str]:
        if not initiator:
            return []
        self._look(f"roles:{initiator}")
        return list(registered_roles(self._rows, self._action.tenant, initiator))
