"""How soon a run goes on, here and in peers: after a signal, and after SIGKILL of the worker that held it.

    python benchmarks/liveness.py [--quick] [--repeats N] [--runs N] [--json PATH]

`signal_p50_ms`: from sending a signal to a run that waits, to its next step; one at a time. `recovery_s`: a
worker holds so many runs in the middle of a step, is killed and started again at once; from the kill until
all of them are done, its start included. Each engine has processes of its own and a fresh database on the
same disk; repeats are interleaved. `store` is Answerable on its store, `on_temporal` with a Temporal server
that has runs advanced; `temporal` is Temporal as its own users have it; `store_pg` and `dbos_pg` are those two
on one Postgres server. A signal here is a receipt: signed, chained and on disk.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks._rows import row, table  # noqa: E402 - run as a script
from benchmarks._server import Databases, running_postgres  # noqa: E402
from benchmarks._temporal_server import temporal_server  # noqa: E402

ENGINES = ("store", "on_temporal", "temporal", "dbos", "store_pg", "dbos_pg")
BESIDE = {"store": ("temporal", "dbos"), "on_temporal": ("temporal", "dbos"), "store_pg": ("dbos_pg",)}
WITH_TEMPORAL = ("on_temporal", "temporal")
SIGNALS = 30


class _Place(NamedTuple):
    """Where an engine works: what it does not need is empty."""

    directory: Path
    temporal: str
    url: str


def main() -> int:
    """Measure, print, write."""
    asked = _arguments()
    took: dict[str, list[float]] = defaultdict(list)
    repeats = 1 if asked.quick else asked.repeats
    runs = min(asked.runs, 50) if asked.quick else asked.runs
    engines = [engine for engine in ENGINES if engine in asked.only]
    with running_postgres(Path(tempfile.gettempdir())) as databases:
        for repeat in range(repeats):
            for engine in engines[repeat % len(engines) :] + engines[: repeat % len(engines)]:
                sys.stderr.write(f"repeat {repeat + 1}/{repeats}: {engine}\n")
                with _place(engine, asked.dir, databases) as place:
                    took[f"{engine}.signal_p50_ms"].append(
                        statistics.median(_told(_errand(engine, "signal", SIGNALS, place)))
                    )
                with _place(engine, asked.dir, databases) as place:
                    took[f"{engine}.recovery_s"].append(_recovery_s(engine, runs, place))
    rows = [row(name, name.rsplit("_", 1)[1], seen) for name, seen in took.items()]
    for figure in ("signal_p50_ms", "recovery_s"):
        for own, peers in BESIDE.items():
            for peer in peers if own in engines else ():
                if peer not in engines:
                    continue
                pairs = zip(took[f"{own}.{figure}"], took[f"{peer}.{figure}"], strict=True)
                rows.append(row(f"{own}.{figure.rsplit('_', 1)[0]}.vs_{peer}", "×", (a / b for a, b in pairs)))
    sys.stdout.write(f"{runs} runs held by the worker that is killed\n{table(rows)}\n")
    if asked.json:
        asked.json.write_text(json.dumps([each.to_json({}) for each in rows], indent=1, ensure_ascii=False) + "\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How soon a run goes on: after a signal, after its worker was killed.")
    parser.add_argument("--quick", action="store_true", help="once, and with 50 runs")
    parser.add_argument("--only", nargs="+", choices=ENGINES, default=ENGINES, help="these engines alone")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--runs", type=int, default=500, help="held by the worker that is killed")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the rows there")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="on the disk to measure (not a tmpfs)")
    return parser.parse_args()


@contextlib.contextmanager
def _place(engine: str, disk: Path, databases: Databases) -> Any:
    """A fresh directory, a database on the one Postgres and a Temporal server where the engine needs them."""
    directory = Path(tempfile.mkdtemp(prefix=".bench-", dir=disk))
    try:
        with temporal_server(directory) if engine in WITH_TEMPORAL else contextlib.nullcontext("") as address:
            yield _Place(directory, address, databases.new() if engine.endswith("_pg") else "")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _errand(engine: str, errand: str, runs: int, place: _Place) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks._liveness", engine, errand, "--runs", str(runs)]
    command += ["--dir", str(place.directory), "--temporal", place.temporal, "--url", place.url]
    source = os.pathsep.join([str(HERE.parent / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": source}
    return subprocess.Popen(command, cwd=HERE.parent, env=environment, stdout=subprocess.PIPE, text=True)


def _told(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{process.args} ended with {process.wait()}")
    return json.loads(line)


def _recovery_s(engine: str, runs: int, place: _Place) -> float:
    holding = _errand(engine, "hold", runs, place)
    _told(holding)
    began = time.perf_counter()
    holding.send_signal(signal.SIGKILL)
    holding.wait()
    done = _told(_errand(engine, "resume", runs, place))
    took_s = time.perf_counter() - began
    if done != runs:
        raise SystemExit(f"{engine} finished {done} of {runs} runs")
    return took_s


if __name__ == "__main__":
    raise SystemExit(main())
