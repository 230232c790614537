"""The in-toto Statement that a receipt signs.

Format: `docs/formats/receipt.md`.
"""

from typing import Any

from answerable.ledger._receipt import PREDICATE_TYPE, STATEMENT_TYPE, Draft, artefact
from answerable.ledger._vault import Vault

__all__ = ["statement_of"]


def statement_of(
    draft: Draft,
    receipt: str,
    seq: int,
    prev: str,
    at: str,
    boundary: dict[str, Any],
    committed: dict[str, str] | None,
    vault: Vault,
) -> dict[str, Any]:
    """What a draft says once it has its number.

    Args:
        prev: digest of the run's receipt before it; empty where it is the first.
        boundary: who wrote it, and its number among what that boot has written.
        committed: commitments to its texts.
        vault: calls the people it names by their pseudonyms.
    """
    members = draft.members
    predicate: dict[str, Any] = {
        "id": receipt,
        "tenant": draft.tenant,
        "run": draft.run,
        "seq": seq,
        "boundary": boundary,
        "phase": draft.phase,
        "at": at,
        "agent": {"id": draft.agent, "build": draft.build} if draft.build else {"id": draft.agent},
        **members,
    }
    if prev:
        predicate["prev"] = prev
    if draft.step:
        predicate["step"] = draft.step
    if draft.branch:
        predicate["branch"] = draft.branch
    if draft.attempt:
        predicate["attempt"] = draft.attempt
    if draft.intent:
        predicate["intentRef"] = draft.intent
    if draft.on_behalf_of:
        predicate["onBehalfOf"] = draft.on_behalf_of
    if committed:
        predicate["commitments"] = committed
    control = members.get("control")
    if control and (subjects := control.get("subjects")):
        named = vault.called(draft.tenant, tuple(subjects))
        predicate["control"] = control = {**control, "subjects": list(named)}
    if draft.phase == "run.close":
        predicate["control"] = {**(control or {}), "count": seq, "last": prev}
    subject = [artefact(draft.run)]
    if "action" in members and (target := members["action"].get("target")):
        subject.append(artefact(target))
    return {"_type": STATEMENT_TYPE, "subject": subject, "predicateType": PREDICATE_TYPE, "predicate": predicate}
