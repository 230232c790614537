"""Tracekit: its signer's ledger, Ed25519 over a hash chain, fsynced record by record.

    python tracekit_file.py --dir DIR --count N

The ledger alone: neither the socket to the signer nor its policy, both of which every call of an agent takes.
"""

import argparse
import json
import time
from importlib.metadata import version
from pathlib import Path

from event import event  # type: ignore[import-not-found]
from tracekit.ledger import Keys, Ledger  # type: ignore[import-not-found]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    asked = parser.parse_args()
    path = asked.dir / "log" / "ledger.jsonl"
    ledger = Ledger(str(path), Keys.load_or_create(str(asked.dir / "keys")))
    start = time.perf_counter()
    for number in range(asked.count):
        ledger.append({"v": 1, "kind": "tool_call", "agent": "clerk", "data": event(number)})
    wall_s = time.perf_counter() - start
    ledger.close()
    kept = len(path.read_text().splitlines())
    found = {
        "per_s": asked.count / wall_s,
        "is_full": True,  # `Ledger.append` calls fsync before it returns
        "kept": kept,
        "versions": {"tracekit-ai": version("tracekit-ai")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
