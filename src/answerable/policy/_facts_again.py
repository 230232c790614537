"""The facts that decisions were made on, beside what the receipts before them say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from answerable.core import AnswerableError, TenantId
from answerable.policy._labels import Flow, LabelRules, Recogniser, flows_again, load_recognisers
from answerable.policy._ports import Clauses, Unsealed
from answerable.policy._recount import Recounted, recount

__all__ = ["Recount", "recount_facts"]

Find = Callable[[Sequence[str]], Sequence[Recogniser]]
_UNRECORDED = frozenset({"attributes", "confidence"})
"""What the call itself said, and no receipt tells."""
_FLOW: Mapping[str, Callable[[Flow], Any]] = {
    "labelled": lambda flow: flow.is_labelled,
    "untrusted_arguments": lambda flow: sorted(flow.untrusted),
    "sends": lambda flow: sorted(flow.sends),
    "provenance": lambda flow: list(flow.provenance),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """One decision whose recorded facts are compared with those counted anew.

    Args:
        differences: each attribute that differs, as `(name, recorded, counted)`.
        as_recorded: attributes that could not be counted anew.
    """

    receipt: str
    action: str
    differences: tuple[tuple[str, Any, Any], ...]
    as_recorded: tuple[str, ...] = ()


def recount_facts(
    reader: Unsealed,
    run: str,
    *,
    tenant: TenantId = TenantId("default"),
    clauses: Clauses | None = None,
    find: Find = load_recognisers,
) -> list[Recount]:
    """Compare the facts each decision of a run was made on with what the receipts before it say.

    Where an argument came from and what would be sent is told anew by the sources and sinks that were declared then.

    Args:
        clauses: knows how clauses stand; without it their standing is not counted anew.
        find: the recognisers of these names.
    """
    return [
        _again(reader, each, clauses, find)
        for each in recount(reader, tenant=tenant)
        if each.receipt.predicate["run"] == run and each.request
    ]


def _again(reader: Unsealed, each: Recounted, clauses: Clauses | None, find: Find) -> Recount:
    assert each.request is not None
    said = each.receipt.predicate
    recorded, counted = dict(each.request["context"]), dict(each.context)
    left = recorded.keys() & _UNRECORDED
    if "clauses" in recorded and clauses is None:
        left |= {"clauses"}
    elif "clauses" in recorded and clauses is not None:
        counted["clauses"] = _standing_again(each, clauses, recorded["clauses"])
    if flowed := recorded.keys() & _FLOW.keys():
        recorded["provenance"] = list(said["authority"].get("provenance", ()))
        told = _flow_again(reader, each, find, {name: recorded[name] for name in (*flowed, "provenance")})
        counted |= told
        left |= (flowed | {"provenance"}) - told.keys()
    differences = tuple(
        (name, recorded[name], counted.get(name))
        for name in sorted(recorded.keys() - left)
        if _plain(recorded[name]) != _plain(counted.get(name))
    )
    as_recorded = tuple(sorted(left))
    return Recount(receipt=said["id"], action=said["action"]["name"], differences=differences, as_recorded=as_recorded)


def _standing_again(each: Recounted, clauses: Clauses, recorded: Mapping[str, str]) -> Mapping[str, str]:
    """How clauses stood at the receipt; where `open` did not compare that again, maybe at a moment before."""
    names = frozenset(recorded)
    latest = clauses.by(each.before, names)
    if each.receipt.phase in ("outcome", "denied"):
        for count in range(len(each.before) - 1, 0, -1):
            if recorded != latest and clauses.by(each.before[:count], names) == recorded:
                return recorded
    return latest


def _flow_again(reader: Unsealed, each: Recounted, find: Find, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """What of it can be told anew: at the moment before the receipt that fits what is recorded, else at the receipt."""
    assert each.request is not None
    name = each.request.get("declared", "")
    stored = reader.stored(name) if name else None
    if stored is None:
        return {}  # decided before rules were kept on the record
    rules, others = LabelRules.from_snapshot(stored[0], where=name)
    names = frozenset(recorded)
    try:
        further = find(rules.recognisers)
    except AnswerableError:
        further, others = (), rules.recognisers  # one that took part then is not installed here
    if others:
        names = names - {"sends"}
    latest: dict[str, Any] = {}
    for flow in flows_again(reader, each.receipt, each.before, rules, further):
        told = {each: _FLOW[each](flow) for each in names}
        latest = latest or told
        if all(_plain(recorded[each]) == _plain(told[each]) for each in names):
            return told
    return latest


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) and all(isinstance(each, str) for each in value) else value
