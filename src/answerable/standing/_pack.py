"""An audit pack: for a period and scope, which receipts support which controls, how many, and where none does.

Counts and samples are computed from receipts alone, so that whoever has the bundle can count again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from answerable.ledger import Receipt
from answerable.standing._mapping import Control, EvidenceItem, FrameworkMapping

__all__ = ["ControlEvidence", "ItemEvidence", "Pack", "PackScope", "make_pack"]

_SAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PackScope:
    """What a pack is about.

    Args:
        since, until: RFC 3339 UTC, the first included and the second not; empty for no bound.
        agents: only what these did; receipts of the control run count for all. Empty for every agent.
    """

    tenant: str
    since: str = ""
    until: str = ""
    agents: tuple[str, ...] = ()

    def holds(self, said: Mapping[str, Any]) -> bool:
        """Whether a receipt is within it."""
        at = said["at"]
        if (self.since and at < self.since) or (self.until and at >= self.until):
            return False
        is_control = str(said["run"]).startswith("control:")
        return not self.agents or is_control or said["agent"]["id"] in self.agents


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemEvidence:
    """What was found for one item.

    Args:
        samples: ids of receipts, the first, the last and some between; of exceptions all.
        gap: why this is a gap; empty where it is none.
    """

    what: str
    expect: str
    count: int
    samples: tuple[str, ...]
    gap: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlEvidence:
    """What was found for one control."""

    control: Control
    items: tuple[ItemEvidence, ...]

    @property
    def gaps(self) -> tuple[str, ...]:
        """What an auditor will ask about."""
        return tuple(item.gap for item in self.items if item.gap)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """All that was found.

    Args:
        runs: those that receipts in scope belong to, in the order of the record.
        first, last: when the first and the last of the receipts in scope were written, UTC; empty where there are none.
    """

    mapping: FrameworkMapping
    scope: PackScope
    receipts: int
    runs: tuple[str, ...]
    controls: tuple[ControlEvidence, ...]
    first: str
    last: str

    def to_json(self) -> dict[str, Any]:
        """The pack as JSON values."""
        scope = self.scope
        return {
            "format": "answerable-pack/1",
            "framework": self.mapping.framework,
            "title": self.mapping.title,
            "source": self.mapping.source,
            "reviewed": self.mapping.reviewed,
            "scope": {"tenant": scope.tenant, "since": scope.since, "until": scope.until, "agents": list(scope.agents)},
            "receipts": self.receipts,
            "first": self.first,
            "last": self.last,
            "runs": list(self.runs),
            "controls": [
                {
                    "id": each.control.id,
                    "title": each.control.title,
                    "supports": each.control.supports,
                    "beyond": each.control.beyond,
                    "gaps": list(each.gaps),
                    "evidence": [
                        {"what": item.what, "expect": item.expect, "count": item.count, "samples": list(item.samples)}
                        for item in each.items
                    ],
                }
                for each in self.controls
            ],
        }


def make_pack(mapping: FrameworkMapping, receipts: Iterable[Receipt], scope: PackScope) -> Pack:
    """Count what supports each control.

    Args:
        receipts: of the tenant, in the order of its log. Those after the period still answer those within.
    """
    everything = [receipt.predicate for receipt in receipts]
    within = [said for said in everything if scope.holds(said)]
    runs = tuple(dict.fromkeys(str(said["run"]) for said in within))
    controls = tuple(
        ControlEvidence(control=control, items=tuple(_found(item, within, everything) for item in control.evidence))
        for control in mapping.controls
    )
    times = [str(said["at"]) for said in within]
    return Pack(
        mapping=mapping,
        scope=scope,
        receipts=len(within),
        runs=runs,
        controls=controls,
        first=min(times, default=""),
        last=max(times, default=""),
    )


def _found(
    item: EvidenceItem, within: Sequence[Mapping[str, Any]], everything: Sequence[Mapping[str, Any]]
) -> ItemEvidence:
    found = [said for said in within if _fits(item, said)]
    if item.lacks is not None:
        path = item.lacks.by
        answered = {
            (said["run"], _at(said, path)) for said in everything if said["phase"] == item.lacks.phase
        } | _written_off(item, everything)
        found = [said for said in found if (said["run"], _at(said, path)) not in answered]
    ids = [str(said["id"]) for said in found]
    gap = ""
    if item.expect == "some" and not ids:
        gap = f"no receipt within period and scope: {item.what}"
    elif item.expect == "none" and ids:
        gap = f"{len(ids)} × {item.what}"
    samples = tuple(ids if item.expect == "none" else _sample(ids))
    return ItemEvidence(what=item.what, expect=item.expect, count=len(ids), samples=samples, gap=gap)


def _fits(item: EvidenceItem, said: Mapping[str, Any]) -> bool:
    if said["phase"] not in item.phases or any(_at(said, path) is not None for path in item.without):
        return False
    for path, values in item.where.items():
        value = _at(said, path)
        if value is None or ("*" not in values and value not in values):
            return False
    return True


def _written_off(item: EvidenceItem, everything: Sequence[Mapping[str, Any]]) -> set[tuple[Any, Any]]:
    """Steps whose lost attempt a person or a probe settled as not having happened: nothing is open there."""
    if item.lacks is None or item.lacks.by != "step":
        return set()
    offs = (said for said in everything if said["phase"] == "control" and said["control"].get("do") == "write-off")
    return {(said["run"], said.get("step")) for said in offs}


def _sample(ids: Sequence[str]) -> list[str]:
    """Some, evenly from the first to the last."""
    if len(ids) <= _SAMPLES:
        return list(ids)
    return [ids[round(n * (len(ids) - 1) / (_SAMPLES - 1))] for n in range(_SAMPLES)]


def _at(said: Mapping[str, Any], path: str) -> Any:
    """The member at a dotted path; None where there is none, or an empty one."""
    value: Any = said
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return None if value in ("", {}, []) else value
