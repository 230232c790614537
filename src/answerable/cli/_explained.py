"""Decisions in words: what policy said of one, and what other policies would have said of many."""

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from answerable.cli._say import columns
from answerable.core import ApprovalObligation, Money
from answerable.policy import Change, Explanation, Simulation, parse_obligations

__all__ = ["explained", "simulated", "told_terms"]

_VERDICTS = {"permit": "permitted", "hold": "held", "deny": "denied"}


def told_terms(terms: ApprovalObligation, *, stage: int = 0) -> str:
    """Who must say yes, in a few words; `stage` is how often it was escalated already."""
    said = [f"{terms.n} of {terms.role}" if terms.n > 1 else terms.role]
    if terms.not_chain:
        said.append("none of them in the initiator's line of command")
    elif terms.not_initiator:
        said.append("not the initiator")
    said += ["signed"] * terms.is_signed + ["may be edited"] * terms.may_edit
    said += ["may be given for the rest of the run"] * terms.may_repeat
    if later := terms.escalates_to[stage:]:
        said.append("then " + ", then ".join(later))
    return ", ".join(said)


def explained(found: Explanation) -> list[str]:
    """One decision: what became of it, by which rules, on which facts, and what would have changed it."""
    lines = [f"{found.principal} → {found.action} on {_resource(found)}: {found.recorded}"]
    rows = [
        ("receipt", f"{found.receipt}, in {found.run}"),
        ("at", found.at.replace("T", " ").partition(".")[0] + " UTC"),
        ("policies", found.policy),
        ("policy said", _what_policy_said(found)),
        ("refused by", f"{found.refused_by} (`docs/reference/errors.md`)" if found.refused_by else ""),
        ("approved in", ", ".join(found.approvals)),
        ("groups", ", ".join(found.groups)),
        ("tier", f"{found.tier}: what this agent may do by itself" if found.tier else ""),
    ]
    lines += [f"  {name:<12} {said}" for name, said in rows if said]
    for rule in found.rules:
        layer = f", from layer {rule.layer}" if rule.layer else ""
        does = "asks for " + " and for ".join(map(_asked, rule.obligations)) if rule.obligations else _does(rule.text)
        lines += ["", f"  {rule.id} {does}{layer}", *(f"    {line}" for line in rule.text.splitlines())]
    if not found.rules:
        lines += ["", "  no rule applies, and what no rule permits is denied"]
    facts = sorted(found.facts.items())
    lines += ["", "  decided on these facts" if facts else "  no rule looked at any fact"]
    lines += [f"    {name:<20} {_value(name, value, found.facts)}" for name, value in facts]
    lines += ["", "  what would have changed it", *_changed(found)]
    return lines


def _resource(found: Explanation) -> str:
    return "nothing in particular" if found.resource == "none" else found.resource


def _what_policy_said(found: Explanation) -> str:
    asked = " and ".join(map(_asked, found.obligations))
    if found.verdict == "permit" and found.recorded == "hold":
        return f"it may be asked; the agent asks {asked or 'a person'}"
    return f"hold, for a yes of {asked}" if found.verdict == "hold" and asked else found.verdict


def _does(text: str) -> str:
    return "forbids it" if any(line.lstrip().startswith("forbid") for line in text.splitlines()) else "permits it"


def _asked(obligation: str) -> str:
    (terms,) = parse_obligations(obligation, policy="record")
    said = told_terms(terms).partition(", ")[2]
    return f"{_short(terms)} ({', '.join(filter(None, [said, f'within {_lasts(terms.timeout)}']))})"


def _lasts(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= length and seconds % length == 0:
            count = seconds // length
            return f"{count} {unit if count > 1 else unit[:-1]}"
    return f"{seconds} seconds"


def _value(name: str, value: Any, facts: Any) -> str:
    said = json.dumps(value, ensure_ascii=False)
    currency = facts.get("currency")
    if name.startswith("amount_") and isinstance(value, int) and isinstance(currency, str) and len(currency) == 3:
        return f"{said}  ({Money(value, currency)})"
    return said


def _changed(found: Explanation) -> Iterator[str]:
    for each in found.changes:
        also = f" and {each.also[0]} {_instead(*each.also[1:])}" if each.also else ""
        yield f"    {_outcome(each)}, had {each.fact} been {_instead(each.was, each.value)}{also}"
    if not found.changes:
        yield "    no other value of a fact that policy looks at, nor of two"


def _instead(was: Any, value: Any) -> str:
    before = "" if was is None else f", not {json.dumps(was, ensure_ascii=False)}"
    return json.dumps(value, ensure_ascii=False) + before


def _outcome(change: Change) -> str:
    asked = " and ".join(map(_asked, change.obligations))
    return f"{_VERDICTS[change.verdict]} for a yes of {asked}" if asked else _VERDICTS[change.verdict]


def simulated(found: Simulation, *, since: str) -> list[str]:
    """What other policies would have made of the decisions on record, those that give more authority first."""
    told = sorted((each for each in found.differences if each.kind != "same"), key=lambda each: not each.widens)
    rows = [
        (
            ("! " if each.widens else "  ") + each.kind,
            each.agent,
            each.action,
            _verdict(each.then, each.asked_then),
            _verdict(each.now, each.asked_now) if each.now else "?",
            each.receipt,
            each.why,
        )
        for each in told
    ]
    lines = columns(("  WHAT", "AGENT", "ACTION", "THEN", "NOW", "RECEIPT", "BECAUSE OF"), rows) if rows else []
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.counts().items() if kind != "same")
    lines.append(
        f"{found.count('same')} of {len(found.differences)} decisions since {since[:10]} come out the same"
        + (f"; {kinds}" if kinds else "")
    )
    if wider := sum(each.widens for each in told):
        lines.append(f"! gives more authority than then, or asks somebody else: {wider}")
    return lines


def _verdict(verdict: str, asked: Sequence[str]) -> str:
    terms = [parse_obligations(each, policy="record")[0] for each in asked]
    return f"{verdict} ({' and '.join(_short(each) for each in terms)})" if terms else verdict


def _short(terms: ApprovalObligation) -> str:
    return f"{terms.n} of {terms.role}" if terms.n > 1 else terms.role
