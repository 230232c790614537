"""The verification: every check in order, over one bundle.

Format: `docs/formats/bundle.md`.
"""

import gc
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from answerable_verify._checkpoint import Checkpoint
from answerable_verify._container import BadContainer, Container
from answerable_verify._cores import read_all
from answerable_verify._desk import Desk
from answerable_verify._erasures import check_closed, check_erasures, check_gone, check_told
from answerable_verify._filed import Filed
from answerable_verify._history import check_chain
from answerable_verify._inlog import check_checkpoint, check_log, check_period, claimed_id
from answerable_verify._long import rest_of_manifest
from answerable_verify._people import check_people
from answerable_verify._proof import FIRST_LINE, BadProofFile, check_path, split_proof
from answerable_verify._reading import Read, read_envelopes
from answerable_verify._receipt import Receipt
from answerable_verify._report import COVERS, ISOLATIONS, Assurance, Check, Finding, Report, RunSummary
from answerable_verify._steps import check_steps
from answerable_verify._texts import check_requests, check_texts, named_texts
from answerable_verify._trust import BadTrust, Trust, claimed_trust, read_trust

__all__ = ["Seen", "verify", "verify_members"]

_LARGEST_PROOF_BYTES = 2 << 20
MANIFEST_FORMAT = "answerable-bundle/1"
_HEX64 = re.compile(r"[0-9a-f]{64}")
_UNLISTED = object()
_REQUIRED = ("manifest.json", "checkpoint.txt", "proofs.json", "keys.json")

_NOT_ESTABLISHED = (
    "that what the gate was told from outside is true: a receipt says what was observed, and by whom",
    "that nobody holds a copy of the gate's or the log's key: its holder can sign anything",
    "that the gate's clock was right: times are the gate's own",
    "that nothing was done past the gate, where the agent could reach the outside without it",
    "that the policy would decide the same again: `answerable policy replay` shows that",
    "anything about report.html, README.txt and VERIFY.sh in the bundle: they are conveniences, and nobody signed them",
)
_NOT_WITNESSED = "that the log shows everybody the same history: that takes witnesses or two checkpoints compared"
_NOT_MONITORED = "that somebody outside looked at every receipt of the log: that takes a monitor"
_NOT_APART = {
    "same-process": "that the agent's own code, in the gate's process, did not use the gate's keys",
    "same-user": "that the agent, a process of the gate's own user, did not read the gate's keys or memory",
    "separate-user": "that nobody became the gate's user, or root, on its machine",
}
_UNPINNED = "whose keys these are: without a trust file anybody could have made the whole bundle"


@dataclass(slots=True)
class Seen:
    """Envelopes already found well formed and well signed, so that bundles that share receipts cost less."""

    good: dict[tuple[bytes, bytes], Receipt] = field(default_factory=dict)

    def read(
        self, members: Mapping[str, bytes], names: Sequence[str], keys: Mapping[str, bytes]
    ) -> Iterator[list[Read]]:
        """What became of these members; those that are known are not read again."""
        for name in names:
            envelope = members[name]
            digest = hashlib.sha256(envelope).digest()
            if known := next((self.good[digest, key] for key in keys.values() if (digest, key) in self.good), None):
                yield [Read(digest, known if known.member == name else replace(known, member=name), holds=True)]
                continue
            (read,) = read_envelopes([(name, envelope)], keys)
            if read.receipt and read.holds:
                self.good[digest, keys[read.receipt.key_id]] = read.receipt
            yield [read]


