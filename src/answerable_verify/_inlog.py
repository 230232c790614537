"""A bundle's receipts in the log: inclusion, checkpoint, and those who watched it.

Format: `docs/formats/log.md`, `docs/formats/bundle.md`.
"""

import hashlib
import re
from array import array
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from answerable_verify._checkpoint import BadCheckpoint, Checkpoint, read_checkpoint
from answerable_verify._desk import Desk
from answerable_verify._filed import NO_GATE, Filed
from answerable_verify._history import check_counters
from answerable_verify._long import places_of
from answerable_verify._receipt import BadReceipt, Receipt, read_receipt
from answerable_verify._timestamps import BadTimestamp, can_read, stamped_at
from answerable_verify._tree import BadProof, leaf_hash, prefix_root, shared_root
from answerable_verify._trust import Trust
from answerable_verify._watchers import cosigned

__all__ = ["check_checkpoint", "check_log", "check_period", "claimed_id", "read_note"]

OLDER = "checkpoint.from.txt"
_HEX64 = re.compile(r"[0-9a-f]{64}")
_PLACE = re.compile(r"0|[1-9][0-9]{0,15}")
_SKEW_S = 300  # how far the gate's clock may be from those outside before it counts as wrong


def check_log(desk: Desk, filed: Filed, keys: Trust | None, *, span: int | None) -> Checkpoint | None:
    """Check that the receipts are in the log, and that the log is what others saw.

    Args:
        span: the size from which on the bundle says that it holds every entry; None where it does not say so.
    """
    checkpoint = read_note(desk, "checkpoint.txt")
    if checkpoint and keys:
        check_checkpoint(desk, checkpoint, filed, keys)
    proofs, risen = places_of(desk, filed) or (desk.json("proofs.json", "inclusion"), None)
    if proofs is not None:
        found = _check_inclusion(desk, proofs, risen, checkpoint, filed)
        if found is not None and checkpoint and keys and span is not None:
            _check_complete(desk, *found, checkpoint, filed, keys, span)
    return checkpoint


def read_note(desk: Desk, member: str) -> Checkpoint | None:
    """A checkpoint of the bundle; None, with a finding, where it cannot be read."""
    if member not in desk.members:
        return None  # the manifest check has said so
    desk.counts["checkpoint"] += 1
    try:
        return read_checkpoint(desk.members[member])
    except BadCheckpoint as error:
        desk.say("checkpoint", str(error), member=member)
        return None


def check_checkpoint(
    desk: Desk, checkpoint: Checkpoint, filed: Filed, keys: Trust, *, member: str = "checkpoint.txt"
) -> None:
    """Check whose log it is, and who saw it."""
    _check_signed(desk, checkpoint, filed, keys, member)
    if desk.trust is None:
        return
    seen_s = _check_watchers(desk, checkpoint, desk.trust, member)
    if member == OLDER:
        if seen_s:
            _check_clock(desk, filed, not_before_s=max(seen_s))
        return
    seen_s += _check_timestamps(desk, checkpoint, desk.trust)
    if seen_s:
        _check_clock(desk, filed, not_after_s=min(seen_s))


def _check_watchers(desk: Desk, checkpoint: Checkpoint, trust: Trust, member: str) -> list[int]:
    """When those of the trust cosigned, in seconds since 1970."""
    pinned = (*trust.witnesses, *trust.monitors)
    times, false = cosigned(checkpoint, pinned)
    desk.counts["witnesses"] += len(times) + len(false)
    for cosigner in false:
        desk.say("witnesses", f"the cosignature of `{cosigner.name}` does not hold", member=member)
    for cosigner, at_s in times.items():
        role = "monitor" if cosigner in trust.monitors else "witness"
        desk.notes.append(f"{member}: cosigned by the {role} `{cosigner.name}` at {_time(at_s)}")
    if member == OLDER:
        return list(times.values())
    enough = sum(witness in times for witness in trust.witnesses)
    if trust.witnesses and enough >= trust.quorum:
        is_monitored = any(monitor in times for monitor in trust.monitors)
        desk.assurance = "witnessed+monitored" if is_monitored else "witnessed"
    elif trust.witnesses:
        desk.questions.append(
            f"cosigned by {enough} of {len(trust.witnesses)} witnesses, and your trust file asks for {trust.quorum}:"
            " whether others are shown the same log cannot be told"
        )
    if trust.monitors and not any(monitor in times for monitor in trust.monitors):
        desk.notes.append("no monitor of the trust file signed this checkpoint")
    return list(times.values())


