"""A tool server over stdio whose list is what a file says when it is asked: `python listing_server.py LIST.json`.

Every tool answers with its own name. Plain Python, so that it starts in a few milliseconds.
"""

import json
import sys
from pathlib import Path
from typing import Any

_SERVER = {"name": "listing", "version": "1"}


def _answer(method: str, params: dict[str, Any], file: Path) -> dict[str, Any]:
    if method == "initialize":
        capabilities = {"tools": {"listChanged": True}}
        return {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": _SERVER}
    if method == "tools/list":
        return {"tools": json.loads(file.read_text())}
    if method == "tools/call":
        if params["arguments"].get("text") == "die":
            sys.exit(0)
        return {"content": [{"type": "text", "text": params["name"]}]}
    return {}


def _serve(file: Path) -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if (number := asked.get("id")) is None:
            continue
        result = _answer(asked["method"], asked.get("params") or {}, file)
        said = {"result": result} if result else {"error": {"code": -32601, "message": "no such method"}}
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": number, **said}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
