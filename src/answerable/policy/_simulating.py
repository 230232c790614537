"""Other policies against what was decided: what they would have denied, permitted or asked for instead."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from answerable.core import TenantId, stable_json
from answerable.policy._cedar import PRESENCE, WHOLE
from answerable.policy._evaluation import Evaluation
from answerable.policy._obligations import merge_obligations
from answerable.policy._policies import PolicySet, Request
from answerable.policy._ports import Clauses, Record
from answerable.policy._recount import Recounted, recount
from answerable.policy._schema import action_id

__all__ = ["Difference", "Simulation", "simulate"]

Kind = Literal["same", "newly denied", "newly permitted", "newly held", "other obligations", "cannot say"]
_STRICTNESS = {"permit": 0, "hold": 1, "deny": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One decision under other policies.

    Args:
        kind: what is different; `same` for nothing.
        then, now: verdicts of policy, whatever a budget, a stop or a person made of them; `asked_then` and `asked_now`
            what had to be met first.
        widens: more would be let through than then, with less asked for, or by somebody else's yes.
        why: rules or the error that decide now, or why it cannot be said.
    """

    receipt: str
    run: str
    action: str
    kind: Kind
    then: str
    now: str
    why: str
    agent: str = ""
    asked_then: tuple[str, ...] = ()
    asked_now: tuple[str, ...] = ()
    widens: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """All decisions of a time under other policies."""

    against: str
    differences: tuple[Difference, ...]

    def count(self, kind: Kind) -> int:
        """How many are of this kind."""
        return sum(each.kind == kind for each in self.differences)

    def counts(self) -> dict[str, int]:
        """How many there are of each kind, the most first."""
        return dict(Counter(each.kind for each in self.differences).most_common())


def simulate(
    reader: Record,
    policies: PolicySet,
    *,
    against_of: dict[str, PolicySet],
    tenant: TenantId = TenantId("default"),
    since: str = "",
    clauses: Clauses | None = None,
) -> Simulation:
    """Decide every recorded request again, by the policies of then and by these.

    What these policies read and those of then did not is taken from the receipts (`docs/concepts/policy.md`,
    "Simulation"); a tool's own attributes that nobody read then are not on the record.

    Args:
        against_of: the policies of then by the name receipts cite; filled as they are met.
        since: RFC 3339; from when on.
        clauses: knows how clauses stand; without it nothing can be said where these policies read it.
    """
    found = [
        _compare(reader, each, policies, against_of, clauses) for each in recount(reader, tenant=tenant, since=since)
    ]
    return Simulation(against=policies.digest, differences=tuple(each for each in found if each is not None))


def _compare(
    reader: Record,
    each: Recounted,
    policies: PolicySet,
    against_of: dict[str, PolicySet],
    clauses: Clauses | None,
) -> Difference | None:
    said = each.receipt.predicate
    if each.request == {}:
        return None  # refused before policy was asked: other policies would not have been asked either
    named = {"receipt": said["id"], "run": said["run"], "action": said["action"]["name"], "agent": said["agent"]["id"]}
    name = said["authority"].get("policy", "")
    if name not in against_of and (stored := reader.stored(name)) is not None:
        against_of[name] = PolicySet.from_snapshot(stored[0], where=name)
    if each.request is None or name not in against_of:
        return Difference(**named, kind="cannot say", then="", now="", why="request or policies are not on the record")
    then = against_of[name].evaluate(stable_json(each.request))
    partition = policies.partition(action_id(said["action"]["kind"], said["action"]["name"]))
    if partition.clauses and clauses is None:
        return Difference(**named, kind="cannot say", then=then.verdict, now="", why="no specifications are at hand")
    if lacking := _unrecorded(partition.reads, each):
        return Difference(**named, kind="cannot say", then=then.verdict, now="", why=f"{lacking} is not on the record")
    if partition.clauses and clauses is not None:
        each.context["clauses"] = dict(clauses.by(each.before, partition.clauses))
    heads = {read.partition(".")[0].rstrip("?") for read in partition.reads}
    is_whole = WHOLE in partition.reads
    context = {name: value for name, value in each.context.items() if is_whole or name in heads}
    request = Request(
        agent=said["agent"]["id"],
        action=partition.action,
        target=said["action"].get("target", ""),
        context=context,
        groups=tuple(sorted(partition.groups & each.groups)),
        autonomy=(said_tier["tier"], said_tier["role"]) if (said_tier := each.request.get("autonomy")) else None,
    )
    now = partition.evaluate(request.to_json())
    why = now.error.message if now.error else ", ".join(now.rules)
    asked_then, asked_now = _asked(then), _asked(now)
    return Difference(
        **named,
        kind=_kind(then, now),
        then=then.verdict,
        now=now.verdict,
        why=why,
        asked_then=asked_then,
        asked_now=asked_now,
        widens=_widens(then, now),
    )


def _asked(found: Evaluation) -> tuple[str, ...]:
    return tuple(sorted(map(str, found.obligations)))


def _widens(then: Evaluation, now: Evaluation) -> bool:
    """Whether it lets more through, or asks for less than it did in any of its obligations."""
    if then.verdict != now.verdict:
        return _STRICTNESS[now.verdict] < _STRICTNESS[then.verdict]
    # Of the same role, asking for as much as before is what the stricter of both is.
    return any(merge_obligations((before, *now.obligations)) != now.obligations for before in then.obligations)


def _unrecorded(reads: frozenset[str], each: Recounted) -> str:
    """What follows from declarations or texts, these policies read, and the record lacks; empty if there is none."""
    told = {read for read in reads & {"labelled", "untrusted_arguments", "sends"} if read not in each.context}
    recorded = each.context.get("attributes")
    if recorded is not None:
        missing = [read for read in reads if read.startswith("attributes.") and read.partition(".")[2] not in recorded]
    else:
        missing = [read for read in reads if read.startswith("attributes") and read != PRESENCE]
    return f"`context.{min((*missing, *told))}`" if missing or told else ""


def _kind(then: Evaluation, now: Evaluation) -> Kind:
    if then.verdict != now.verdict:
        if now.verdict == "deny":
            return "newly denied"
        if _STRICTNESS[now.verdict] < _STRICTNESS[then.verdict]:
            return "newly permitted" if now.verdict == "permit" else "newly held"
        return "newly held"
    return "same" if _asked(then) == _asked(now) else "other obligations"
