"""Receipts of a real record, read by what others wrote for the same formats."""

import base64
import hashlib
import json
import subprocess
from asyncio import gather
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.json_format import ParseDict
from in_toto_attestation.v1 import statement_pb2  # type: ignore[import-untyped]
from in_toto_attestation.v1.statement import Statement  # type: ignore[import-untyped]
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer._key import SSlibKey

from answerable.ledger import Reader, inclusion_path, leaf_hash, root_hash
from answerable.ledger._tests.evidence import a_record, work

pytestmark = [pytest.mark.requirement("EV-3"), pytest.mark.slow]

SCRIPT = Path(__file__).with_name("sigstore_verify.cjs")


@dataclass(frozen=True, kw_only=True)
class Record:
    """The envelopes of a log, in its order, and the gate's key."""

    envelopes: list[bytes]
    gate: Ed25519PublicKey

    @property
    def statements(self) -> list[dict[str, Any]]:
        return [json.loads(base64.b64decode(json.loads(each)["payload"])) for each in self.envelopes]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    data = tmp_path_factory.mktemp("record") / "data"
    a_record(data, lambda ledger: gather(work(ledger, 1, 2, lost=True), work(ledger, 2)))
    reader = Reader.open(data)
    (gate,) = reader.gate_keys().values()
    envelopes = [receipt.envelope for receipt in reader.receipts()]
    reader.close()
    return Record(envelopes=envelopes, gate=Ed25519PublicKey.from_public_bytes(gate))


def altered(envelope: bytes, old: bytes = b'"tenant":"default"', new: bytes = b'"tenant":"another"') -> bytes:
    """The envelope with another statement in it, under the same signature."""
    said = json.loads(envelope)
    body = base64.b64decode(said["payload"])
    assert old in body
    return json.dumps({**said, "payload": base64.b64encode(body.replace(old, new)).decode()}).encode()


def test_securesystemslib_verifies_every_envelope_and_no_altered_one(record: Record) -> None:
    key = SSlibKey.from_crypto(record.gate)
    stranger = SSlibKey.from_crypto(Ed25519PrivateKey.generate().public_key())

    for raw in record.envelopes:
        envelope = Envelope.from_dict(json.loads(raw))
        key.keyid = json.loads(raw)["signatures"][0]["keyid"]
        assert list(envelope.verify([key], 1)) == [key.keyid]
        with pytest.raises(VerificationError):
            Envelope.from_dict(json.loads(altered(raw))).verify([key], 1)
        stranger.keyid = key.keyid
        with pytest.raises(VerificationError):
            envelope.verify([stranger], 1)


def test_in_totos_own_library_reads_every_statement(record: Record) -> None:
    for said in record.statements:
        statement = Statement.copy_from_pb(ParseDict(said, statement_pb2.Statement()))

        statement.validate()
        assert statement.pb.predicate_type == "urn:answerable:receipt:v1"
        assert statement.pb.subject[0].name == said["predicate"]["run"]
        run = hashlib.sha256(said["predicate"]["run"].encode()).hexdigest()
        assert statement.pb.subject[0].digest["sha256"] == run


def test_in_totos_own_library_refuses_a_statement_without_a_subject(record: Record) -> None:
    said = {**record.statements[0], "subject": []}

    with pytest.raises(ValueError, match="subject"):
        Statement.copy_from_pb(ParseDict(said, statement_pb2.Statement())).validate()


def test_sigstores_verifier_checks_signatures_and_inclusion(record: Record) -> None:
    leaves = [leaf_hash(hashlib.sha256(raw).digest()) for raw in record.envelopes]

    def receipt(raw: bytes, index: int) -> dict[str, Any]:
        path = [node.hex() for node in inclusion_path(leaves, index)]
        entry = hashlib.sha256(raw).hexdigest()
        return {"envelope": raw.decode(), "entry": entry, "index": index, "path": path}

    receipts = [receipt(raw, index) for index, raw in enumerate(record.envelopes)]
    pem = record.gate.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    said = {"key": pem, "size": len(leaves), "root": root_hash(leaves).hex()}
    wrong = [receipt(altered(record.envelopes[3]), 3), {**receipts[3], "index": 4}]

    done = subprocess.run(
        ["node", str(SCRIPT)],
        input=json.dumps({**said, "receipts": [*receipts, *wrong]}),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stderr == ""
    *found, forged, elsewhere = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [{"signature": "holds", "inclusion": "holds"}] * len(receipts)
    assert forged == {"signature": "SIGNATURE_ERROR", "inclusion": "TLOG_INCLUSION_PROOF_ERROR"}
    assert elsewhere["signature"] == "holds"
    assert elsewhere["inclusion"] == "TLOG_INCLUSION_PROOF_ERROR"
