"""An answer to an approval: what it says, what is signed, and which action an edit makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from answerable.core import Action, Description, Refused, StepKey, canonical_json, stable_json
from answerable.ledger import Receipt
from answerable.policy._errors import EditNotPossible
from answerable.policy._ports import Describes

__all__ = ["Answer", "Scope", "edited_action", "statement_of"]

Scope = Literal["action", "run"]

_FORMAT = "answerable-answer/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a person says to a held action.

    Args:
        decision: `edit` is an approval of the action with other arguments.
        scope: `run` decides the same for the rest of the run.
        edited: digest of the action as edited; empty for any other decision.
        also: further values that the rest of the run's critical arguments may have.
    """

    decision: Literal["approve", "reject", "edit"]
    role: str
    reason: str = ""
    scope: Scope = "action"
    edited: str = ""
    also: tuple[str, ...] = ()


def statement_of(held: Mapping[str, Any], answer: Answer, *, key: str) -> bytes:
    """Exactly what a person signs.

    Args:
        held: `tenant`, `run`, `approval` and `digest` of what was held.
        key: id of the key it is signed with.

    Source: `docs/formats/receipt.md`, "Signatures of people".
    """
    return canonical_json(
        {
            "format": _FORMAT,
            "tenant": held["tenant"],
            "run": held["run"],
            "approval": held["approval"],
            "digest": held["digest"],
            "decision": answer.decision,
            "role": answer.role,
            "scope": answer.scope,
            "edited": answer.edited,
            "reason": answer.reason,
            "key": key,
        }
    )


def edited_action(
    held: Receipt, arguments: bytes, subjects: tuple[str, ...], describe: Describes | None, *, approval: str
) -> Action:
    """The action that a held one becomes with other arguments.

    Args:
        held: its receipt.
        subjects: the people whom the held action concerns.
        describe: None where no gate runs, which alone knows the tools.

    Raises:
        EditNotPossible: there is no such call.
    """
    said = held.predicate
    action = said["action"]
    if describe is None:
        raise EditNotPossible(approval=approval, problem="only a running gate knows the tool")
    try:
        given = orjson.loads(arguments)
        if not isinstance(given, dict):
            raise ValueError
        described: Description = describe(action["kind"], action["name"], stable_json(given))
    except ValueError:
        raise EditNotPossible(approval=approval, problem="the new ones are no JSON object") from None
    except Refused as error:
        raise EditNotPossible(approval=approval, problem=error.message) from None
    subjects = () if subjects == (said["run"],) else subjects
    return Action(
        tenant=said["tenant"],
        run=said["run"],
        agent=said["agent"]["id"],
        step=StepKey(said["step"]),
        branch=said.get("branch", ""),
        kind=action["kind"],
        name=action["name"],
        arguments=stable_json(given),
        described=described,
        environment="",
        idempotency_key=action["idempotencyKey"],
        subjects=tuple(sorted({*subjects, *described.subjects})),
    )
