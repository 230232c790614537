"""Writes the test vectors in this folder, from fixed keys: the same bytes every time.

For whoever writes another reader or verifier of the formats. Needs PyNaCl, cryptography and the standard library, and
nothing of Answerable: an implementation must not make the vectors that judge it. Published vectors are marked with
their source. What each file holds is said in `docs/formats/vectors.md`.

    python -m conformance.vectors.generate
"""

import base64
import json
from pathlib import Path
from typing import Any

from conformance.vectors import logs, runs
from conformance.vectors.making import GATE, KIND, Said, pem
from conformance.vectors.parts import containers, notes, proofs, receipts, trees, trusts

__all__ = ["HERE", "all_vectors", "encoded", "write"]

HERE = Path(__file__).parent


def bundles() -> Said:
    """Whole bundles: members that are not text stand in base64 beside the others."""
    found: list[Said] = []
    for case in (*runs.run_cases(), *logs.log_cases()):
        members = case.pop("members")
        case["members"] = {name: content for name, content in members.items() if isinstance(content, str)}
        if binary := {name: content for name, content in members.items() if isinstance(content, bytes)}:
            case["binary"] = {name: base64.b64encode(content).decode() for name, content in binary.items()}
        found.append(case)
    return {"trusts": {**runs.TRUSTS, **logs.TRUSTS}, "cases": found}


def all_vectors() -> dict[str, Any]:
    """Every file of this folder, by name."""
    hello = {"payloadType": "http://example.com/HelloWorld", "payload": "hello world"}
    return {
        "dsse.json": {
            "published": {
                "source": "DSSE v1 protocol, test vectors",
                **hello,
                "pae": "DSSEv1 29 http://example.com/HelloWorld 11 hello world",
            },
            "computed": [{"payloadType": KIND, "payload": "", "pae": f"DSSEv1 28 {KIND} 0 "}],
        },
        "rfc6962.json": trees(),
        "checkpoints.json": notes(),
        "receipts.json": {"gateKey": pem(GATE), "cases": receipts()},
        "bundles.json": bundles(),
        "proofs.json": {"trust": runs.TRUSTS["plain"], "cases": proofs()},
        "trusts.json": {"cases": trusts()},
        "containers.json": {"cases": containers()},
    }


def encoded(vectors: Any) -> str:
    return json.dumps(vectors, indent=1, ensure_ascii=False) + "\n"


def write() -> None:
    """Write every file."""
    for name, vectors in all_vectors().items():
        (HERE / name).write_text(encoded(vectors), encoding="utf-8")


if __name__ == "__main__":
    write()
