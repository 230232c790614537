"""The verifier in Node and the published schemas, asked about bundles that ours was asked about."""

import base64
import json
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from answerable_verify import Report
from answerable_verify import verify as verify_by_ours

__all__ = ["SCHEMAS", "Opinion", "fit_schemas", "in_base64", "nodes_opinions", "ours", "theirs", "validator", "verify"]

_ROOT = Path(__file__).parents[2]
_NODE = _ROOT / "conformance" / "node-verify" / "main.mjs"
SCHEMAS = _ROOT / "conformance" / "schemas"

Opinion = dict[str, Any]
"""Verdict, assurance, faults and unknown intents, in a form that two verifiers can be compared in."""


def verify(bundle: Path, trust: Path | None = None) -> Report:
    """Our report on a bundle of a real record, after the other verifier agreed and every member fitted its schema."""
    report = verify_by_ours(bundle, trust)
    words = ["node", str(_NODE), str(bundle), *(["--trust", str(trust)] if trust else [])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert theirs(said) == ours(report)
    assert done.returncode == report.exit_code
    if not report.findings:
        with zipfile.ZipFile(bundle) as archive:
            fit_schemas({name: archive.read(name) for name in archive.namelist()})
    return report


def nodes_opinions(cases: Sequence[Mapping[str, Any]]) -> list[Opinion]:
    """What the other verifier says of each case, all in one process."""
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run(["node", str(_NODE), "--lines"], input=lines, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    found: list[Opinion] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(cases)
    return found


def in_base64(members: Mapping[str, bytes]) -> dict[str, str]:
    """Members for a line of `nodes_opinions`."""
    return {name: base64.b64encode(content).decode() for name, content in members.items()}


def ours(report: Report) -> Opinion:
    first = report.first
    return {
        "verdict": report.verdict,
        "assurance": report.assurance,
        "first": [first.check, first.receipt] if first else [],
        "faults": sorted({(found.check, found.receipt) for found in report.findings}),
        "unknown": sorted(intent for run in report.runs for intent in run.unknown),
    }


def theirs(said: Mapping[str, Any]) -> Opinion:
    first = said["first"]
    return {
        "verdict": said["verdict"],
        "assurance": said["assurance"],
        "first": [first["check"], first["receipt"]] if first else [],
        "faults": sorted({(found["check"], found["receipt"]) for found in said["findings"]}),
        "unknown": sorted(said["unknown"]),
    }


@cache
def validator(name: str) -> Draft202012Validator:
    """Checks a document against one of the published schemas."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def fit_schemas(members: Mapping[str, bytes]) -> None:
    """Check every JSON member of a bundle, and the statement of every receipt, against its schema."""
    for name in ("manifest", "proofs", "keys"):
        validator(name).validate(json.loads(members[f"{name}.json"]))
    for name, content in members.items():
        if name.startswith("receipts/"):
            envelope = json.loads(content)
            validator("envelope").validate(envelope)
            validator("statement").validate(json.loads(base64.b64decode(envelope["payload"])))
