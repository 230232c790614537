"""A gate that signs a receipt onto the wrong predecessor forks its record, and the verifier says where."""

import base64
import json
from pathlib import Path

import pytest

from answerable.core import RunId, canonical_json
from answerable.ledger import FileSigner, Ledger, Reader, envelope_json, export_bundle, pae, write_trust
from answerable.ledger._tests.evidence import a_record, work
from answerable_verify import read_container, read_trust, verify_members


@pytest.mark.requirement("EV-3")
def test_a_receipt_signed_onto_the_wrong_predecessor_is_named(tmp_path: Path) -> None:
    async def body(ledger: Ledger) -> list[RunId]:
        return [await work(ledger, 1, 6)]

    runs = a_record(tmp_path / "data", body)
    reader = Reader.open(tmp_path / "data")
    members = read_container(export_bundle(reader, runs, tmp_path))
    trust = read_trust(write_trust(reader, tmp_path / "trust.toml"))
    reader.close()
    gate = FileSigner.open(tmp_path / "data" / "keys" / "gate.key")
    names = sorted(name for name in members if name.startswith("receipts/"))
    forked = names[len(names) // 2]
    statement = json.loads(base64.b64decode(json.loads(members[forked])["payload"]))
    statement["predicate"]["prev"] = "sha256:" + "0" * 64
    text = canonical_json(statement)
    members[forked] = envelope_json(text, gate.sign(pae(text)), gate.key_id)

    report = verify_members(members, trust)

    assert report.verdict == "does not verify"
    assert statement["predicate"]["id"] in [each.receipt for each in report.findings if each.check == "chain"]
    assert not any(each.check == "signature" for each in report.findings)
