"""What runs cost that wait for a person, and what it takes to resume a long one.

    python benchmarks/waiting.py [--quick] [--runs N] [--steps N] [--json PATH]

So many runs are started, each asks a person and parks. Then, in the same gate: memory and blocks of the
allocator a waiting run, CPU while nothing happens, time from an answer to the end of its run. In a new
process: time to open the gate, beside one with a tenth as many waiting. Last, a run of so many steps that
waits for a signal, and one of half as many, each resumed in a new process: from the signal to its end.
"""

import argparse
import asyncio
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "src")]

from answerable import Gate  # noqa: E402 - run as a script
from answerable.runtime import list_runs  # noqa: E402
from benchmarks._rows import row, table  # noqa: E402
from benchmarks._waiting_agents import an_app  # noqa: E402

IDLE_S = 10
ANSWERS = 30
_AT_ONCE = 200


async def _fill(gate: Gate, agent: str, numbers: list[int]) -> list[Any]:
    """Start runs, and wait until all of them are parked."""
    runs = []
    for first in range(0, len(numbers), _AT_ONCE):
        some = numbers[first : first + _AT_ONCE]
        runs += await asyncio.gather(*(gate.start(agent, number) for number in some))
    leases = gate.desk.ledger.leases
    for run in runs:
        while (standing := leases.standing(run)) is None or not standing.is_parked:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.02)
    return runs


async def wait(directory: Path, runs: int) -> dict[str, float]:
    """What so many waiting runs cost a gate."""
    async with an_app(directory).gate() as gate:
        await _fill(gate, "asks", list(range(1_000)))  # caches and pools have their size then
        before = _memory()
        waiting = await _fill(gate, "asks", list(range(runs)))
        after = _memory()
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(IDLE_S)
        idle = (time.process_time() - cpu) / (time.perf_counter() - began)
        approvals = {each.run: each.approval for each in gate.approvals.list()}
        took = []
        for run in waiting[:: max(1, len(waiting) // ANSWERS)]:
            said = approvals[run]
            began = time.perf_counter()
            await gate.desk.decide(approval=said, decision="approve", by="lea", roles=["lead"], reason="fine")
            await gate.result(run)
            took.append((time.perf_counter() - began) * 1e3)
    return {
        "waiting.rss_bytes": (after[0] - before[0]) / runs,
        "waiting.blocks": (after[1] - before[1]) / runs,
        "idle.cpu_percent": idle * 100,
        "answer.p50_ms": statistics.median(took),
    }


async def fill(directory: Path, runs: int) -> dict[str, float]:
    """Leave so many waiting runs behind."""
    async with an_app(directory).gate() as gate:
        await _fill(gate, "asks", list(range(runs)))
    return {}


async def opened(directory: Path, runs: int) -> dict[str, float]:
    """How long it takes to open a gate, of CPU and in all."""
    began, cpu = time.perf_counter(), time.process_time()
    async with an_app(directory).gate():
        await asyncio.sleep(0)
        return {"wall_ms": (time.perf_counter() - began) * 1e3, "cpu_ms": (time.process_time() - cpu) * 1e3}


async def walk(directory: Path, steps: int) -> dict[str, float]:
    """Leave a run behind that took so many steps and waits."""
    async with an_app(directory).gate() as gate:
        await _fill(gate, "walks", [steps])
    return {}


async def resume(directory: Path, steps: int) -> dict[str, float]:
    """From the signal to the end of that run."""
    async with an_app(directory).gate() as gate:
        (run,) = [each.run for each in list_runs(gate.reader)]
        began = time.perf_counter()
        await gate.runs.signal(run, "go")
        await gate.result(run)
        return {"s": time.perf_counter() - began}


def _memory() -> tuple[int, int]:
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident, sys.getallocatedblocks()


PHASES = {"wait": wait, "fill": fill, "opened": opened, "walk": walk, "resume": resume}


def main() -> int:
    """Measure, print, write; or be one phase of it, in a process of its own."""
    asked = _arguments()
    if asked.phase:
        sys.stdout.write(json.dumps(asyncio.run(PHASES[asked.phase](asked.dir, asked.runs))) + "\n")
        return 0
    runs, steps = (min(asked.runs, 500), min(asked.steps, 500)) if asked.quick else (asked.runs, asked.steps)
    found: dict[str, float] = {}
    place = Path(tempfile.mkdtemp(prefix=".bench-", dir=asked.dir))
    try:
        found |= _phase("wait", place / "wait", runs)
        found["startup.cpu_ms"] = _phase("opened", place / "wait", runs)["cpu_ms"]
        _phase("fill", place / "tenth", runs // 10)
        found["startup_tenth.cpu_ms"] = _phase("opened", place / "tenth", runs)["cpu_ms"]
        for name, length in (("resume", steps), ("resume_half", steps // 2)):
            _phase("walk", place / name, length)
            found[f"{name}.s"] = _phase("resume", place / name, length)["s"]
    finally:
        shutil.rmtree(place, ignore_errors=True)
    found["startup.vs_a_tenth_waiting"] = found["startup.cpu_ms"] / found["startup_tenth.cpu_ms"]
    found["resume.vs_half_the_steps"] = found["resume.s"] / found["resume_half.s"]
    units = {"bytes": "bytes", "blocks": "blocks", "percent": "%", "ms": "ms", "s": "s"}
    rows = [
        row(name, units.get(name.replace(".", "_").rsplit("_", 1)[1], "×"), [value]) for name, value in found.items()
    ]
    sys.stdout.write(f"{runs} runs wait; the long run has {steps} steps\n{table(rows)}\n")
    if asked.json:
        asked.json.write_text(json.dumps([each.to_json({}) for each in rows], indent=1, ensure_ascii=False) + "\n")
    return 0


def _phase(name: str, directory: Path, runs: int) -> dict[str, float]:
    directory.mkdir(exist_ok=True)
    command = [sys.executable, __file__, "--phase", name, "--runs", str(runs), "--dir", str(directory)]
    sys.stderr.write(f"{name}, {runs}\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What waiting costs, and what a long run takes to resume.")
    parser.add_argument("--quick", action="store_true", help="500 runs and 500 steps")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the rows there")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="on the disk to measure (not a tmpfs)")
    parser.add_argument("--phase", choices=PHASES, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
