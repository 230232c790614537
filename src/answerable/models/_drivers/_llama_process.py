"""A language model in a process of its own: llama.cpp's server, behind a unix socket.

    python _llama_process.py '{"weights": "…", "socket": "…", …}'

A process of its own, because the library takes over SIGINT and SIGTERM of the one it is loaded into, ends it on a
failed assertion, and listens. It ends when its standard input does: with the gate, however that ends.
"""

import json
import os
import shutil
import sys
from pathlib import Path

__all__: list[str] = []


def main() -> None:
    """Serve until standard input ends."""
    import xllamacpp

    asked = json.loads(sys.argv[1])
    params = xllamacpp.CommonParams()
    params.model.path = asked["weights"]
    params.model_alias = {asked["model"]}
    params.n_ctx = asked["context_tokens"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked["threads"]
    params.hostnames = [asked["socket"]]
    params.verbosity = 0
    params.ui = params.endpoint_slots = params.warmup = False
    params.cache_ram_mib = 0
    # The same question has the same answer: the likeliest word each time, one question at a time, and nothing
    # kept from the one before, whose length would change how sums are rounded.
    params.sampling.temp = 0
    params.sampling.seed = 0
    params.n_parallel = 1
    params.cache_prompt = False
    # Between batches it notices that nobody waits for the answer any more.
    params.n_batch = params.n_ubatch = 256
    server = xllamacpp.Server(params)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    shutil.rmtree(Path(asked["socket"]).parent, ignore_errors=True)
    del server  # held until here: it ends with its last reference
    os._exit(0)


if __name__ == "__main__":
    main()
