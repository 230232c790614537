"""A tool server over stdio that writes down every call as it arrives, and what comes of it.

    python _books_server.py BOOKS.sqlite3 [REF:before | REF:after | REF:gone | REF:silent]

`pay` honours an idempotency key, `ship` can be asked about afterwards, `mail` neither. The last
argument says what happens while it holds the first call for REF: it ends the gate by SIGKILL `before`
or `after` anything came of the call, or does it and is `gone` or `silent`. Plain Python, so that it
starts in a few milliseconds.
"""

import json
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

__all__ = ["open_books"]

_TEXT = {"type": "string"}
_CALL = {"type": "object", "properties": {"ref": _TEXT, "minor": {"type": "integer"}}, "required": ["ref", "minor"]}
_KEYED = {**_CALL, "properties": {**_CALL["properties"], "idempotency_key": _TEXT}}  # type: ignore[dict-item]
_STATUS = {"type": "object", "properties": {"ref": _TEXT}, "required": ["ref"]}
_TOOLS = {"look": _CALL, "pay": _KEYED, "ship": _CALL, "ship_status": _STATUS, "mail": _CALL, "ban": _CALL}


def open_books(path: Path) -> sqlite3.Connection:
    """The books: `calls` as they arrived, `effects` as they were done."""
    books = sqlite3.connect(path, timeout=10, isolation_level=None)
    books.execute("PRAGMA journal_mode = WAL")
    books.execute("CREATE TABLE IF NOT EXISTS calls (id INTEGER PRIMARY KEY, tool TEXT, ref TEXT)")
    books.execute("CREATE TABLE IF NOT EXISTS effects (id INTEGER PRIMARY KEY, tool TEXT, ref TEXT, key TEXT UNIQUE)")
    return books


def _serve(books: sqlite3.Connection, deadly: str) -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        method, number = asked.get("method"), asked.get("id")
        if number is None:
            continue
        answer: dict[str, Any] = {}
        if method == "initialize":
            server = {"name": "books", "version": "1"}
            answer = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": server}
        elif method == "tools/list":
            answer = {"tools": [{"name": name, "inputSchema": schema} for name, schema in _TOOLS.items()]}
        elif method == "tools/call":
            said = _call(books, asked["params"]["name"], asked["params"]["arguments"], deadly)
            if said is None:
                continue
            answer = {"content": [{"type": "text", "text": json.dumps(said)}], "structuredContent": said}
        unknown = {"error": {"code": -32601, "message": "no such method"}}
        answered = {"result": answer} if answer else unknown
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": number, **answered}) + "\n")
        sys.stdout.flush()


def _call(books: sqlite3.Connection, tool: str, said: dict[str, Any], deadly: str) -> dict[str, Any] | None:
    ref, key = said["ref"], said.get("idempotency_key")
    books.execute("INSERT INTO calls (tool, ref) VALUES (?, ?)", (tool, ref))
    if tool == "ship_status":
        return {"found": bool(books.execute("SELECT 1 FROM effects WHERE ref = ?", (ref,)).fetchone()), "ref": ref}
    is_first = books.execute("SELECT count(*) FROM calls WHERE ref = ?", (ref,)).fetchone() == (1,)
    name, _, moment = deadly.rpartition(":")
    moment = moment if is_first and name == ref else ""
    if moment == "before":
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(0)
    if tool != "look":
        books.execute("INSERT OR IGNORE INTO effects (tool, ref, key) VALUES (?, ?, ?)", (tool, ref, key))
    if moment == "after":
        os.kill(os.getppid(), signal.SIGKILL)
    elif moment == "gone":
        os._exit(1)
    elif moment == "silent":
        return None
    return {"ref": ref}


if __name__ == "__main__":
    _serve(open_books(Path(sys.argv[1])), sys.argv[2] if len(sys.argv) > 2 else "")
