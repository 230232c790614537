"""Feeds the verifier whatever libFuzzer comes up with: `python -m tests.faults.fuzz_verifier TARGET [-runs=N …]`.

Whoever verifies reads what an adversary may have written. Anything but a verdict or the errors that are promised is
a crash, which libFuzzer keeps as a file; so are five seconds over one input, and a GiB of memory.
"""

import base64
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["answerable_verify"]):
    from answerable_verify import (
        BadContainer,
        BadTrust,
        Report,
        Trust,
        read_container,
        read_trust,
        verify,
        verify_members,
    )

from conformance.vectors.generate import all_vectors
from conformance.vectors.logs import TRUSTS as LOG_TRUSTS
from conformance.vectors.logs import log_cases
from conformance.vectors.making import bundle
from conformance.vectors.runs import TRUSTS, an_ordinary_run

__all__ = ["TARGETS"]


def container(data: bytes, scratch: Path) -> None:
    """Bytes as a ZIP."""
    scratch.write_bytes(data)
    try:
        read_container(scratch)
    except BadContainer:
        return


def proof(data: bytes, scratch: Path) -> None:
    """Bytes as a one-receipt proof, behind its first line."""
    scratch.write_bytes(b"c2sp.org/tlog-proof@v1\n" + data)
    _judge(verify(scratch, scratch.with_name("trust.toml")))


def trust(data: bytes, scratch: Path) -> None:
    """Bytes as a trust file."""
    scratch.write_bytes(data)
    try:
        read_trust(scratch)
    except BadTrust:
        return


def members(data: bytes, scratch: Path) -> None:
    """An honest bundle, some of whose members are replaced or changed."""
    given = atheris.FuzzedDataProvider(data)
    found = dict(HONEST)
    for _ in range(given.ConsumeIntInRange(1, 4)):
        name = given.PickValueInList(NAMES)
        body = found[name]
        at = given.ConsumeIntInRange(0, len(body))
        gone = given.ConsumeIntInRange(0, 64)
        found[name] = body[:at] + given.ConsumeBytes(given.ConsumeIntInRange(0, 256)) + body[at + gone :]
    _judge(verify_members(found, given.PickValueInList([None, PINNED])))


def timestamp(data: bytes, scratch: Path) -> None:
    """Bytes as a timestamp of an honest bundle's checkpoint."""
    _judge(verify_members({**STAMPED, "timestamps/1.tsr": data}, STAMPED_UNDER))


def everything(data: bytes, scratch: Path) -> None:
    """One of the others, by the first byte."""
    others = (container, members, proof, timestamp, trust)
    others[data[0] % len(others) if data else 0](data[1:], scratch)


def _judge(report: Report) -> None:
    if not all(line.isprintable() for line in report.lines()):
        raise RuntimeError("the report would reach the terminal raw")
    report.to_json()


TARGETS: Mapping[str, Callable[[bytes, Path], None]] = {
    "container": container,
    "everything": everything,
    "members": members,
    "proof": proof,
    "timestamp": timestamp,
    "trust": trust,
}
HONEST = {name: text.encode() for name, text in bundle(an_ordinary_run().envelopes()).items()}
NAMES = sorted(HONEST)
PINNED: Trust
CASES = {case["name"]: case for case in log_cases()}
STAMPED = {
    name: text if isinstance(text, bytes) else text.encode() for name, text in CASES["stamped"]["members"].items()
}
STAMPED_UNDER: Trust


def _seeds(target: str) -> list[bytes]:
    """What to begin with: the vectors."""
    vectors = all_vectors()
    match target:
        case "container":
            found = [base64.b64decode(case["zip"]) for case in vectors["containers.json"]["cases"]]
            return [raw for raw in found if len(raw) < 20_000]
        case "proof":
            return [case["proof"].partition("\n")[2].encode() for case in vectors["proofs.json"]["cases"]]
        case "timestamp":
            answers = [case["members"].get("timestamps/1.tsr") for case in CASES.values()]
            return [answer for answer in answers if answer]
        case "trust":
            return [case["trust"].encode() for case in vectors["trusts.json"]["cases"]]
        case "members":
            return [bytes(range(256))]
        case _:
            parts = ("container", "members", "proof", "timestamp", "trust")
            return [bytes([number]) + seed for number, part in enumerate(parts) for seed in _seeds(part)]


def main(words: list[str]) -> None:
    """Fuzz one target until libFuzzer has enough."""
    global PINNED, STAMPED_UNDER
    target = TARGETS[words[1]]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "trust.toml").write_text(TRUSTS["plain"])
        PINNED = read_trust(Path(folder) / "trust.toml")
        (Path(folder) / "stamped.toml").write_text(LOG_TRUSTS["an authority"])
        STAMPED_UNDER = read_trust(Path(folder) / "stamped.toml")
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(_seeds(words[1])):
            (corpus / str(number)).write_bytes(seed)
        scratch = Path(folder) / "input"
        limits = ["-timeout=5", "-rss_limit_mb=1024", "-max_len=65536", f"-artifact_prefix={Path.cwd()}/"]
        atheris.Setup([words[0], *limits, *words[2:], str(corpus)], lambda data: target(data, scratch))
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