def verify(bundle: Path | str, trust: Path | str | None = None) -> Report:
    """Everything that can be told about a bundle, offline.

    Args:
        bundle: an evidence ZIP or a `.tlog-proof`, from anybody.
        trust: the verifier's own trust file; without one the best verdict is `self-consistent`, and a
            `.tlog-proof` cannot be judged.

    Raises:
        BadTrust: the trust file cannot be used.
        OSError: the bundle cannot be opened.
    """
    pinned = read_trust(trust) if trust is not None else None
    with Path(bundle).open("rb") as file:
        is_proof = file.read(len(FIRST_LINE)) == FIRST_LINE
        raw = FIRST_LINE + file.read(_LARGEST_PROOF_BYTES) if is_proof else b""
    try:
        if is_proof:
            return _verify_proof(raw, pinned)
        with Path(bundle).open("rb") as file:
            return verify_members(Container(file), pinned)
    except BadContainer as error:
        found = Finding(check="container", what=str(error), member=error.member)
        checks = tuple(_check(name, Counter({"container": 1}), {"container"}) for name in COVERS)
        return Report(verdict="does not verify", assurance="", checks=checks, findings=(found,))


def _verify_proof(raw: bytes, trust: Trust | None) -> Report:
    """One receipt: whose it is, and that it is in the log."""
    if trust is None:
        raise BadTrust("a tlog-proof carries no keys: give a trust file")
    try:
        envelope, index, path, note = split_proof(raw)
    except BadProofFile as error:
        raise BadContainer(str(error)) from None
    desk = Desk(members={"receipts/000001.json": envelope, "checkpoint.txt": note}, trust=trust)
    desk.counts["container"] = 1
    with closing(_filing(desk)) as filed:
        _read_receipts(desk, trust, None, filed)
        checkpoint = check_path(desk, envelope, index, path)
        if checkpoint:
            check_checkpoint(desk, checkpoint, filed, trust)
        desk.notes += [f"receipt `{each.id}`, phase {each.phase}, of `{each.run}`, entry {index}" for each in filed]
        desk.notes.append("one receipt: nothing is said of what came before and after it")
        return _report(desk, filed, (), checkpoint)


def verify_members(members: Mapping[str, bytes], trust: Trust | None = None, *, seen: Seen | None = None) -> Report:
    """Everything that can be told about the members of a bundle.

    Args:
        members: content by name, as `read_container` gives it, or a `Container`, which reads each when it is needed.
        trust: pinned keys.
        seen: kept by the caller between bundles that share receipts.
    """
    desk = Desk(members=members, trust=trust)
    desk.counts["container"] = len(members)
    with _undisturbed(), closing(_filing(desk)) as filed:
        return _verify_bundle(desk, trust, seen, filed)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without collections: nothing here is garbage before the end, and looking for it again and again costs a sixth."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _filing(desk: Desk) -> Filed:
    return Filed(desk.receipts, named_texts(desk.others))


def _verify_bundle(desk: Desk, trust: Trust | None, seen: Seen | None, filed: Filed) -> Report:
    keys = trust or _claimed_keys(desk)
    _read_receipts(desk, keys, seen, filed)
    manifest = _check_manifest(desk, filed)
    span = _span(desk, manifest)
    runs = _check_runs(desk, filed, manifest, span=span)
    _check_disclosed(desk, filed)
    _check_people(desk, filed)
    checkpoint = check_log(desk, filed, keys, span=span)
    if span is not None and not desk.findings:  # else what is missing would be blamed on what is here
        check_told(filed.of_phase("erasure"), say=desk.say)
    _note_isolation(desk, filed)
    return _report(desk, filed, runs, checkpoint)


def _report(desk: Desk, filed: Filed, runs: tuple[RunSummary, ...], checkpoint: Checkpoint | None) -> Report:
    trust = desk.trust
    rank = list(COVERS)
    desk.findings.sort(key=lambda found: rank.index(found.check))
    failed = {found.check for found in desk.findings}
    if failed:
        verdict, assurance = "does not verify", ""
    else:
        verdict = "undetermined" if desk.questions else "verified" if trust else "self-consistent"
        assurance = desk.assurance if trust else "dev"
    return Report(
        verdict=verdict,  # type: ignore[arg-type]
        assurance=assurance,  # type: ignore[arg-type]
        checks=tuple(_check(name, desk.counts, failed) for name in COVERS),
        findings=tuple(desk.findings),
        open_questions=tuple(desk.questions),
        runs=runs,
        notes=tuple(desk.notes),
        not_established=not_established(assurance, desk.isolation),  # type: ignore[arg-type]
        isolation=desk.isolation,
        receipts=len(filed),
        origin=checkpoint.origin if checkpoint else "",
        tree_size=checkpoint.size if checkpoint else 0,
    )


