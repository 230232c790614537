"""The in-toto Statement that a receipt signs.

Format: `docs/formats/receipt.md`.
"""

import functools
import hashlib
from collections.abc import Iterable
from typing import Any

from answerable.core import NotCanonical, canonical_json
from answerable.ledger._receipt import PREDICATE_TYPE, STATEMENT_TYPE, Draft
from answerable.ledger._vault import Vault

__all__ = ["predicate_of", "statement_json"]

_BEFORE = b'{"_type":"%b","predicate":' % STATEMENT_TYPE.encode()
_BETWEEN = b',"predicateType":"%b","subject":[' % PREDICATE_TYPE.encode()

# SECURITY: what verifiers and monitors would not read is not written. Whoever may put text on the record (the name of a
# signal, a reason) could otherwise have a run that nobody can check.
_MOST_BRACKETS = 10_000
_LARGEST_BYTES = 128 << 10  # a monitor reads 256 receipts at a time, 64 MiB at most
_LARGEST_ERASURE_BYTES = 750_000  # names up to 100,000 receipts one by one; a monitor reads 1 MiB of any


def statement_json(predicate: dict[str, Any], *, unproven: Iterable[Any]) -> bytes:
    """The one encoding of the Statement with this predicate, about its run and what its action is for.

    MEASURED: what stands around the predicate is written out by hand, 0.5 µs less than as part of the whole.

    Args:
        unproven: as `canonical_json` has it.

    Raises:
        NotCanonical: a verifier would not read it.
    """
    subject = _artefact(predicate["run"])
    if "action" in predicate and (target := predicate["action"].get("target")):
        subject += b"," + _artefact(target)
    body = b"".join((_BEFORE, canonical_json(predicate, unproven=unproven), _BETWEEN, subject, b"]}"))
    if len(body) > (most := _LARGEST_ERASURE_BYTES if predicate.get("phase") == "erasure" else _LARGEST_BYTES):
        raise NotCanonical(found=f"a receipt of {len(body):,} bytes, which may have {most:,}")
    if len(body) > _MOST_BRACKETS and body.count(b"{") + body.count(b"[") > _MOST_BRACKETS:
        raise NotCanonical(found=f"more than {_MOST_BRACKETS:,} `{{` and `[`, those in texts counted too")
    return body


@functools.lru_cache(maxsize=4096)
def _artefact(name: str) -> bytes:
    """A subject that is named, and stands for nothing but its name."""
    return canonical_json(_named(name))


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": hashlib.sha256(name.encode()).hexdigest()}}


def predicate_of(
    draft: Draft,
    receipt: str,
    seq: int,
    prev: str,
    at: str,
    boundary: dict[str, Any],
    committed: dict[str, str] | None,
    vault: Vault,
) -> dict[str, Any]:
    """The receipt proper: what a draft says once it has its number.

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
    return predicate


_SAID = {"run": "r", "action": {"target": "t"}}
assert statement_json(_SAID, unproven=()) == canonical_json(
    {
        "_type": STATEMENT_TYPE,
        "subject": [_named("r"), _named("t")],
        "predicateType": PREDICATE_TYPE,
        "predicate": _SAID,
    }
)
