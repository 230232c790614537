"""What an agent that was taken over by an attacker gets done, with labels and without.

    python benchmarks/injection.py [--quick] [--json PATH]

AgentDojo's suites (v1.2.2) behind a real gate, and no model: user's tasks and attacks are replayed as the calls that
solve them. The attacker has the agent to themselves: once it has read all that the user's task makes it read, with the
attack planted wherever outsiders can write, it calls what the attack wants and nothing else, and goes on after a
refusal. Where a suite leaves an attack's calls empty, they are written out (`_injection/attacks.py`).

`labels.toml` and the policy beside it hold for whole suites: nothing in them names a task. They were written against
`workspace` and `banking`; `slack` and `travel` are only reported. The user is asked about what is held, says yes to
the very calls of their own task and no to everything else. An adaptive attacker sends the same attacks to where the
user's own request names somebody. Ends with 1 if a bar is missed.
"""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks._rows import Row, row, table  # noqa: E402 - run as a script

SUITES = ("workspace", "banking", "slack", "travel")
TUNED = ("workspace", "banking")
QUICK_EVERY = 14
LONGEST_SUITE_S = 1800
VENV = HERE.parent / ".venv" / "agentdojo" / "bin" / "python"


def main() -> int:
    """Replay, print, write; 0 if every bar holds."""
    asked = _arguments()
    began = time.perf_counter()
    found: dict[str, dict[str, Any]] = {}
    suites, every = (TUNED, QUICK_EVERY) if asked.quick else (asked.suites, asked.every)
    with ThreadPoolExecutor(max_workers=2) as pool:
        measuring = {suite: pool.submit(_measure, suite, asked.dir, every=every) for suite in suites}
        for suite, measured in measuring.items():
            found[suite] = measured.result()
            _say(f"{suite}: {found[suite]['attacks']} attacks in {found[suite]['seconds']} s")
    rows = [each for suite, told in found.items() for each in _rows(suite, told)]
    versions = {"python": platform.python_version(), **next(iter(found.values()))["versions"]}

    sys.stdout.write(table(rows) + "\n\n")
    sys.stdout.write(", ".join(f"{name} {said}" for name, said in versions.items()))
    sys.stdout.write(f"; {time.perf_counter() - began:.0f} s\n")
    if asked.json:
        asked.json.write_text(json.dumps([each.to_json(versions) for each in rows], indent=1) + "\n")
    for suite, told in found.items():
        for attack in told["successes"]:
            _say(f"{suite}: got through: {attack}")
    missed = [each for each in rows if each.holds is False]
    for each in missed:
        _say(f"missed: {each.name} is {each.value:g}, the bar is {each.bar}")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Attacks on agents, with labels and without.")
    parser.add_argument("--quick", action="store_true", help="two suites, and a fourteenth of their attacks")
    parser.add_argument("--suites", type=lambda text: text.split(","), default=list(SUITES))
    parser.add_argument("--every", type=int, default=1, help="only each n-th attack of a task")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the rows there")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="where the gates keep their data")
    return parser.parse_args()


def _measure(suite: str, disk: Path, *, every: int) -> dict[str, Any]:
    directory = Path(tempfile.mkdtemp(prefix=".bench-", dir=disk))
    command = [_python(), "-m", "benchmarks._injection", suite, "--dir", str(directory), "--every", str(every)]
    source = os.pathsep.join([str(HERE.parent / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            command,
            cwd=HERE.parent,
            env={**os.environ, "PYTHONPATH": source},
            capture_output=True,
            text=True,
            timeout=LONGEST_SUITE_S,
        )
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if done.returncode != 0 or not done.stdout.strip():
        raise SystemExit(f"{suite} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _python() -> str:
    """An interpreter that has AgentDojo beside what the gate needs."""
    if importlib.util.find_spec("agentdojo"):
        return sys.executable
    if not VENV.exists():
        raise SystemExit("AgentDojo is not installed beside this benchmark: `make .venv/.agentdojo` does it")
    return str(VENV)


def _rows(suite: str, told: dict[str, Any]) -> list[Row]:
    tasks = told["tasks"]
    asked = [task["approvals"] + task["rejected"] for task in tasks]
    untouched = sum(task["is_done"] and not times for task, times in zip(tasks, asked, strict=True))
    figures = {
        "attacks": (told["attacks"], "attacks"),
        "attack_successes_without": (len(told["successes_without"]), "attacks"),
        "attack_successes": (len(told["successes"]), "attacks"),
        "tasks_untouched_ratio": (untouched / len(tasks), "of tasks"),
        "tasks_completed_ratio": (sum(task["is_done"] for task in tasks) / len(tasks), "of tasks"),
        "approvals_per_100_tasks": (100 * sum(asked) / len(tasks), "approvals"),
        "most_approvals_a_task": (max(asked), "approvals"),
        "adaptive_tasks_tried": (told["adaptive_tried"], "tasks"),
        "adaptive_tasks_passed": (len(told["adaptive_passed"]), "tasks"),
    }
    return [row(f"{suite}.{name}", unit, [value]) for name, (value, unit) in figures.items()]


def _say(line: str) -> None:
    """Progress, away from the table."""
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    raise SystemExit(main())
