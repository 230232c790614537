"""Does one errand in this process and writes one line of JSON."""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

from benchmarks._liveness._work import Errand

ENGINES = {
    "store": "benchmarks._liveness.answerable_waits",
    "on_temporal": "benchmarks._liveness.answerable_waits",
    "temporal": "benchmarks._liveness.temporal_waits",
    "dbos": "benchmarks._liveness.dbos_waits",
    "store_pg": "benchmarks._liveness.answerable_waits",
    "dbos_pg": "benchmarks._liveness.dbos_waits",
}


def _told() -> None:
    sys.stdout.write(json.dumps("holding") + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do it; the process ends at once, whatever threads an engine left behind."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("errand", choices=("signal", "hold", "resume"))
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--url", default="")
    parser.add_argument("--temporal", default="")
    asked = parser.parse_args()
    errand = Errand(runs=asked.runs, directory=asked.dir, url=asked.url, temporal=asked.temporal, told=_told)
    said = getattr(importlib.import_module(ENGINES[asked.engine]), asked.errand)(errand)
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    os._exit(0)


main()
