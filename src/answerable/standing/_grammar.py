"""From the TOML of a `check` block to a check. What is not in the grammar is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import InvalidOperation
from typing import Any, Literal, cast

from answerable.core import Money
from answerable.standing._checks import (
    ApprovalRequired,
    AtMost,
    Check,
    Every,
    Following,
    Never,
    ObservedBy,
    Per,
    Preceding,
    Requirement,
    RuleCited,
    Same,
    Selector,
    SumAtMost,
    TargetNamed,
    Within,
)

__all__ = ["Misread", "parse_check"]

_ACTING = frozenset({"intent", "held", "denied", "outcome", "observation", "compensation"})
_PHASES = _ACTING | {"run.open", "approval", "signal", "timer", "version", "control", "run.close"}
_CLOSED_WORDS = {
    "kind": frozenset({"model", "tool", "memory", "code", "delegation", "decision", "observation"}),
    "effect": frozenset({"read", "write", "irreversible"}),
    "status": frozenset({"ok", "failed", "refused", "unknown"}),
}
_OBSERVERS = frozenset({"gate", "counterparty", "independent", "agent"})
_OF_ANY_PHASE = frozenset({"agent", "environment", "label"})
_AMOUNTS = ("amount_over", "amount_up_to")
_OF_ACTIONS = frozenset({"kind", "name", "effect", "target", "rule", "model", *_AMOUNTS})
_SEEN = frozenset({"outcome", "observation", "compensation"})


@dataclass
class Misread(Exception):
    """Something outside the grammar.

    Args:
        key: where in the block, the word to point at; empty for the block itself.
    """

    found: str
    expected: str
    key: str = ""


def parse_check(block: Mapping[str, Any]) -> Check:
    """The check that a block of TOML states.

    Raises:
        Misread: a form, key, word or value that the grammar does not have.
    """
    forms = [form for form in ("for", "never", "at_most", "sum_at_most") if form in block]
    if len(forms) != 1:
        found = f"{len(forms)} forms ({', '.join(forms)})" if forms else "no form"
        raise Misread(found, "write exactly one of `for`, `never`, `at_most` and `sum_at_most` in a block", "")
    form = forms[0]
    if form == "for":
        _only(block, {"for", "requires"})
        return Every(_selector(block["for"], "for"), _requirements(block))
    if form == "never":
        _only(block, {"never"})
        return Never(_selector(block["never"], "never"))
    _only(block, {form, "of", "per", "within"})
    if "of" not in block:
        raise Misread(f"`{form}` without `of`", "say in `of` which receipts are counted", form)
    of = _selector(block["of"], "of")
    per = cast(Per, _word(block, "per", {"target", "agent", "initiator"}, ""))
    within = cast(Within, _word(block, "within", {"run", "record"}, "run"))
    if form == "at_most":
        return AtMost(of=of, n=_count(block, "at_most", least=0), per=per, within=within)
    if of.phase not in _ACTING:
        raise Misread(
            f"a sum over `{of.phase}` receipts", "select a phase that has amounts, such as `outcome`", "phase"
        )
    return SumAtMost(of=of, amount=_money(block["sum_at_most"], "sum_at_most"), per=per, within=within)


def _selector(table: Any, where: str) -> Selector:
    table = _table(table, where)
    phase = table.get("phase")
    if phase not in _PHASES:
        said = f"phase {phase!r}" if phase else f"`{where}` without a phase"
        raise Misread(said, f"`phase` is one of {_list(_PHASES)}", "phase" if phase else where)
    allowed = {"phase"} | _OF_ANY_PHASE
    if phase in _ACTING:
        allowed |= _OF_ACTIONS
    if phase in _SEEN:
        allowed |= {"status"}
    _only(table, allowed, of=f"`{phase}` receipts")
    parts: dict[str, Any] = {
        key: _money(value, key) if key in _AMOUNTS else _patterns(value, key)
        for key, value in table.items()
        if key != "phase"
    }
    return Selector(phase=str(phase), **parts)


def _requirements(block: Mapping[str, Any]) -> tuple[Requirement, ...]:
    phase = block["for"]["phase"]
    table = _table(block.get("requires"), "requires")
    if not table:
        raise Misread("nothing required", "name at least one requirement, such as `approval`", "requires")
    return tuple(_requirement(key, value, phase) for key, value in table.items())


def _requirement(key: str, value: Any, phase: str) -> Requirement:
    if key in ("approval", "target", "rule") and phase not in _ACTING:
        raise Misread(f"`{key}` required of `{phase}` receipts, which have no action", "select intents", key)
    if key == "observed_by" and phase not in _SEEN:
        raise Misread(f"`observed_by` required of `{phase}` receipts", "select outcomes", key)
    match key:
        case "approval":
            return _approval(_table(value, key))
        case "target":
            if value != "named":
                raise Misread(f"target {value!r}", '`target` can only be "named": among the resources of the run', key)
            return TargetNamed()
        case "rule":
            return RuleCited(_patterns(value, key))
        case "observed_by":
            observers = (value,) if isinstance(value, str) else tuple(_list_of_text(value, key))
            for observer in observers:
                if observer not in _OBSERVERS:
                    raise Misread(f"observer {observer!r}", f"an observer is one of {_list(_OBSERVERS)}", key)
            return ObservedBy(observers)
        case "preceded_by" | "followed_by":
            table = dict(_table(value, key))
            same = cast(Same, _word(table, "same", {"run", "step", "target"}, "run"))
            table.pop("same", None)
            form: type[Preceding] | type[Following] = Preceding if key == "preceded_by" else Following
            return form(of=_selector(table, key), same=same)
        case _:
            known = "`approval`, `target`, `rule`, `observed_by`, `preceded_by` or `followed_by`"
            raise Misread(f"the requirement `{key}`", f"a requirement is {known}", key)


def _approval(table: Mapping[str, Any]) -> ApprovalRequired:
    _only(table, {"role", "n", "before", "other_than"}, of="`approval`")
    if not isinstance(table.get("role"), str) or not table["role"]:
        raise Misread("an approval without a role", 'name it: `role = "support-lead"`', "approval")
    _word(table, "before", {"intent"}, "intent")
    other_than: Literal["", "initiator"] = cast(Any, _word(table, "other_than", {"initiator"}, ""))
    n = _count(table, "n", least=1) if "n" in table else 1
    return ApprovalRequired(role=table["role"], n=n, not_initiator=other_than == "initiator")


def _only(table: Mapping[str, Any], allowed: set[str] | frozenset[str], of: str = "this form") -> None:
    for key in table:
        if key not in allowed:
            raise Misread(f"`{key}` does not apply to {of}", f"use {_list(allowed)}", key)


def _table(value: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Misread(f"`{key}` is {'missing' if value is None else 'not a table'}", f"write `{key} = {{ … }}`", key)
    return value


def _word(table: Mapping[str, Any], key: str, words: set[str], absent: str) -> str:
    if key not in table:
        return absent
    if table[key] not in words:
        raise Misread(f"{key} {table[key]!r}", f"`{key}` is one of {_list(words)}", key)
    return str(table[key])


def _count(table: Mapping[str, Any], key: str, *, least: int) -> int:
    value = table[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise Misread(f"{key} {value!r}", f"`{key}` is a whole number, {least} or more", key)
    return value


def _money(value: Any, key: str) -> Money:
    expected = f'write an amount with its currency: `{key} = "200.00 EUR"`'
    if not isinstance(value, str) or len(value.split()) != 2:
        raise Misread(f"the amount {value!r}", expected, key)
    try:
        amount = Money.parse(*value.split())
    except (ValueError, InvalidOperation, OverflowError):
        raise Misread(f"the amount {value!r}", expected, key) from None
    if amount.minor < 0:
        raise Misread(f"the negative amount {value!r}", expected, key)
    return amount


def _patterns(value: Any, key: str) -> tuple[str, ...]:
    patterns = (value,) if isinstance(value, str) and value else tuple(_list_of_text(value, key))
    for pattern in patterns:
        if key in _CLOSED_WORDS and pattern not in _CLOSED_WORDS[key]:
            raise Misread(f"{key} {pattern!r}", f"`{key}` is one of {_list(_CLOSED_WORDS[key])}", key)
    return patterns


def _list_of_text(value: Any, key: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
        raise Misread(f"{key} {value!r}", f"`{key}` is a text or a list of texts, none of them empty", key)
    return value


def _list(words: set[str] | frozenset[str]) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words))
