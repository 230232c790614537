"""Obligations: what must be met before a permitted action may run. A closed grammar, parsed when policies load.

    approve:role=ROLE[,n=1][,distinct][,not=initiator][,edit][,timeout=3d][,on_timeout=deny]

Several obligations in one annotation are separated by `;`. The grammar reserves further words and
further values; until each is enforced, a policy that uses one refuses to load.
"""

import re
from collections.abc import Iterable
from datetime import timedelta

from answerable.core import ApprovalObligation, Obligation
from answerable.policy._errors import ObligationInvalid

__all__ = ["merge_obligations", "parse_duration", "parse_obligations"]

_RESERVED = frozenset({"redact", "rate", "dry-run-first", "idempotency-key", "reserve", "sandbox", "quarantine"})
_FLAGS = frozenset({"distinct", "edit"})
_VALUES = frozenset({"role", "n", "not", "timeout", "on_timeout"})
_ROLE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_DURATION = re.compile(r"([1-9]\d{0,5})([smhd])")
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
    if "edit" in said:
        raise refuse("`edit` is not supported yet")
    if not _ROLE.fullmatch(said.get("role", "")):
        raise refuse("it names no role")
    if said.get("n", "1") != "1":
        raise refuse("`n` above 1 is not supported yet" if said["n"].isdigit() else "`n` is not a number")
    if said.get("not", "initiator") != "initiator":
        raise refuse(f"unknown part `not={said['not']}`")
    if said.get("on_timeout", "deny") != "deny":
        raise refuse(f"`on_timeout={said['on_timeout']}` is not supported yet")
    timeout = parse_duration(said.get("timeout", "3d"))
    if timeout is None:
        raise refuse(f"`timeout={said['timeout']}` is not a duration such as `90s`, `15m`, `12h` or `3d`")
    return ApprovalObligation(role=said["role"], not_initiator="not" in said, timeout=timeout)


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
                not_initiator=each.not_initiator or merged.not_initiator,
                timeout=min(each.timeout, merged.timeout),
            )
    return (merged,) if merged else ()
