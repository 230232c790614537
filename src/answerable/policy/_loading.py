"""From files to policies: read, re-keyed by `@id`, checked against what exists. All of it or nothing."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cedarpy

from answerable.policy._cedar import PRESENCE, WHOLE, CedarPolicy, parse_policies, policy_text, read_policy
from answerable.policy._errors import PolicyFailed, PolicyInvalid
from answerable.policy._schema import (
    CONTEXT,
    KINDS,
    QUESTION,
    STAND_IN,
    STANDINGS,
    KnownAction,
    action_id,
    groups_of,
    schema_text,
)

__all__ = ["SETS", "actions_mentioned", "files_of", "read_into", "schema_of", "text_of", "validate"]

SETS = ("authorize", "obligations")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def files_of(directory: Path, name: str) -> list[Path]:
    """The files of one set. SECURITY: a stray file is refused, because a `forbid` in it would silently not hold."""
    known = {f"{each}.cedar" for each in SETS}
    for file in directory.glob("*.cedar"):
        if file.name not in known:
            raise PolicyInvalid(where=str(file), problem="it belongs in `authorize` or in `obligations`")
    files = [directory / f"{name}.cedar"] if (directory / f"{name}.cedar").exists() else []
    for file in sorted((directory / name).iterdir()) if (directory / name).is_dir() else ():
        if file.name.startswith("."):
            continue
        if file.suffix != ".cedar" or not file.is_file():
            raise PolicyInvalid(where=str(file), problem="only `*.cedar` files stand here, and no directories")
        files.append(file)
    return files


def text_of(file: Path) -> str:
    """What a file says; PolicyInvalid where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyInvalid(where=str(file), problem=f"cannot be read ({type(error).__name__})") from None


def read_into(read: dict[str, CedarPolicy], text: str, *, where: str, obliges: bool) -> None:
    """Add the policies in a text to `read`; `obliges` says that they are obligations."""
    try:
        parsed = list(parse_policies(text))
    except ValueError as error:
        raise PolicyInvalid(where=where, problem=str(error)) from None
    for _, annotations, est in parsed:
        policy = annotations.get("id", "")
        if not _ID.fullmatch(policy):
            problem = (
                f"`@id({policy!r})` is not letters, digits, `.`, `_` and `-`" if policy else "a policy has no `@id`"
            )
            raise PolicyInvalid(where=where, problem=problem)
        if policy in read:
            raise PolicyInvalid(where=where, problem=f"`@id` `{policy}` stands twice")
        found = read_policy(policy, annotations, est)
        if obliges and not found.is_permit:
            problem = f"`{policy}` is a `forbid`: obligations add conditions to a permit, they forbid nothing"
            raise PolicyInvalid(where=where, problem=problem)
        if obliges != bool(found.obligations):
            problem = "has no `@obligation`" if obliges else "carries an `@obligation`: move it to `obligations`"
            raise PolicyInvalid(where=where, problem=f"`{policy}` {problem}")
        read[policy] = found


def actions_mentioned(policies: Iterable[CedarPolicy]) -> tuple[KnownAction, ...]:
    """What the policies name, taken to exist: where nobody says what does."""
    ids = {id for policy in policies for id in policy.mentions} - KINDS - {"approval"}
    return tuple(_known(id) for id in sorted(ids))


def _known(id: str) -> KnownAction:
    name = id[:-1] + STAND_IN if id.endswith("*") else id  # a group needs a member to be checked against
    kind, colon, rest = name.partition(":")
    return KnownAction(name=rest, kind=kind) if colon and kind in KINDS else KnownAction(name=name)  # type: ignore[arg-type]


def schema_of(known: Iterable[KnownAction], own: str, *, clauses: Iterable[str], where: str) -> cedarpy.Schema:
    """The schema of what exists, with what a `schema.cedarschema` adds; PolicyInvalid where that does not fit."""
    try:
        text = schema_text(known, clauses) + "\n" + own
        try:
            return cedarpy.Schema.from_str(text + "\ntype Attributes = {};")
        except ValueError:
            # Either `own` types the attributes itself, or it is wrong and this says how.
            return cedarpy.Schema.from_str(text)
    except (ValueError, PolicyFailed) as error:
        raise PolicyInvalid(where=where, problem=f"schema: {error}") from None


def validate(
    read: Mapping[str, CedarPolicy], schema: cedarpy.Schema, known: Sequence[KnownAction], *, where: str
) -> None:
    """PolicyInvalid where a policy names or reads what does not exist, or confuses types."""
    text = "\n".join(policy_text({policy.id: policy.est for policy in read.values()}).values())
    said = cedarpy.validate_policies(text, schema)
    if not said.validation_passed:
        named = said.id_annotations_by_policy_id
        problems = {f"`{named.get(error.policy_id, '?')}`: {_plain(error)}": None for error in said.errors}
        raise PolicyInvalid(where=where, problem="; ".join(problems))
    for policy in read.values():
        if "" in policy.clauses:
            raise PolicyInvalid(where=where, problem=f'`{policy.id}`: name the clause: `context.clauses["REFUND-1"]`')
        if unknown := policy.standings - STANDINGS:
            # SECURITY: to Cedar a comparison with a word that never occurs is merely false.
            words = ", ".join(sorted(STANDINGS))
            raise PolicyInvalid(where=where, problem=f"`{policy.id}`: a clause is {words}, and never `{min(unknown)}`")
        declared = {
            f"attributes.{name}" for each in [*known, QUESTION] if _covers(policy, each) for name in each.attributes
        }
        for name in sorted(policy.reads - declared - CONTEXT.keys() - {WHOLE, PRESENCE, "attributes"}):
            # SECURITY: to Cedar `context has ammount` is merely false, and a `forbid` behind it never applies.
            head, _, attribute = name.partition(".")
            if head != "attributes" or not _is_typed(attribute, schema):
                raise PolicyInvalid(where=where, problem=f"`{policy.id}`: there is no `context.{name}`")


def _covers(policy: CedarPolicy, known: KnownAction) -> bool:
    action = action_id(known.kind, known.name)
    return policy.can_apply(action, groups_of(action))


def _is_typed(attribute: str, schema: cedarpy.Schema) -> bool:
    """Whether the schema's `Attributes` has it: Cedar then accepts a bare access, or complains that it is optional."""
    read = f"context.attributes[{json.dumps(attribute)}]"
    when = f"context has attributes && {read} == {read}"
    probe = f'permit(principal, action == Action::"{STAND_IN}", resource) when {{ {when} }};'
    said = cedarpy.validate_policies(probe, schema)
    return said.validation_passed or all("optional attribute" in error.error for error in said.errors)


def _plain(error: cedarpy.ValidationError) -> str:
    return error.error.removeprefix(f"for policy `{error.policy_id}`, ")