def _check(name: str, counts: Counter[str], failed: set[str]) -> Check:
    status = "failed" if name in failed else "passed" if counts[name] else "not checked"
    return Check(name=name, covers=COVERS[name], status=status, count=counts[name])  # type: ignore[arg-type]


def not_established(assurance: Assurance, isolation: str = "") -> tuple[str, ...]:
    """What a pass of this grade does not show."""
    apart = tuple(_NOT_APART[kind] for kind in (isolation,) if kind in _NOT_APART)
    watched = {"witnessed": (_NOT_MONITORED,), "witnessed+monitored": ()}.get(assurance, (_NOT_WITNESSED,))
    unpinned = (_UNPINNED,) if assurance == "dev" else ()
    return (*unpinned, *_NOT_ESTABLISHED[:2], *apart, *watched, *_NOT_ESTABLISHED[2:])


def _span(desk: Desk, manifest: dict[str, Any]) -> int | None:
    """From which size of the log on the bundle says that it is complete."""
    said = manifest.get("complete")
    if said is None:
        return None
    found = said.get("from") if isinstance(said, dict) else None
    if type(found) is not int or found < 0:
        desk.say("complete", "the manifest does not say from which size on", member="manifest.json")
        return None
    return found


def _check_manifest(desk: Desk, filed: Filed) -> dict[str, Any]:
    """What the manifest says beside the members that it lists."""
    for name in _REQUIRED:
        if name not in desk.members:
            desk.say("manifest", "the bundle has no such member", member=name)
    rest = rest_of_manifest(desk, filed)
    manifest: dict[str, Any] | None = desk.json("manifest.json", "manifest") if rest is None else rest
    if manifest is None:
        return {}
    if manifest.get("format") != MANIFEST_FORMAT:
        desk.say("manifest", f"the format is not {MANIFEST_FORMAT}", member="manifest.json")
    listed = manifest.pop("members", None)
    if not manifest:
        return manifest
    if not isinstance(listed, dict):
        desk.say("manifest", "lists no members", member="manifest.json")
        return manifest
    if rest is None:
        _check_listed(desk, filed, listed)
    else:
        desk.counts["manifest"] += len(desk.members) - 1
    strange = sorted(name for name in desk.others if name.startswith("receipts/"))
    if manifest.get("receipts") != (count := len(desk.receipts) + len(strange)):
        desk.say("manifest", f"states another number of receipts than the {count} there are", member="manifest.json")
    for name in strange:
        desk.say("manifest", "not a receipt's name", member=name)
    return manifest


def _check_listed(desk: Desk, filed: Filed, listed: dict[str, Any]) -> None:
    """Check what the manifest lists, name by name."""
    unlike: dict[str, object] = {}
    for name, (digest, *_) in zip(desk.receipts, filed.lines(), strict=True):
        if (stated := listed.pop(name, _UNLISTED)) != digest.hex():
            unlike[name] = stated
    others = {*listed, *(name for name in desk.others if name != "manifest.json")}
    desk.counts["manifest"] += len(desk.receipts) + len(others)
    for name in sorted(others | unlike.keys()):
        stated = unlike.get(name, listed.get(name, _UNLISTED))
        if name not in desk.members:
            desk.say("manifest", "listed, and missing from the bundle", member=name[:80])
        elif stated is _UNLISTED:
            desk.say("manifest", "not listed", member=name, claimed=claimed_id(desk.members[name]))
        elif name in unlike or desk.digest(name).hex() != stated:
            what = "not the content that the manifest lists"
            desk.say("manifest", what, member=name, claimed=claimed_id(desk.members[name]))


