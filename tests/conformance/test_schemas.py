"""The published schemas: what fits them, and what does not."""

import base64
import json
from asyncio import gather
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]

from answerable.ledger import Ledger, Reader, export_bundle, write_trust
from answerable.ledger._tests.evidence import a_record, work
from tests.conformance.second_opinion import SCHEMAS, validator, verify
from tests.conformance.test_vectors import load, members_of

pytestmark = pytest.mark.requirement("EV-3")


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_a_schema_is_one_and_closed(path: Path) -> None:
    schema = json.loads(path.read_text("utf-8"))

    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False


def test_every_receipt_of_a_record_fits_and_both_verifiers_agree_on_it(tmp_path: Path) -> None:
    async def body(ledger: Ledger) -> list[Any]:
        return list(await gather(work(ledger, 1, 2, lost=True), work(ledger, 2)))

    runs = a_record(tmp_path / "data", body)
    reader = Reader.open(tmp_path / "data")
    bundle, trust = export_bundle(reader, runs, tmp_path), write_trust(reader, tmp_path / "trust.toml")
    reader.close()

    report = verify(bundle, trust)

    assert report.verdict == "verified"
    assert report.receipts > 40


def test_every_bundle_that_verifies_in_the_vectors_fits() -> None:
    bundles = [case for case in load("bundles.json")["cases"] if case["expect"]["verdict"] == "verified"]
    assert len(bundles) > 30

    for case in bundles:
        for name in ("manifest", "proofs", "keys"):
            validator(name).validate(json.loads(members_of(case)[f"{name}.json"]))


# What no schema can see: the verifiers' own tests have it.
TOLD_BY_BYTES = (
    "white space in the statement",
    "a duplicate key",
    "a float",
    "not UTF-8",
    "a subject that is not the run",
)
REFUSED = [
    case
    for case in load("receipts.json")["cases"]
    if case["check"] == "statement" and case["name"] not in TOLD_BY_BYTES
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["name"].replace(" ", "-"))
def test_a_statement_that_a_verifier_refuses_does_not_fit(case: dict[str, Any]) -> None:
    body = base64.b64decode(json.loads(case["envelope"])["payload"])

    with pytest.raises(ValidationError):
        validator("statement").validate(json.loads(body))
