"""What verifying a large bundle takes in memory.

A bundle of 10,000 receipts beside one of 1,000 on every change; in `make soak` 50,000 beside 5,000.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from answerable.ledger import Reader, export_bundle, write_trust
from benchmarks._ledger.__main__ import record
from tests.soak import IS_SOAK

pytestmark = [pytest.mark.requirement("EV-3"), pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
MOST_BYTES_A_RECEIPT = 160
"""What is kept in memory of a receipt of 1.8 kB beside those of the run that is judged: MEASURED 62 to 90."""
PROGRAM = """
import sys, tracemalloc
from answerable_verify import _cores, verify
_cores._WORTH_HELP = sys.maxsize  # all in this process
tracemalloc.start()
report = verify(sys.argv[1], sys.argv[2])
assert report.verdict == "verified", report.first
print(report.receipts, tracemalloc.get_traced_memory()[1])
"""


def a_bundle(directory: Path, count: int) -> tuple[Path, Path]:
    """A bundle of so many receipts in runs of a hundred, and their beginnings and ends, with its trust."""
    runs = record(directory / "data", count, agents=count // 100).runs
    reader = Reader.open(directory / "data")
    try:
        return (
            export_bundle(reader, runs, directory / "b.zip", disclose=False),
            write_trust(reader, directory / "trust.toml"),
        )
    finally:
        reader.close()


def peak_of(bundle: Path, trust: Path) -> tuple[int, int]:
    """How many receipts were verified, and the most memory that took at a time."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    words = [sys.executable, "-c", PROGRAM, str(bundle), str(trust)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=500, check=True)
    receipts, peak_bytes = map(int, done.stdout.split())
    return receipts, peak_bytes


def test_a_bundle_ten_times_as_large_takes_hardly_more_memory(tmp_path: Path) -> None:
    counts = (5_000, 50_000) if IS_SOAK else (1_000, 10_000)

    (few, small_bytes), (many, large_bytes) = (peak_of(*a_bundle(tmp_path / str(count), count)) for count in counts)

    each_bytes = (large_bytes - small_bytes) / (many - few)
    assert each_bytes < MOST_BYTES_A_RECEIPT
