"""Several gates on one Postgres, each a process that starts its share of the runs; the variant says how many.

The road is the same as with one gate, policy decided and receipts signed in each. The server and the gates share
this machine's cores.
"""

import asyncio
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from answerable.ledger import Reader, join_store
from benchmarks._engines import Measured, Stopwatch, Work
from benchmarks._engines._postgres import durability_of_server
from benchmarks._engines.answerable_road import drive


def measure(work: Work) -> Measured:
    """Start the gates, warm each with one run, have them go at once, and wait for the last."""
    workers = int(work.variant)
    share = replace(work, runs=work.runs // workers, concurrency=work.concurrency // workers)
    asyncio.run(drive(replace(share, runs=0), Stopwatch(least_s=0), []))
    gates = []
    for number in range(workers):
        data = work.directory / f"gate-{number}"
        join_store(data, work.directory / "data", enters_log=True)
        command = [sys.executable, "-m", "benchmarks._engines.answerable_workers", str(data), work.url]
        command += [str(share.runs), str(share.concurrency), str(number * share.runs)]
        gates.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for gate in gates:
        _heard(gate)
    watch = Stopwatch()
    watch.start()
    for gate in gates:
        assert gate.stdin is not None
        gate.stdin.write("go\n")
        gate.stdin.flush()
    said = [_heard(gate) for gate in gates]
    watch.stop()
    for gate in gates:
        gate.communicate()
    outcomes = sum(receipt.phase == "outcome" for receipt in Reader.open(work.directory / "data").receipts())
    return Measured(
        elapsed_s=watch.stopped_s,
        runs=share.runs * workers,
        latencies_s=[float(each) for line in said for each in line.split()],
        records=outcomes - (workers + 1) * work.steps,
        durability=durability_of_server(work.url),  # each gate's own connection is asked where there is one
        versions={"answerable": version("answerable")},
    )


def _heard(gate: "subprocess.Popen[str]") -> str:
    assert gate.stdout is not None
    line = gate.stdout.readline()
    if not line:
        raise SystemExit(f"a gate ended with {gate.wait()}")
    return line


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _ready() -> None:
    _tell("ready")
    sys.stdin.readline()


if __name__ == "__main__":
    directory, url, runs, concurrency, first = sys.argv[1:]
    work = Work(concurrency=int(concurrency), runs=int(runs), directory=Path(directory).parent, url=url)
    own = Stopwatch(least_s=0)
    asyncio.run(drive(work, own, [], data=Path(directory).name, first=int(first), ready=_ready))
    _tell(" ".join(f"{latency_s:.6f}" for latency_s in own.latencies_s))