def _claimed_keys(desk: Desk) -> Trust | None:
    if "keys.json" not in desk.members:
        return None
    try:
        return claimed_trust(desk.members["keys.json"])
    except BadTrust as error:
        desk.say("key-role", str(error), member="keys.json")
        return None


def _read_receipts(desk: Desk, keys: Trust | None, seen: Seen | None, filed: Filed) -> None:
    """Check each receipt by itself, and put aside those that can be read."""
    names = desk.receipts
    desk.counts.update(dict.fromkeys(("envelope", "statement", "signature", "key-role"), len(names)))
    gate_keys = keys.gate_keys if keys else {}
    reads = read_all(desk.members, names, gate_keys) if seen is None else seen.read(desk.members, names, gate_keys)
    is_dated = bool(desk.trust and desk.trust.periods)
    for some in reads:
        first = filed.met
        filed.add(some)
        for at, (_, receipt, holds, fault) in enumerate(some, first):
            if receipt is None:
                assert fault is not None
                check, what, claimed = fault
                desk.say(check, what, member=names[at], claimed=claimed)
                desk.is_all_readable = False
                continue
            if not holds:
                _say_unsigned(desk, receipt, keys, is_known=holds is not None)
                desk.damaged.add(receipt.id)
            # SECURITY: the gate states its own time; those who watch the log hold it to theirs.
            if is_dated:
                check_period(desk, receipt.key_id, receipt.at, "written", receipt)
    if not filed:
        desk.say("envelope", "the bundle holds no readable receipt")


def _say_unsigned(desk: Desk, receipt: Receipt, keys: Trust | None, *, is_known: bool) -> None:
    """Say why no gate is known to have signed a receipt."""
    if is_known:
        desk.say("signature", "the signature does not hold: the receipt was altered after it was signed", receipt)
    elif keys is None:
        desk.say("signature", "there is no key to check it with", receipt)
    elif receipt.key_id in {hashlib.sha256(key).hexdigest() for key in keys.log_keys}:
        desk.say("key-role", "signed with the log's key, which signs checkpoints only", receipt)
    else:
        whose = "the trust file" if desk.trust else "keys.json"
        desk.say("signature", f"signed by the key {receipt.key_id[:16]}…, which {whose} does not name", receipt)


def _check_runs(desk: Desk, filed: Filed, manifest: dict[str, Any], *, span: int | None) -> tuple[RunSummary, ...]:
    for receipt, first in filed.doubled():
        desk.say("chain", f"the id was used before, in {first}", receipt)
    listed = manifest.get("runs", [])
    for name in listed if isinstance(listed, list) else []:
        if str(name) not in filed.runs:
            desk.say("chain", f"no receipt of the run `{str(name)[:64]}` that the manifest lists")
    return tuple(_check_run(desk, filed, name, span=span) for name in filed.runs)


