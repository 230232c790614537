"""What is held of a record in a file is held of one in a database: the same tests, on Postgres; and what only that has.

Left out is what is of files (rights, damage, what lies in them) and where Postgres keeps another promise: a checkpoint
follows its receipts within a second, and an earlier owner's leases end by themselves.
"""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.core import TenantId
from answerable.ledger import Draft, Ledger, control_run, join_store
from answerable.ledger._tests import test_journal, test_leases, test_ledger
from tests.leash import leash
from tests.postgres import Databases

TENANT = TenantId("default")
PATIENCE_S = 90
_OF_FILES = {
    "test_the_checkpoint_commits_with_the_receipts_it_covers",
    "test_text_is_nowhere_in_the_files_and_unseals_to_what_was_said",
    "test_a_text_whose_subject_key_is_gone_says_so_and_the_receipt_stands",
    "test_a_batch_that_meets_what_is_there_already_leaves_nothing_and_the_next_one_lands",
}
_SAME = [
    each
    for module in (test_journal, test_ledger, test_leases)
    for name, each in vars(module).items()
    if name.startswith("test_") and name not in _OF_FILES and "with_ledger" in inspect.signature(each).parameters
]


@pytest.mark.requirement("RT-5", "OP-1")
@pytest.mark.parametrize("same", _SAME, ids=[each.__name__.removeprefix("test_") for each in _SAME])
def test_what_holds_of_a_record_in_a_file_holds_of_one_in_a_database(
    same: Callable[..., None], tmp_path: Path, postgres: Databases
) -> None:
    url = postgres.new()

    def with_ledger(body: Callable[[Ledger], Awaitable[None]]) -> None:
        async def main() -> None:
            ledger = Ledger.open(tmp_path, store=url)
            await ledger.start()
            try:
                await body(ledger)
            finally:
                await ledger.close()

        asyncio.run(main())

    given: dict[str, Any] = {"with_ledger": with_ledger, "tmp_path": tmp_path}
    same(**{name: given[name] for name in inspect.signature(same).parameters})


_SEQUENCER = """
import asyncio, pathlib, sys
from answerable.ledger import Ledger

async def main():
    ledger = Ledger.open(pathlib.Path(sys.argv[1]))
    await ledger.start()
    print("there", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def sequencer(tmp_path: Path, postgres: Databases) -> Iterator["subprocess.Popen[str]"]:
    """A process that enters the log, and will go on doing so."""
    url = postgres.new()

    async def begin() -> None:
        ledger = Ledger.open(tmp_path / "one", store=url)
        await ledger.start()
        await ledger.close()

    asyncio.run(begin())
    for name in ("two", "three"):
        join_store(tmp_path / name, tmp_path / "one", enters_log=True)
    process = subprocess.Popen(
        [sys.executable, "-c", _SEQUENCER, tmp_path / "two"], stdout=subprocess.PIPE, text=True, preexec_fn=leash()
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    yield process
    process.kill()
    process.wait(30)
    process.stdout.close()


@pytest.mark.requirement("RT-5", "OP-1", "EV-2")
@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "standing still"])
def test_when_the_one_that_enters_the_log_is_gone_another_does(
    sequencer: "subprocess.Popen[str]", tmp_path: Path, how: signal.Signals
) -> None:
    async def main() -> None:
        ledger = Ledger.open(tmp_path / "three", lease=timedelta(seconds=5))
        await ledger.start()

        async def entered() -> None:
            """One more receipt, and the log has it."""
            said = {"control": {"do": "signal", "name": "a note"}}
            await ledger.append(
                Draft(tenant=TENANT, run=control_run(TENANT), phase="control", agent="gate", members=said)
            )
            size, deadline = len(ledger.reader.receipts(tenant=TENANT)), time.monotonic() + PATIENCE_S
            while ledger.reader.log_size(TENANT) < size:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)

        await entered()  # by the other one, which had the lock first
        os.kill(sequencer.pid, how)
        await entered()
        await ledger.close()

    asyncio.run(main())
