"""Microsoft's Agent Governance Toolkit: `FlightRecorder`, its SQLite log with a hash chain.

    python agt.py --dir DIR --count N

A call is one entry: `start_trace` and `log_success`. As shipped it buffers 100 writes for up to five seconds and does
not fsync; here each of its writes is committed (`enable_batching=False`, its own switch) in WAL mode with
`synchronous=FULL`. It signs nothing and has one lock, so one caller is its best case.
"""

import argparse
import contextlib
import io
import json
import time
from importlib.metadata import version
from pathlib import Path

from agent_control_plane.flight_recorder import FlightRecorder  # type: ignore[import-not-found]
from event import event  # type: ignore[import-not-found]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    asked = parser.parse_args()
    with contextlib.redirect_stdout(io.StringIO()):
        recorder = FlightRecorder(db_path=str(asked.dir / "flight.db"), enable_batching=False)
        connection = recorder._get_connection()
        connection.execute("PRAGMA synchronous=FULL")
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        level = connection.execute("PRAGMA synchronous").fetchone()[0]
        start = time.perf_counter()
        for number in range(asked.count):
            said = event(number)
            trace = recorder.start_trace("clerk", said["tool"], said["arguments"], said["reason"])
            recorder.log_success(trace, result=said["result"], execution_time_ms=1.0)
        wall_s = time.perf_counter() - start
        kept = connection.execute("SELECT COUNT(*) FROM audit_log WHERE policy_verdict = 'allowed'").fetchone()[0]
    found = {
        "per_s": asked.count / wall_s,
        "is_full": mode == "wal" and level == 2,
        "kept": kept,
        "versions": {"agent-governance-toolkit": version("agent-governance-toolkit-core")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