def _check_timestamps(desk: Desk, checkpoint: Checkpoint, trust: Trust) -> list[int]:
    """When authorities of the trust stamped the checkpoint, in seconds since 1970."""
    stamps = {name: desk.members[name] for name in desk.members if name.startswith("timestamps/")}
    if not trust.tsa_roots or not stamps:
        if stamps or trust.tsa_roots:
            desk.notes.append(f"{len(stamps)} timestamps, {len(trust.tsa_roots)} authorities in the trust file")
        return []
    if not can_read():
        desk.notes.append(f"{len(stamps)} timestamps are not checked: install answerable-verify[timestamps]")
        return []
    found, faults = [], []
    for name, body in sorted(stamps.items()):
        try:
            at = stamped_at(body, checkpoint.signed, trust.tsa_roots)
        except BadTimestamp as error:
            faults.append((name, str(error)))
            continue
        found.append(int(at.timestamp()))
        desk.notes.append(f"{name}: an authority of the trust file saw the checkpoint at {_time(found[-1])}")
    desk.counts["timestamps"] = len(stamps)
    for name, fault in faults:
        if found:  # another authority's, which the trust file does not name
            desk.notes.append(f"{name}: not by an authority of the trust file")
        else:
            desk.say("timestamps", f"holds under no root of the trust file: {fault}", member=name)
    return found


def _check_clock(desk: Desk, filed: Filed, *, not_before_s: int | None = None, not_after_s: int | None = None) -> None:
    """Check the gate's times against those of others: what they saw was written before, and what comes later, after."""

    def is_late(at_s: float) -> bool:
        return not_after_s is not None and at_s > not_after_s + _SKEW_S

    def is_early(at_s: float) -> bool:
        return not_before_s is not None and at_s < not_before_s - _SKEW_S

    ends = [datetime.fromisoformat(at).timestamp() for at in (filed.first_at, filed.last_at) if at]
    if not any(is_late(at_s) or is_early(at_s) for at_s in ends):
        return
    for receipt in filed:
        at_s = datetime.fromisoformat(receipt.at).timestamp()
        if is_late(at_s):
            seen = _time(not_after_s or 0)
            desk.say("time", f"written at {receipt.at}, and seen outside before, at {seen}", receipt)
        if is_early(at_s):
            seen = _time(not_before_s or 0)
            desk.say("time", f"written at {receipt.at}, and not in the log seen at {seen}", receipt)


