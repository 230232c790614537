"""A gate that serves MCP in front of a server with books: `DATA POLICY BOOKS [REF:before | REF:after]`.

Prints its URL, and a new key where none was given in the environment.
"""

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

from answerable import Answerable, ToolDeclaration
from answerable.server import serve_gate

BOOKS_SERVER = Path(__file__).with_name("_books_server.py")


async def main(data: str, policy: str, books: str, deadly: str = "") -> None:
    app = Answerable(data=data, policy=policy)
    app.mcp(
        "bank",
        command=[sys.executable, str(BOOKS_SERVER), books, deadly],
        declare={
            "pay": ToolDeclaration(effect="write", idempotency="idempotency_key"),
            "ship": ToolDeclaration(effect="write", probe="ship_status"),
            "ship_status": ToolDeclaration(effect="read"),
        },
    )
    app.wired("desk")
    async with app.gate() as gate:
        gate.sessions._patience = timedelta(milliseconds=200)
        for session in gate.sessions._by_run.values():
            session._patience_s = 0.2
        key = os.environ.get("KEY") or (await gate.desk.key(do="new", named="desk"))["key"]
        await serve_gate(
            gate,
            host="127.0.0.1",
            port=0,
            on_listening=lambda url: print(url, key, flush=True),  # noqa: T201
        )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