def _check_run(desk: Desk, filed: Filed, name: str, *, span: int | None) -> RunSummary:
    run = filed.run(name)
    faults = len(desk.findings)
    _check_order(desk, run)
    run.sort(key=lambda receipt: receipt.seq)
    check_chain(run, damaged=desk.damaged, say=desk.say, may_begin_late=bool(span))
    began_before = bool(span) and run[0].seq > 0
    is_whole = len(desk.findings) == faults and desk.is_all_readable and desk.damaged.isdisjoint(r.id for r in run)
    # Where receipts are missing, those that answer them are not to blame.
    steps = check_steps(run, say=desk.say if is_whole and not began_before else _say_nothing)
    if began_before:
        desk.notes.append(f"the steps of `{name}` were not judged: it began before the older checkpoint")
    elif not is_whole:
        desk.notes.append(f"the steps of `{name}` were not judged: receipts of it are missing or damaged")
    for check in ("chain", "time"):
        desk.counts[check] += len(run)
    if is_whole and not began_before:
        desk.counts["steps"] += sum(1 for receipt in run if receipt.step)
        desk.counts["approvals"] += steps.approvals
        desk.counts["digests"] += steps.digests
        desk.counts["erasures"] += check_erasures(run, say=desk.say)
        check_closed(run, say=desk.say)
    closed = next((receipt for receipt in run if receipt.phase == "run.close"), None)
    state = str(closed.section("control").get("state", "closed")) if closed else "open"
    if closed is None and span is not None:
        desk.notes.append(f"`{name}` was open at the checkpoint")
    elif closed is None and not name.startswith("control:"):
        desk.questions.append(f"run `{name}` has no run.close: receipts after seq {run[-1].seq} may be missing")
    unknown = () if began_before else tuple(intent.id for intent in steps.unknown)
    return RunSummary(run=name, receipts=len(run), state=state, unknown=unknown)


def _say_nothing(check: str, what: str, receipt: Receipt | None) -> None:
    pass


def _check_order(desk: Desk, run: list[Receipt]) -> None:
    """Members stand in the order of the log, hence each run in the order of its seq."""
    for before, after in pairwise(run):
        if after.seq < before.seq:
            desk.say("chain", f"stands after `{before.id}`, whose seq is higher", after)


def _check_disclosed(desk: Desk, filed: Filed) -> None:
    are_all_readable = not desk.damaged and desk.is_all_readable
    found = check_texts(desk.members, desk.others, filed, are_all_readable=are_all_readable)
    matched, undisclosed, faults = found
    desk.counts["texts"] = matched + len(faults)
    for member, fault in faults:
        desk.say("texts", fault, member=member)
    erased, still_here = check_gone(desk.members, filed, are_all_readable=are_all_readable)
    for member, fault in still_here:
        desk.say("erasures", fault, member=member)
    if any(name.startswith("disclosed/") for name in desk.others):
        desk.counts["requests"] = check_requests(desk.members, filed, say=desk.say)
    if undisclosed - erased > 0:
        withheld = undisclosed - erased
        desk.notes.append(f"{withheld} committed texts are not disclosed here, so nothing is said of them")
    if erased:
        desk.notes.append(f"{erased} committed texts were erased, as receipts of the bundle say")


def _check_people(desk: Desk, filed: Filed) -> None:
    pinned = desk.trust.people_keys if desk.trust else frozenset()
    desk.counts["people"] = check_people(filed.of_phase("approval"), pinned=pinned, say=desk.say)
    for receipt in filed.of_phase("approval"):
        signature = receipt.section("control").get("signature")
        if isinstance(signature, dict):
            check_period(desk, str(signature.get("key")), receipt.at, "answered", receipt)
    if desk.counts["people"] and not pinned:
        desk.notes.append("the trust file names no keys of people: that these keys are theirs is the gate's word")


def _note_isolation(desk: Desk, filed: Filed) -> None:
    kinds = filed.isolations
    # What is not known counts for nothing.
    desk.isolation = min(
        (kind if kind in ISOLATIONS else ISOLATIONS[0] for kind in kinds), key=ISOLATIONS.index, default=""
    )
    if len(kinds) > 1:
        desk.notes.append(f"the agent was kept from the gate by: {', '.join(sorted(kinds))}")
    wanted = desk.trust.isolation if desk.trust else ""
    if wanted and desk.isolation and ISOLATIONS.index(desk.isolation) < ISOLATIONS.index(wanted):
        desk.questions.append(
            f"the agent was kept from the gate by `{desk.isolation}`, and your trust file asks for `{wanted}`"
        )
    if any(last + 1 > count for count, last in filed.boots()):
        desk.notes.append("gaps in boundary.n are expected where other runs of the tenant are not in this bundle")
