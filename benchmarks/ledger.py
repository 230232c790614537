"""What the record costs: appending beside a bare signature and beside peers, verifying beside bare verification.

    python benchmarks/ledger.py [--quick] [--json PATH] [--peers PYTHON] [--dir DIR]

- `append.vs_bare_sign`: CPU of appending a receipt (numbered, chained, signed, entered in the tree, checkpointed and
  fsynced, by 100 agents at a time) over that of signing the same bytes with the same library and nothing else.
- `append.floor_vs_bare_sign`: the least that such a record could take: signing, hashing the envelopes, and SQLite
  inserting the same rows as durably, 100 to a commit; no JSON, no tree, no checkpoint, nobody who waits for an answer.
- `verify.vs_bare_verify`: CPU of `answerable_verify.verify` on a bundle of 10,000 receipts, on one core, over that of
  the signature function alone (Ed25519 by the same library, the messages ready in memory). `verify.wall_vs_bare_verify`
  is on the clock, with all cores; `verify.plain.vs_bare_verify` is without `orjson`, which the verifier can do without;
  `verify.vs_bare_reading` is over reading ZIP, JSON, base64 and PAE as well, with Python's own modules and no other
  check.
- `verify.bytes_per_receipt`: by how much the most memory that Python holds while it verifies grows with each receipt,
  from a bundle of 2,000 to one of 20,000, in runs of 100; `verify.peak_mib` is what it holds with 20,000.
- `proof.c1m_p99_vs_p50_c1k`: CPU of an inclusion proof from tiles on disk, p99 of a log of 1,000,000 entries over the
  median of one of 1,000.
- `bundle10k.vs_linear`: CPU of exporting and verifying 10,000 receipts, on one core, over ten times that of 1,000.
- `append.vs_agt`, `append.vs_tracekit`: entries a second, each on disk (fsync) before its caller goes on. Peers run in
  a Python of their own (`.ci/setup ledger`); where it is missing their rows say so. Neither gains from concurrency: one
  lock, one fsync an entry. `append.c1.…` is ours with one agent at a time.

Each cell is a process of its own on a fresh directory; repeats are interleaved, ratios taken within a repeat, their
median reported. Ends with 1 if a bar is missed.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks._rows import Row, row, table  # noqa: E402 - run as a script

PEERS = HERE.parent / ".venv" / "ledger" / "bin" / "python"
ABSENT = "the peers are not installed beside this benchmark (`.ci/setup ledger` does it)"
LONGEST_CELL_S = 600
Figures = dict[str, Any]


def main() -> int:
    """Measure, print, write; 0 if every bar holds."""
    asked = _arguments()
    has_peers = asked.peers.exists()
    seen: dict[str, list[Figures]] = defaultdict(list)
    for repeat in range(1 if asked.quick else asked.repeats):
        cells = [("append", 10_000), ("append.c1", 300), ("verification", 10_000), ("proofs.1k", 1_000)]
        cells += [("proofs.1m", 1_000_000), ("memory", 20_000)]
        for cell, count in cells:
            _say(f"repeat {repeat + 1}: {cell}")
            seen[cell].append(_ours(cell, count, asked.dir))
        for peer, count in (("agt", 300), ("tracekit_file", 1_000)) if has_peers else ():
            _say(f"repeat {repeat + 1}: {peer}")
            seen[peer].append(_peer(peer, count, asked))
    rows = _rows(seen)
    versions = {"python": platform.python_version(), "cpus": str(os.cpu_count())}
    for cells_seen in seen.values():
        versions |= cells_seen[0].get("versions", {})
    sys.stdout.write(table(rows) + "\n\n" + ", ".join(f"{name} {said}" for name, said in versions.items()) + "\n")
    said = [each.to_json(versions) for each in rows]
    for name in () if has_peers else ("append.vs_agt", "append.vs_tracekit"):
        sys.stdout.write(f"{name}: {ABSENT}\n")
        said.append({"name": name, "value": None, "absent": ABSENT})
    if asked.json:
        asked.json.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    missed = [each for each in rows if each.holds is False]
    for each in missed:
        _say(f"missed: {each.name} is {each.value:.2f} {each.unit}, the bar is {each.bar}")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The record: appending, proving, verifying.")
    parser.add_argument("--quick", action="store_true", help="once instead of three times")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the rows there")
    parser.add_argument("--peers", type=Path, default=PEERS, metavar="PYTHON", help="a Python that has the peers")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="on the disk to measure (not a tmpfs)")
    return parser.parse_args()


def _ours(cell: str, count: int, disk: Path) -> Figures:
    source = os.pathsep.join([str(HERE.parent / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    name, _, variant = cell.partition(".")
    words = [sys.executable, "-m", "benchmarks._ledger", name, "--count", str(count)]
    words += ["--agents", "1"] if variant == "c1" else []
    return _measured(words, cwd=HERE.parent, disk=disk, environment={**os.environ, "PYTHONPATH": source})


def _peer(peer: str, count: int, asked: argparse.Namespace) -> Figures:
    words = [str(asked.peers), f"{peer}.py", "--count", str(count)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return _measured(words, cwd=HERE / "_ledger", disk=asked.dir, environment=environment)


def _measured(words: list[str], *, cwd: Path, disk: Path, environment: dict[str, str]) -> Figures:
    directory = Path(tempfile.mkdtemp(prefix=".bench-", dir=disk)).resolve()
    try:
        done = subprocess.run(
            [*words, "--dir", str(directory)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_CELL_S,
        )
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if done.returncode != 0 or not done.stdout.strip():
        raise SystemExit(f"{words[1:4]} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    if not found.get("is_full", True):
        raise SystemExit(f"{words[1:4]} does not fsync each entry; nothing to compare")
    if found.get("kept", 0) and found["kept"] < int(words[words.index("--count") + 1]):
        raise SystemExit(f"{words[1:4]} left {found['kept']} entries on disk")
    return found


def _rows(seen: dict[str, list[Figures]]) -> list[Row]:
    append, one, bundle, memory = (seen[cell] for cell in ("append", "append.c1", "verification", "memory"))
    rows = [
        row("append.c100.receipts_s", "/s", (each["per_s"] for each in append)),
        row("append.c1.receipts_s", "/s", (each["per_s"] for each in one)),
        row("append.cpu_us", "µs", (each["cpu_us"] for each in append)),
        row("append.vs_bare_sign", "×", (each["vs_bare"] for each in append)),
        row("append.asyncio.vs_bare_sign", "×", (each["asyncio_vs_bare"] for each in append)),
        row("append.floor_vs_bare_sign", "×", (each["floor_vs_bare"] for each in append)),
        row("verify.cpu_us", "µs", (each["large_verify_s"] / each["large_count"] * 1e6 for each in bundle)),
        row("verify.ed25519_us", "µs", (each["large_ed25519_s"] / each["large_count"] * 1e6 for each in bundle)),
        row("verify.vs_bare_verify", "×", (each["large_vs_ed25519"] for each in bundle)),
        row("verify.plain.vs_bare_verify", "×", (each["large_plain_vs_ed25519"] for each in bundle)),
        row(
            "verify.wall_vs_bare_verify",
            "×",
            (each["large_verify_wall_s"] / each["large_ed25519_s"] for each in bundle),
        ),
        row("verify.vs_bare_reading", "×", (each["large_verify_s"] / each["large_bare_s"] for each in bundle)),
        row("verify.bytes_per_receipt", "B", (each["bytes_each"] for each in memory)),
        row("verify.peak_mib", "MiB", (each["peak_mib"] for each in memory)),
        row("bundle10k.vs_linear", "×", map(_against_linear, bundle)),
        row("proof.c1m_p99_ms", "ms", (each["p99_ms"] for each in seen["proofs.1m"])),
    ]
    paired = zip(seen["proofs.1m"], seen["proofs.1k"], strict=True)
    rows.append(row("proof.c1m_p99_vs_p50_c1k", "×", (large["p99_ms"] / small["p50_ms"] for large, small in paired)))
    for peer, name in (("agt", "agt"), ("tracekit_file", "tracekit")):
        if peer in seen:
            rows.append(row(f"{name}.entries_s", "/s", (each["per_s"] for each in seen[peer])))
            ratios = (own["per_s"] / other["per_s"] for own, other in zip(append, seen[peer], strict=True))
            rows.append(row(f"append.vs_{name}", "×", ratios))
            ratios = (own["per_s"] / other["per_s"] for own, other in zip(one, seen[peer], strict=True))
            rows.append(row(f"append.c1.vs_{name}", "×", ratios))
    return rows


def _against_linear(cell: Figures) -> float:
    large, small = (
        (cell[f"{size}_export_s"] + cell[f"{size}_verify_s"]) / cell[f"{size}_count"] for size in ("large", "small")
    )
    return float(large / small)


def _say(line: str) -> None:
    """Progress, away from the table."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
    elif line:
        sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    raise SystemExit(main())
