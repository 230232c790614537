"""What a durable step costs here and in its peers, over the same fixed work, in one run.

    python benchmarks/durable_steps.py [--quick] [--json PATH] [--without-ours]

Ten-step runs of trivial steps with 400-byte results. Each engine is measured in a process of its
own on a fresh database on the same disk, and does the work again if it is done within a second;
repeats are interleaved, ratios are taken within a repeat and their median is reported. Equal
durability is checked, not assumed: an engine whose own connection does not fsync each commit (SQLite
in WAL, `synchronous=FULL`; Postgres with `fsync` and `synchronous_commit` on), or whose database
lacks a result afterwards, ends the run. Ends with 1 if a bar is missed.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks._rows import WORKERS, Cell, Row, import_row, rows_of, table  # noqa: E402 - run as a script
from benchmarks._server import Databases, running_postgres  # noqa: E402

CELLS: dict[str, tuple[str, str]] = {
    "raw": ("raw", ""),
    "dbos": ("dbos", ""),
    "langgraph": ("langgraph", ""),
    "road": ("answerable", "road"),
    "cached": ("answerable", "cached"),
    "reads": ("answerable", "reads"),
    "dbos.pg": ("dbos-postgres", ""),
    "langgraph.pg": ("langgraph-postgres", ""),
    "absurd.pg": ("absurd-postgres", ""),
    "road.pg": ("answerable", "road"),
    "road.pg.w1": ("workers", "1"),
    "road.pg.w2": ("workers", "2"),
    "road.pg.w4": ("workers", "4"),
    "road_temporal": ("answerable", "temporal"),
    "temporal": ("temporal", ""),
}
SLOW = ("road_temporal", "temporal", *WORKERS)  # not in a quick look
OURS = [name for name, (engine, _) in CELLS.items() if engine in ("answerable", "workers")]
RUNS_AT_ONE = 30
MOST_ON_POSTGRES = 100  # a thousand threads of a peer would want a thousand connections
LONGEST_CELL_S = 300


def main() -> int:
    """Measure, print, write; 0 if every bar holds."""
    asked = _arguments()
    engines = [
        name for name in CELLS if not (asked.without_ours and name in OURS) and not (asked.quick and name in SLOW)
    ]
    concurrencies = [100] if asked.quick else asked.concurrency
    stores = (True,) if asked.only_postgres else (False,) if asked.quick else (False, True)
    engines = [name for name in engines if _is_on_postgres(name) in stores]
    repeats: dict[Cell, list[dict[str, Any]]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        databases: Databases | None = None
        if True in stores:
            databases = stack.enter_context(running_postgres(Path(tempfile.gettempdir())))
        for repeat in range(asked.repeats):
            turn = engines[repeat % len(engines) :] + engines[: repeat % len(engines)]
            for concurrency in concurrencies:
                for name in turn:
                    if (_is_on_postgres(name) and concurrency > MOST_ON_POSTGRES) or (
                        name in WORKERS and concurrency == 1
                    ):
                        continue
                    _say(f"repeat {repeat + 1}/{asked.repeats}: {name}, {concurrency} at a time")
                    url = databases.new() if databases and _is_on_postgres(name) else ""
                    repeats[name, concurrency].append(_measure(name, concurrency, asked.dir, url))
    ordered = {(name, n): repeats[name, n] for n in concurrencies for name in engines if (name, n) in repeats}
    rows = rows_of(ordered)
    if not asked.without_ours:
        rows.append(import_row(_import_cpu_ms()))
    versions = _versions(ordered)

    _say("")
    sys.stdout.write(table(rows) + "\n\n" + _versions_line(versions) + "\n")
    if asked.json:
        asked.json.write_text(json.dumps([row.to_json(versions) for row in rows], indent=1, ensure_ascii=False) + "\n")
    return _verdict(rows)


def _is_on_postgres(name: str) -> bool:
    return ".pg" in name


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Durable steps: ours beside its peers, same work, same durability.")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="100 runs at a time only, on SQLite or with --only-postgres there, one gate",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--concurrency", type=lambda text: [int(n) for n in text.split(",")], default=[1, 100, 1000])
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the rows there")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="on the disk to measure (not a tmpfs)")
    parser.add_argument("--without-ours", action="store_true", help="the peers and the limit only")
    parser.add_argument("--only-postgres", action="store_true", help="the cells on Postgres only")
    return parser.parse_args()


def _measure(name: str, concurrency: int, disk: Path, url: str) -> dict[str, Any]:
    engine, variant = CELLS[name]
    runs = RUNS_AT_ONE if concurrency == 1 else concurrency
    directory = Path(tempfile.mkdtemp(prefix=".bench-", dir=disk))
    command = [sys.executable, "-m", "benchmarks._engines", engine, "--variant", variant]
    command += ["--concurrency", str(concurrency), "--runs", str(runs), "--dir", str(directory), "--url", url]
    try:
        done = subprocess.run(
            command, cwd=HERE.parent, env=_environment(), capture_output=True, text=True, timeout=LONGEST_CELL_S
        )
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if done.returncode != 0 or not done.stdout.strip():
        raise SystemExit(f"{name} at {concurrency} runs ended with {done.returncode}:\n{done.stderr[-4000:]}")
    cell: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if not cell["is_full"]:
        raise SystemExit(f"{name} does not fsync each commit: {cell['durability']}; nothing to compare")
    if cell["records"] != cell["expected"]:
        raise SystemExit(f"{name} left {cell['records']} step results on disk, not {cell['expected']}")
    return cell


def _environment() -> dict[str, str]:
    """Ours: the source tree first, so that what is measured is what is checked out."""
    source = os.pathsep.join([str(HERE.parent / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": source}


def _import_cpu_ms(times: int = 5) -> list[float]:
    seen = []
    for n in range(times + 1):
        child = subprocess.Popen([sys.executable, "-c", "import answerable"], env=_environment())
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise SystemExit("`import answerable` failed")
        if n:  # the first one may have to compile
            seen.append((used.ru_utime + used.ru_stime) * 1e3)
    return seen


def _versions(repeats: dict[Cell, list[dict[str, Any]]]) -> dict[str, str]:
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "cpus": str(os.cpu_count())}
    try:
        found["answerable"] = version("answerable")
    except PackageNotFoundError:
        found["answerable"] = "source tree"
    for seen in repeats.values():
        found |= seen[0]["versions"]
    return dict(sorted(found.items()))


def _versions_line(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {said}" for name, said in versions.items())


def _verdict(rows: list[Row]) -> int:
    missed = [row for row in rows if row.holds is False]
    for row in missed:
        _say(f"missed: {row.name} is {row.value:.2f} {row.unit}, the bar is {row.bar}")
    return 1 if missed else 0


def _say(line: str) -> None:
    """Progress, away from the table."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{line}")
    elif line:
        sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    raise SystemExit(main())
