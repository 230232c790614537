"""Measures one engine in this process and writes one line of JSON."""

import argparse
import importlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks._engines._work import Measured, Work

ENGINES = {
    "raw": "benchmarks._engines.raw_sqlite",
    "dbos": "benchmarks._engines.dbos_sqlite",
    "langgraph": "benchmarks._engines.langgraph_sqlite",
    "temporal": "benchmarks._engines.temporal_steps",
    "answerable": "benchmarks._engines.answerable_road",
    "workers": "benchmarks._engines.answerable_workers",
    "dbos-postgres": "benchmarks._engines.dbos_postgres",
    "absurd-postgres": "benchmarks._engines.absurd_postgres",
    "langgraph-postgres": "benchmarks._engines.langgraph_postgres",
}


def main() -> None:
    """Measure and report; the process ends at once, whatever threads an engine left behind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--variant", default="")
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--url", default="")
    asked = parser.parse_args()
    work = Work(
        concurrency=asked.concurrency, runs=asked.runs, directory=asked.dir, variant=asked.variant, url=asked.url
    )

    measured: Measured = importlib.import_module(ENGINES[asked.engine]).measure(work)

    ranked = sorted(measured.latencies_s)
    steps = measured.runs * work.steps
    line = {
        "steps_s": steps / measured.elapsed_s,
        "p50_ms": ranked[len(ranked) // 2] * 1e3,
        "p99_ms": ranked[int(len(ranked) * 0.99)] * 1e3,
        "peak_mib": _peak_mib(),
        "records": measured.records,
        "expected": steps,
        "durability": asdict(measured.durability),
        "is_full": measured.durability.is_full,
        "versions": measured.versions,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    os._exit(0)


def _peak_mib() -> float:
    # Not `ru_maxrss`: across fork and exec that one starts at the parent's size.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this kernel does not report VmHWM")


main()
