"""Evidence bundles: everything an outsider needs to check a run, in one ZIP, and the trust to check it against.

Format: `docs/formats/bundle.md`, `docs/formats/trust.md`.
"""

import base64
import contextlib
import hashlib
import os
import zipfile
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from answerable.core import EvidenceError, RunId, TenantId, canonical_json
from answerable.ledger._checkpoint import read_head
from answerable.ledger._key_lives import KeyLife
from answerable.ledger._proofs import shared_proof
from answerable.ledger._published import LogContradicted, RecordTiles, log_folder
from answerable.ledger._reader import Reader, Texts
from answerable.ledger._receipt import SYSTEM, Receipt
from answerable.ledger._report import report_html
from answerable.ledger._tiles import Tree
from answerable.ledger._vault import ObjectErased

__all__ = ["BundleTooLarge", "Member", "NothingToExport", "export_bundle", "export_span", "write_trust"]

_FORMAT = "answerable-bundle/1"
_TRUST_FORMAT = "answerable-trust/1"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can say: the same run gives the same bytes
_SPKI_ED25519 = bytes.fromhex("302a300506032b6570032100")  # RFC 8410 §4: what stands before the raw key
_SCRIPT = Path(__file__).with_name("_verify_sh.sh")
# What a verifier takes, `docs/formats/bundle.md`.
_MOST_MEMBERS = 250_000
_LARGEST_MEMBER_BYTES = 64 << 20
_LARGEST_BYTES = 1 << 30  # of all members together, and of the file


@dataclass(eq=False, kw_only=True)
class NothingToExport(EvidenceError):
    """A run that is to be exported has no receipts, or belongs to another tenant than the rest."""

    code = "evidence.nothing_to_export"
    what = "run `{run}` cannot be exported: {reason}"
    why = "a bundle shows receipts of one tenant against one checkpoint"
    fix = "`answerable runs list` names the runs that are on the record; export tenants one by one"

    run: str
    reason: str


@dataclass(eq=False, kw_only=True)
class BundleTooLarge(EvidenceError):
    """A bundle that no verifier would read."""

    code = "evidence.bundle_too_large"
    what = "the bundle is not written: it would hold {held}"
    why = "verifiers read within fixed bounds, since anybody may have made what they read; this one is beyond {bound}"
    fix = (
        "export fewer runs at a time (for an audit pack, a shorter period), the log in parts "
        "(`--all --since CHECKPOINT --until CHECKPOINT`), or without its texts (`--withhold`)"
    )

    held: str
    bound: str


@dataclass(frozen=True, slots=True)
class Member:
    """A further file for a bundle: its name within the ZIP, and its content."""

    name: str
    content: bytes


def export_bundle(
    reader: Reader,
    runs: Sequence[RunId],
    out: Path,
    *,
    disclose: bool | Container[str] = True,
    extra: Sequence[Member] = (),
) -> Path:
    """Write the evidence of one or more runs of a tenant; the path of the file comes back.

    The same record gives the same bytes, whenever and however often it is exported.

    Args:
        reader: the record.
        runs: at least one, all of one tenant.
        out: the file to write, or a directory, where it is called `<first run>.evidence.zip`.
        disclose: put the texts behind the commitments into the bundle, of all receipts or of those whose ids
            these are; where a person was erased there is none to put.
        extra: further members (mandates, order books), covered by the manifest only.

    Raises:
        NothingToExport: a run is not on the record, or of another tenant.
        BundleTooLarge: no verifier would read it.
    """
    if out.is_dir():
        out = out / f"{runs[0]}.evidence.zip"
    receipts, tenant = _receipts(reader, runs)
    # The checkpoint is read after the receipts, so that it covers them.
    chosen = _Chosen(tenant=tenant, runs=runs, receipts=receipts, note=_checkpoint(reader, tenant, receipts[-1][0] + 1))
    return _write(reader, chosen, out, disclose=disclose, extra=extra)


