"""What receipts say of an action, of what decided it, and of the error it came to."""

from typing import Any

import orjson

from answerable.core import Action, Decision, Money, Outcome, canonical_json, sha256_name
from answerable.ledger._record import Transaction

__all__ = ["action_digest", "action_members", "authority_of", "error_code"]


def authority_of(tx: Transaction, action: Action, decision: Decision, decided: str) -> dict[str, Any]:
    """What decided, so that it can be evaluated again from the record alone."""
    authority: dict[str, Any] = {
        "decision": decided,
        "rules": list(decision.rules),
        "request": tx.store(action.tenant, decision.request),
        "asOf": tx.position_of(action.tenant),
    }
    if decision.policy:
        authority["policy"] = decision.policy
    if decision.obligations:
        authority["obligations"] = [str(obligation) for obligation in decision.obligations]
    if decision.provenance:
        authority["provenance"] = list(decision.provenance)
    return authority


def action_members(action: Action, digest: str) -> dict[str, Any]:
    """What a receipt says of the action itself."""
    described = action.described
    said: dict[str, Any] = {
        "kind": action.kind,
        "name": action.name,
        "effect": str(described.effect),
        "idempotencyKey": action.idempotency_key or action.step,
        "digest": digest,
    }
    if described.target:
        said["target"] = described.target
    if described.schema:
        said["schema"] = described.schema
    if described.amount:
        said["amount"] = described.amount.to_json()
    members: dict[str, Any] = {"action": said}
    basis: dict[str, Any] = {}
    if described.specs:
        basis["specs"] = list(described.specs)
    if described.model:
        basis["model"] = described.model
    if basis:
        members["basis"] = basis
    if action.labels:
        members["labels"] = list(action.labels)
    return members


def action_digest(action: Action, input_: str) -> str:
    """Names what is to be done, over commitments: approvals are bound to it.

    Source: `docs/formats/receipt.md`, "Action digest".
    """
    amount: Money | None = action.described.amount
    said = {
        "run": action.run,
        "step": action.step,
        "kind": action.kind,
        "name": action.name,
        "effect": str(action.described.effect),
        "target": action.described.target,
        "idempotencyKey": action.idempotency_key or action.step,
        "input": input_,
        "amount": amount.to_json() if amount else {},
    }
    return sha256_name(canonical_json(said, unproven=()))  # of texts and whole numbers, by its types


def error_code(outcome: Outcome) -> str:
    """The code of the error that an outcome carries; empty where it carries none."""
    said = orjson.loads(outcome.value)
    code: str = said.get("code", "") if isinstance(said, dict) else ""
    return code