def _time(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()[:19] + "Z"


def _check_complete(
    desk: Desk,
    places: Collection[int],
    nodes: dict[tuple[int, int], bytes],
    checkpoint: Checkpoint,
    filed: Filed,
    keys: Trust,
    span: int,
) -> None:
    """Check that nothing between the older checkpoint and this one was left out."""
    # SECURITY: counted, never listed: the size is whatever the checkpoint says.
    wanted = max(checkpoint.size - span, 0)
    held = sum(span <= place < checkpoint.size for place in places)
    desk.counts["complete"] = wanted or 1
    if not wanted or held < wanted:
        rising = sorted(place for place in places if span <= place < checkpoint.size)
        first = next((span + n for n, place in enumerate(rising) if place != span + n), span + held)
        missing = wanted - held
        desk.say("complete", f"entry {first} of the log is not here, and {missing} in all", member="proofs.json")
    if len(places) > wanted:
        desk.say("complete", f"holds entries from before entry {span}", member="proofs.json")
    if not span:
        return
    older = read_note(desk, OLDER)
    if older is None:
        desk.say("complete", "the older checkpoint is missing", member=OLDER)
        return
    check_checkpoint(desk, older, filed, keys, member=OLDER)
    try:
        root = prefix_root(span, nodes)
    except BadProof as error:
        desk.say("complete", f"the older log does not follow from the proof: {error}", member="proofs.json")
        return
    if older.size != span or older.root != root:
        desk.say("complete", "the older checkpoint is not the beginning of this log", member=OLDER)


def _check_signed(desk: Desk, checkpoint: Checkpoint, filed: Filed, keys: Trust, member: str) -> None:
    def say(check: str, what: str) -> None:
        desk.say(check, what, member=member)

    if checkpoint.origin != keys.origin:
        say("checkpoint", f"of the log `{checkpoint.origin[:120]}`, not of `{keys.origin}`")
    elif not (signers := [key for key in keys.log_keys if checkpoint.is_signed_by(key)]):
        if any(checkpoint.is_signed_by(key) for key in keys.gate_keys.values()):
            say("key-role", "signed with the gate's key, which signs receipts only")
        else:
            say("checkpoint", "the log's signature is missing or does not hold")
    elif member != OLDER and filed and not any(_was_in_use(desk, key, filed) for key in signers):
        say("key-period", "signed with a log key that was out of use when the last of these receipts was written")
    tenant = checkpoint.origin.rpartition("/")[2]
    for receipt in filed if filed.tenants - {tenant} else ():
        if receipt.tenant != tenant:
            desk.say("checkpoint", f"of another tenant than the log's, `{tenant[:64]}`", receipt)


def _was_in_use(desk: Desk, key: bytes, filed: Filed) -> bool:
    """Whether the log key was still in use when the newest receipt under its checkpoint was written."""
    until = desk.trust.periods.get(hashlib.sha256(key).hexdigest(), ("", ""))[1] if desk.trust else ""
    desk.counts["key-period"] += bool(until)
    # SECURITY: a retired key that fell into other hands could sign a longer log than it ever did.
    return not until or filed.last_at <= until


def check_period(desk: Desk, key: str, at: str, did: str, receipt: Receipt) -> None:
    """Check that a key, named by its id, was in use at a time, by the dates of the trust."""
    start, end = desk.trust.periods.get(key, ("", "")) if desk.trust else ("", "")
    if not start and not end:
        return
    desk.counts["key-period"] += 1
    if (start and at < start) or (end and at > end):
        desk.say("key-period", f"{did} at {at}, when its key was not in use ({start or '…'} to {end or '…'})", receipt)


def _check_inclusion(
    desk: Desk, proofs: dict[str, Any], risen: "array[int] | None", checkpoint: Checkpoint | None, filed: Filed
) -> tuple[Collection[int], dict[tuple[int, int], bytes]] | None:
    """The places and nodes that the proof gives; None where it does not hold.

    Args:
        risen: the place of each receipt, each higher than the one before; None where `proofs` says what they are.
    """

    def say(what: str) -> None:
        desk.say("inclusion", what, member="proofs.json")

    places, nodes = proofs.get("leaves"), proofs.get("nodes")
    stated = proofs.get("size")
    size = checkpoint.size if checkpoint else stated
    if (
        type(stated) is not int  # `true` is no size, though Python takes it for 1
        or stated != size
        or not isinstance(places, dict)
        or not isinstance(nodes, dict)
    ):
        say("states another tree size than the checkpoint, or no leaves and nodes")
        return None
    try:
        given = {
            (int(level), int(index)): bytes.fromhex(node)
            for level, row in nodes.items()
            for index, node in row.items()
            if (_HEX64.fullmatch(node) and _PLACE.fullmatch(level) and _PLACE.fullmatch(index)) or _malformed()
        }
    except (ValueError, AttributeError, TypeError):
        say("the nodes are malformed")
        return None
    if risen is None:
        if any(type(index) is not int for index in places.values()) or len(set(places.values())) != len(places):
            say("the leaves are malformed, or two receipts claim one leaf")
            return None
        _check_places(desk, places)
    else:
        desk.counts["inclusion"] = len(risen)
    of_each = risen if risen is not None else [places.get(name) for name in filed.names]

    def rows() -> Iterable[tuple[int, int, bytes, int, int]]:
        """Of each receipt with a place: place, number, digest, gate, its number there; in the order of the log."""
        lines = enumerate(zip(of_each, filed.lines(), strict=True))
        found = ((place, at, line[0], line[1], line[2]) for at, (place, line) in lines if place is not None)
        return found if risen is not None else sorted(found)

    try:
        root = shared_root(((row[0], leaf_hash(row[2])) for row in rows()), size=size, nodes=given)
    except BadProof as error:
        say(f"the proof does not fit: {error}")
        return None
    if checkpoint and root != checkpoint.root:
        say("receipts and proof lead to another root hash than the checkpoint's: one was altered or never logged")
    desk.counts["counters"] = len(filed)
    counted = ((place, gate, n, at) for place, at, _, gate, n in rows() if gate != NO_GATE)
    check_counters(counted, at=filed.at, say=desk.say)
    return (places.values() if risen is None else risen), given


def _check_places(desk: Desk, places: Mapping[str, Any]) -> None:
    """Check that every receipt has its place, and every place its receipt."""
    envelopes = [name for name in desk.members if name.startswith("receipts/")]
    desk.counts["inclusion"] = len(envelopes)
    alone = {name for name in envelopes if name not in places}
    alone |= {name for name in places if not name.startswith("receipts/") or name not in desk.members}
    for member in sorted(alone):
        there = member not in places
        claimed = claimed_id(desk.members[member]) if there else ""
        desk.say(
            "inclusion",
            "has no place in the log" if there else "has a place in the log, and is missing from the bundle",
            member=member[:80],
            claimed=claimed,
        )


def _malformed() -> bool:
    raise ValueError


def claimed_id(content: bytes) -> str:
    """The id that a damaged receipt still shows; empty where none can be read."""
    try:
        return read_receipt(content).id
    except BadReceipt as error:
        return error.receipt