def export_span(
    reader: Reader,
    out: Path,
    *,
    tenant: TenantId = TenantId("default"),
    since: str = "",
    until: str = "",
    newest: bool = False,
    disclose: bool | Container[str] = True,
    extra: Sequence[Member] = (),
) -> Path:
    """Write everything that a tenant's log gained between two checkpoints; nothing can be left out of it unnoticed.

    Args:
        since: the older checkpoint, a signed note of this log; from the log's beginning where it is empty.
        until: the newer checkpoint, a signed note of this log.
        newest: up to the record's newest checkpoint, whoever signed it; without either, up to the one that most
            others signed.
        out: the file to write, or a directory, where it is called `<tenant>-<older size>-<size>.evidence.zip`.

    Raises:
        NothingToExport: the log did not grow since, or a checkpoint is of another log, or of what it has not yet.
        LogContradicted: the record is not what one of those checkpoints says it was.
        BundleTooLarge: no verifier would read it.
    """
    older = read_head(since) if since else None
    start = older.size if older else 0
    note = until or _checkpoint(reader, tenant, reader.head(tenant).size if newest else start + 1)
    head = read_head(note) if note else None
    if head is None or start >= head.size or (older and older.origin != head.origin):
        raise NothingToExport(run=f"log:{tenant}", reason=f"its log has nothing after entry {start} of that checkpoint")
    if until and (head.origin != reader.log_key(tenant)[0] or head.size > reader.head(tenant).size):
        raise NothingToExport(run=f"log:{tenant}", reason="that checkpoint is of another log, or ahead of it")
    tree = Tree(RecordTiles(reader, tenant), head.size)
    for given in (older, head if until else None):
        if given and tree.range_hash(0, given.size) != given.root:
            raise LogContradicted(origin=head.origin, size=head.size, published=given.size)
    _bound(head.size - start, _MOST_MEMBERS, "receipts")
    found = reader.receipts_at(tenant, start, head.size - start)
    if out.is_dir():
        out = out / f"{tenant}-{start}-{head.size}.evidence.zip"
    runs = list(dict.fromkeys(RunId(receipt.predicate["run"]) for receipt in found))
    chosen = _Chosen(
        tenant=tenant, runs=runs, receipts=list(enumerate(found, start)), note=note, since=since, start=start
    )
    return _write(reader, chosen, out, disclose=disclose, extra=extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """What goes into a bundle.

    Args:
        receipts: each with its leaf index, in the order of the log.
        note: the checkpoint that covers them.
        since, start: of a complete bundle, the older checkpoint and its size.
    """

    tenant: TenantId
    runs: Sequence[RunId]
    receipts: Sequence[tuple[int, Receipt]]
    note: str
    since: str = ""
    start: int | None = None


def _checkpoint(reader: Reader, tenant: TenantId, size: int) -> str:
    """The checkpoint of at least this size that most others signed; where nobody did, the record's latest."""
    return log_folder(reader.directory, tenant).best(size) or reader.checkpoint(tenant)


def _write(
    reader: Reader, chosen: _Chosen, out: Path, *, disclose: bool | Container[str], extra: Sequence[Member]
) -> Path:
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    _bound(len(chosen.receipts), _MOST_MEMBERS, "receipts")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            listed: dict[str, str] = {}
            unpacked = 0
            for member in _members(reader, chosen, disclose=disclose, extra=extra):
                if member.name not in listed:
                    unpacked += len(member.content)
                    _bound(len(member.content), _LARGEST_MEMBER_BYTES, f"bytes in `{member.name}`")
                    _bound(unpacked, _LARGEST_BYTES, "bytes")
                    listed[member.name] = _put(archive, member)
                    _bound(len(listed) + 1, _MOST_MEMBERS, "files")
            manifest = {
                "format": _FORMAT,
                "tenant": chosen.tenant,
                "runs": list(chosen.runs),
                "receipts": len(chosen.receipts),
                "disclosed": disclose is True,
                "members": listed,
            }
            if chosen.start is not None:
                manifest["complete"] = {"from": chosen.start}
            _put(archive, listing := Member("manifest.json", canonical_json(manifest)))
        _bound(unpacked + len(listing.content), _LARGEST_BYTES, "bytes")
        _bound(partial.stat().st_size, _LARGEST_BYTES, "bytes packed")
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return out


def _bound(count: int, most: int, of: str) -> None:
    if count > most:
        raise BundleTooLarge(held=f"{count:,} {of}", bound=f"{most:,}")


def write_trust(
    reader: Reader,
    path: Path,
    *,
    tenant: TenantId = TenantId("default"),
    witnesses: Sequence[str] = (),
    quorum: int | None = None,
    monitors: Sequence[str] = (),
    tsa_roots: Sequence[str] = (),
) -> Path:
    """Write the keys of this gate and log as a trust file, to be handed over by a way the reader trusts.

    Args:
        witnesses, monitors: verifier keys of those who watch the log, as the reader had them from themselves.
        quorum: how many of the witnesses are enough; all of them by default.
        tsa_roots: certificates of time-stamping authorities, PEM.
    """
    origin, log_key = reader.log_key(tenant)
    signers = [life for life in reader.keys_of(SYSTEM) if life.role in ("gate", "log")]
    # The one in use first: it is the one that a shell or a person looks for.
    logs = sorted((life for life in signers if life.role == "log"), key=lambda life: life.public != log_key.hex())
    gates = [life for life in signers if life.role == "gate"]
    people = [life for life in reader.keys_of(tenant) if life.role == "signer"] if tenant != SYSTEM else []
    lines = [
        "# Keys to verify evidence of this gate against. Worth as much as the way it reached you.",
        f'format = "{_TRUST_FORMAT}"',
        f'origin = "{origin}"',
        *_with_periods("log_key", [(_pem(bytes.fromhex(life.public)), replace(life, since="")) for life in logs]),
        *_with_periods("gate_key", [(_pem(bytes.fromhex(life.public)), life) for life in gates]),
        *_with_periods("person_key", [(_pem_of(base64.b64decode(life.public)), life) for life in people]),
        *_numbered("witness", witnesses),
    ]
    if witnesses:
        lines.append(f'quorum = "{len(witnesses) if quorum is None else quorum}"')
    lines += [*_numbered("monitor", monitors), *_numbered("tsa_root", tsa_roots)]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def _numbered(name: str, values: Iterable[str]) -> list[str]:
    return [f"{_nth(name, number)} = {_toml(value)}" for number, value in enumerate(values, 1)]


def _nth(name: str, number: int) -> str:
    return f"{name}_{number}" if number > 1 else name


def _with_periods(name: str, keys: Iterable[tuple[str, KeyLife]]) -> Iterator[str]:
    """Keys in PEM, each with the time in which it was in use."""
    for number, (pem, life) in enumerate(keys, 1):
        yield f"{_nth(name, number)} = {_toml(pem)}"
        for end, time in (("from", life.since), ("until", life.until)):
            if time:
                yield f'{_nth(name, number)}_{end} = "{time}"'


def _receipts(reader: Reader, runs: Sequence[RunId]) -> tuple[list[tuple[int, Receipt]], TenantId]:
    """Leaf index and receipt, in the order of the log."""
    found: list[tuple[int, Receipt]] = []
    tenants = set()
    for run in dict.fromkeys(runs):
        of_run = reader.receipts(run=run)
        if not of_run:
            raise NothingToExport(run=run, reason="it is not on the record")
        tenants.add(of_run[0].predicate["tenant"])
        if len(tenants) > 1:
            raise NothingToExport(run=run, reason="it belongs to another tenant")
        found.extend((reader.leaf(receipt), receipt) for receipt in of_run)
    if not found:
        raise NothingToExport(run="", reason="no run was named")
    found.sort(key=lambda item: item[0])
    return found, TenantId(tenants.pop())


def _members(
    reader: Reader, chosen: _Chosen, *, disclose: bool | Container[str], extra: Sequence[Member]
) -> Iterator[Member]:
    tenant, receipts = chosen.tenant, chosen.receipts
    names = [f"receipts/{number:06d}.json" for number in range(1, len(receipts) + 1)]
    for name, (_, receipt) in zip(names, receipts, strict=True):
        yield Member(name, receipt.envelope)
    origin, _ = reader.log_key(tenant)
    size = read_head(chosen.note).size
    leaves = {name: leaf for name, (leaf, _) in zip(names, receipts, strict=True)}
    folder = log_folder(reader.directory, tenant)
    nodes = shared_proof(Tree(RecordTiles(reader, tenant, folder), size), leaves.values())
    yield Member("checkpoint.txt", chosen.note.encode())
    if chosen.since:
        yield Member("checkpoint.from.txt", chosen.since.encode())
    for number, stamp in enumerate(folder.stamps(size), 1):
        yield Member(f"timestamps/{number}.tsr", stamp)
    yield Member("proofs.json", canonical_json({"size": size, "leaves": leaves, "nodes": nodes}))
    gates = [{"keyid": name, "pem": _pem(key)} for name, key in _gate_keys(reader).items()]
    in_use, *earlier = reversed([_pem(key) for key in reader.log_keys()])
    log = {"origin": origin, "pem": in_use, **({"earlier": earlier} if earlier else {})}
    yield Member("keys.json", canonical_json({"gate": gates, "log": log}))
    texts: dict[str, Texts] = {}
    if disclose is not False:
        shown = receipts if disclose is True else [each for each in receipts if each[1].predicate["id"] in disclose]
        yield from _disclosed(reader, shown, texts)
    yield Member("VERIFY.sh", _SCRIPT.read_bytes())
    yield Member("README.txt", _README.encode())
    page = report_html([receipt for _, receipt in receipts], texts, origin=origin, size=size)
    yield Member("report.html", page.encode())
    yield from extra


def _disclosed(reader: Reader, receipts: Iterable[tuple[int, Receipt]], texts: dict[str, Texts]) -> Iterator[Member]:
    """The texts behind the commitments, each once, named by its commitment; `texts` keeps them by receipt id."""
    for _, receipt in receipts:
        said = receipt.predicate
        with contextlib.suppress(ObjectErased):  # what it was decided on and under is kept all the same
            text = texts[said["id"]] = reader.text(receipt)
            for name, body, salt in (("input", text.input, text.input_salt), ("output", text.output, text.output_salt)):
                commitment = said.get("commitments", {}).get(name)
                if commitment and body is not None and salt is not None:
                    yield Member(f"disclosed/{commitment[7:]}", salt + body)
        authority = said.get("authority", {})
        stored = [("disclosed", authority.get("request")), ("policy", authority.get("policy"))]
        stored += [("specs", name) for name in said.get("control", {}).get("specs", {}).values()]
        for folder, name in stored:
            kept = reader.stored(name) if name else None
            if name and kept:
                yield Member(f"{folder}/{name[7:]}", kept[1] + kept[0])


def _put(archive: zipfile.ZipFile, member: Member) -> str:
    entry = zipfile.ZipInfo(member.name, _EPOCH)
    # MEASURED: unpacking a receipt takes a tenth of what checking its signature does, and packing saves a quarter.
    is_receipt = member.name.startswith("receipts/")
    entry.compress_type = zipfile.ZIP_STORED if is_receipt else zipfile.ZIP_DEFLATED
    entry.external_attr = (0o755 if member.name.endswith(".sh") else 0o644) << 16
    entry.create_system = 3
    archive.writestr(entry, member.content)
    return hashlib.sha256(member.content).hexdigest()


def _gate_keys(reader: Reader) -> dict[str, bytes]:
    return dict(sorted(reader.gate_keys().items()))


def _pem(public_key: bytes) -> str:
    """A raw Ed25519 key in PEM, as `openssl` reads it (RFC 8410)."""
    return _pem_of(_SPKI_ED25519 + public_key)


def _pem_of(info: bytes) -> str:
    """A SubjectPublicKeyInfo in PEM (RFC 7468 §13)."""
    body = base64.b64encode(info).decode()
    lines = "\n".join(body[start : start + 64] for start in range(0, len(body), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"


def _toml(text: str) -> str:
    return '"' + text.replace("\n", "\\n") + '"'


_README = """Evidence of one or more agent runs, for anybody to check.

  report.html      what was asked, decided and done, for a person to read
  receipts/        one signed receipt a file, in the order of the log
  checkpoint.txt   the signed head of the log that the receipts are entries of, and who cosigned it
  timestamps/      when authorities outside saw the checkpoint (RFC 3161), where any were asked
  proofs.json      how the receipts lead to the checkpoint's root hash
  disclosed/       texts behind the receipts' commitments: 32 bytes of salt, then the text
  policy/ specs/   the policy and the specifications in force, in the same form
  keys.json        the keys as this bundle claims them: no reason to trust it
  manifest.json    the SHA-256 of every file
  VERIFY.sh        checks all this with bash, openssl 3 and jq

To verify, get trust.toml (the keys) by a way you trust, not with this bundle, then:

  bash VERIFY.sh --trust trust.toml
  answerable-verify BUNDLE.zip --trust trust.toml

Both say what is wrong first and what a pass does not show. Exit codes: 0 verified, 2 usage,
3 self-consistent only (no trust given) or undetermined, 4 does not verify. Take VERIFY.sh or
answerable-verify from elsewhere too if you do not trust the sender: whoever forges a bundle can
forge the script in it.
"""
