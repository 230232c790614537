"""A gate whose disk fills up at the moment in which an effect has been done.

    python _full_disk.py DIRECTORY irreversible|keyed

The kernel refuses every write past a file's first page (`RLIMIT_FSIZE`) from the effect on, for a third of a second.
To forbid growing is not enough: a gate keeps its write-ahead log longer than what is in it.
"""

import asyncio
import json
import resource
import sys
from pathlib import Path
from typing import Any

from answerable import Answerable


def _let_files_be_written(most_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))


async def _main(directory: Path, kind: str) -> None:
    done: list[str] = []
    (directory / "policy" / "authorize").mkdir(parents=True)
    (directory / "policy" / "authorize" / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(data=directory / "data", policy=directory / "policy")

    async def mail(ref: str, key: str = "") -> str:
        done.append(ref)
        if ref == "first":
            _let_files_be_written(4096)
            asyncio.get_running_loop().call_later(0.3, _let_files_be_written, resource.RLIM_INFINITY)
        return ref

    async def clerk(run: Any, given: None) -> list[str]:
        return [await run.tool("mail", ref="first"), await run.tool("mail", ref="second")]

    if kind == "keyed":  # the agent has its outcome before it is known that the disk does not take it
        app.tool(mail, effect="write", idempotency="key")
    else:
        app.tool(mail, effect="irreversible")
    app.agent(clerk)
    async with asyncio.timeout(20), app.gate() as gate:
        run = await gate.start("clerk", None)
        result = await gate.result(run)
        phases = [receipt.phase for receipt in gate.reader.receipts(run=run)]
    sys.stdout.write(json.dumps({"result": result, "done": done, "phases": phases}))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2]))
