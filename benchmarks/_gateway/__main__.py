"""Runs one party in this process: `upstream`, `gate UPSTREAM DIRECTORY`, `fastmcp UPSTREAM`, `load`."""

import asyncio
import importlib
import sys
from pathlib import Path

_MODULES = {
    "upstream": "benchmarks._gateway.upstream",
    "gate": "benchmarks._gateway.gate",
    "fastmcp": "benchmarks._gateway.fastmcp_proxy",
    "load": "benchmarks._gateway.load",
}

party, *rest = sys.argv[1:]
module = importlib.import_module(_MODULES[party])
if party == "gate":
    # On the loop that `answerable serve` takes.
    from answerable.server import run_on_uvloop

    run_on_uvloop(module.serve(rest[0], Path(rest[1])))
elif party == "load":
    module.main()
else:
    asyncio.run(module.serve(*rest))
