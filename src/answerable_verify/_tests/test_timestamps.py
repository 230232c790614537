import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from answerable_verify._certificates import read_certificate
from answerable_verify._der import NotDer
from answerable_verify._stamp import read_stamp
from answerable_verify._timestamps import BadTimestamp, stamped_at
from answerable_verify._trust import read_trust

pytest.importorskip("rfc3161_client")

VECTORS = json.loads((Path(__file__).parents[3] / "conformance" / "vectors" / "bundles.json").read_text("utf-8"))


def _case(name: str) -> tuple[bytes, bytes, Sequence[bytes]]:
    """A timestamp, its text and the roots of its trust."""
    case: dict[str, Any] = next(case for case in VECTORS["cases"] if case["name"] == name)
    text = case["members"]["checkpoint.txt"].split("\n\n")[0] + "\n"
    lines = VECTORS["trusts"][case["trust"]].splitlines()
    roots = [json.loads(line.split(" = ")[1]).encode() for line in lines if line.startswith("tsa_root")]
    return base64.b64decode(case["binary"]["timestamps/1.tsr"]), text.encode(), roots


def test_a_timestamp_says_when_the_text_was_seen() -> None:
    answer, text, roots = _case("stamped by an authority below another")

    assert stamped_at(answer, text, roots).isoformat() == "2026-11-21T04:01:00+00:00"
    with pytest.raises(BadTimestamp, match="of another text"):
        stamped_at(answer, text + b"\n", roots)
    with pytest.raises(BadTimestamp, match="no path to a root"):
        stamped_at(answer, text, [])


def test_a_certificate_whose_outer_algorithm_is_not_the_one_that_is_signed_is_refused() -> None:
    answer, _, _ = _case("stamped")
    whole = read_stamp(answer).leaf.whole
    inner = bytes.fromhex("300a06082a8648ce3d040302")
    at = whole.rindex(inner)

    with pytest.raises(NotDer, match="states two algorithms"):
        read_certificate(whole[:at] + inner[:-1] + b"\3" + whole[at + len(inner) :])


def test_what_a_library_raises_at_hostile_certificates_is_no_more_than_a_timestamp_that_does_not_hold() -> None:
    answer, text, roots = _case("a certificate of a version to come")

    with pytest.raises(BadTimestamp):
        stamped_at(answer, text, roots)


def test_a_root_of_a_version_to_come_is_passed_over_beside_one_that_is_read(tmp_path: Path) -> None:
    answer, text, (root,) = _case("stamped")
    body = load_pem_x509_certificate(root).public_bytes(Encoding.DER)
    later = base64.b64encode(body.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020109"), 1)).decode()
    pem = f"-----BEGIN CERTIFICATE-----\\n{later}\\n-----END CERTIFICATE-----\\n"
    (tmp_path / "trust.toml").write_text(VECTORS["trusts"]["an authority"] + f'tsa_root_2 = "{pem}"\n')

    roots = read_trust(tmp_path / "trust.toml").tsa_roots

    assert len(roots) == 2
    assert stamped_at(answer, text, roots).year == 2026
    with pytest.raises(BadTimestamp, match="no path to a root"):
        stamped_at(answer, text, roots[1:])
