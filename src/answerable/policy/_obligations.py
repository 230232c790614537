"""Obligations: what must be met before a permitted action may run. A closed grammar, parsed when policies load.

    approve:role=ROLE[,n=1][,distinct][,not=initiator|chain][,edit][,repeat][,signed][,timeout=3d]
            [,on_timeout=deny|escalate:ROLE[>ROLE…]]

Several obligations in one annotation are separated by `;`. The grammar reserves further words; until
each is enforced, a policy that uses one refuses to load.
"""

import re
from collections.abc import Iterable
from datetime import timedelta

from answerable.core import ApprovalObligation, Obligation
from answerable.policy._errors import ObligationInvalid

__all__ = ["is_met_by", "merge_obligations", "parse_duration", "parse_obligations"]

_RESERVED = frozenset({"redact", "rate", "dry-run-first", "idempotency-key", "reserve", "sandbox", "quarantine"})
_FLAGS = frozenset({"distinct", "edit", "repeat", "signed"})
_VALUES = frozenset({"role", "n", "not", "timeout", "on_timeout"})
_ROLE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DURATION = re.compile(r"([1-9]\d{0,7})([smhd])")
_MOST_APPROVERS = 20
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> timedelta | None:
    """`90s`, `15m`, `12h` or `3d`; None for anything else."""
    if match := _DURATION.fullmatch(text):
        return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    return None


def parse_obligations(text: str, *, policy: str) -> tuple[Obligation, ...]:
    """The obligations in one `@obligation("…")` annotation of a policy.

    Raises:
        ObligationInvalid: not in the grammar, or not enforced by this version.
    """
    return tuple(_parse_one(part.strip(), policy) for part in text.split(";"))


def _parse_one(text: str, policy: str) -> Obligation:
    def refuse(problem: str) -> ObligationInvalid:
        return ObligationInvalid(policy=policy, obligation=text, problem=problem)

    word, _, rest = text.partition(":")
    if word in _RESERVED:
        raise refuse(f"`{word}` is not supported yet")
    if word != "approve":
        raise refuse(f"unknown obligation `{word}`")
    said: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if name in said:
            raise refuse(f"`{name}` stands twice")
        if name not in (_VALUES if equals else _FLAGS):
            raise refuse(f"unknown part `{part.strip()}`")
        said[name] = value
    if not _ROLE.fullmatch(said.get("role", "")):
        raise refuse("it names no role")
    n = said.get("n", "1")
    if not n.isdecimal() or not 1 <= int(n) <= _MOST_APPROVERS:
        raise refuse(f"`n={n}` is not a number from 1 to {_MOST_APPROVERS}")
    if said.get("not", "chain") not in ("initiator", "chain"):
        raise refuse(f"`not={said['not']}` is neither `initiator` nor `chain`")
    on_timeout = said.get("on_timeout", "deny")
    word, _, roles = on_timeout.partition(":")
    if on_timeout != "deny" and (word != "escalate" or not all(_ROLE.fullmatch(role) for role in roles.split(">"))):
        raise refuse(f"`on_timeout={on_timeout}` is neither `deny` nor `escalate:ROLE`, further roles after `>`")
    timeout = parse_duration(said.get("timeout", "3d"))
    if timeout is None:
        raise refuse(f"`timeout={said['timeout']}` is not a duration such as `90s`, `15m`, `12h` or `3d`")
    return ApprovalObligation(
        role=said["role"],
        n=int(n),
        not_initiator="not" in said,
        not_chain=said.get("not") == "chain",
        may_edit="edit" in said,
        may_repeat="repeat" in said,
        is_signed="signed" in said,
        timeout=timeout,
        on_timeout=on_timeout,
    )


def is_met_by(asked: ApprovalObligation, given: ApprovalObligation) -> bool:
    """Whether people who answered on the terms `given` have met what is `asked` now."""
    return (
        given.role == asked.role
        and given.n >= asked.n
        and given.not_initiator >= asked.not_initiator
        and given.not_chain >= asked.not_chain
        and given.is_signed >= asked.is_signed
    )


def merge_obligations(obligations: Iterable[Obligation]) -> tuple[Obligation, ...] | None:
    """One approval that meets every approval asked for: same role, the shortest time-out, the strictest rule.

    Returns: None where no single approval meets them all (different roles), which is a denial: one
        action waits for one approval.
    """
    merged: ApprovalObligation | None = None
    for each in obligations:
        if merged is None:
            merged = each
        elif each.role != merged.role:
            return None
        else:
            merged = ApprovalObligation(
                role=each.role,
                n=max(each.n, merged.n),
                not_initiator=each.not_initiator or merged.not_initiator,
                not_chain=each.not_chain or merged.not_chain,
                may_edit=each.may_edit and merged.may_edit,
                may_repeat=each.may_repeat and merged.may_repeat,
                is_signed=each.is_signed or merged.is_signed,
                timeout=min(each.timeout, merged.timeout),
                on_timeout=each.on_timeout if each.on_timeout == merged.on_timeout else "deny",
            )
    return (merged,) if merged else ()
