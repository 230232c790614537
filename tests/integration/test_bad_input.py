"""What is broken, missing or silly is told clearly, by code and in words, and nothing on the record is lost."""

import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable, Limits
from answerable.app import Gate
from answerable.core import AnswerableError, ConfigError, ExecutionError, RunId
from answerable.ledger import Reader, StoreDamaged, export_bundle, write_trust
from answerable.models import ScriptedProvider
from answerable.tools import ToolDeclaration
from answerable_verify import BadContainer, verify
from tests.faults._books_server import open_books

SERVER = Path(__file__).parents[1] / "faults" / "_books_server.py"
POLICY = Path(__file__).parents[1] / "faults" / "policy"
KEYED = ToolDeclaration(effect="write", idempotency="idempotency_key")
DATABASE = "answerable.sqlite3"


def an_app(directory: Path, *, command: list[str] | None = None, deadly: str = "", policy: Path = POLICY) -> Answerable:
    """A clerk with a real tool server and a model that answers whatever it is asked to."""
    app = Answerable(data=directory / "data", policy=policy)
    books = [sys.executable, "-S", "-E", str(SERVER), str(directory / "books.sqlite3"), deadly]
    declared = {
        "look": ToolDeclaration(effect="read"),
        "pay": KEYED,
        "ship": ToolDeclaration(effect="irreversible", probe="ship_status"),
        "mail": ToolDeclaration(effect="irreversible", timeout=timedelta(seconds=0.3)),
    }
    app.mcp(
        "books", command=command or books, declare=declared, startup_timeout=timedelta(seconds=1 if command else 30)
    )
    app.provider(ScriptedProvider({"parrot": lambda messages: messages[-1]["content"]}))

    async def clerk(run: Any, given: list[str]) -> Any:
        tool, ref = given
        if tool == "model":
            return await run.model(ref, schema=dict[str, int], max_tokens=20)
        return await run.tool(f"books.{tool}", ref=ref, minor=1)

    app.agent(clerk, model="scripted:parrot", limits=Limits(steps=20, tokens=1000))
    return app


async def work(gate: Gate, tool: str, ref: str) -> Any:
    """One run of the clerk, to its end."""
    async with asyncio.timeout(20):
        return await gate.result(await gate.start("clerk", [tool, ref]))


def is_clear(error: AnswerableError) -> bool:
    """A code, and a message that says what to do."""
    return "." in error.code and len(error.message) > 20 and "Traceback" not in error.message


def a_record(directory: Path) -> RunId:
    """A data directory with a run of some size on it, and the trust to verify it against."""

    async def main() -> RunId:
        async with an_app(directory).gate() as gate:
            run = await gate.start("clerk", ["pay", "x" * 20_000])
            await gate.result(run)
            write_trust(gate.reader, directory / "trust.toml")
            export_bundle(gate.reader, [run], directory / "run.evidence.zip")
            return run

    run = asyncio.run(main())
    with contextlib.closing(sqlite3.connect(directory / "data" / DATABASE)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the whole store in one file
    return run


@contextlib.asynccontextmanager
async def refused(app: Answerable) -> AsyncIterator[pytest.ExceptionInfo[AnswerableError]]:
    """A gate that must not open."""
    with pytest.raises(AnswerableError) as caught:
        async with app.gate():
            pass
    yield caught


# -- the store --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("EV-3")
@pytest.mark.parametrize("damage", ["header", "pages", "late", "cut", "text"])
def test_a_damaged_store_is_named_and_its_backup_still_works(tmp_path: Path, damage: str) -> None:
    run = a_record(tmp_path)
    store = tmp_path / "data" / DATABASE
    whole = store.read_bytes()
    damaged = {
        "header": b"\0" * 100 + whole[100:],
        "pages": whole[:4096] + os.urandom(len(whole) - 4096),
        "late": whole[: 4096 * 32] + os.urandom(len(whole) - 4096 * 32),
        "cut": whole[: len(whole) // 2 // 4096 * 4096 + 100],
        "text": b"this is no database",
    }[damage]
    store.write_bytes(damaged)

    def read() -> None:
        with contextlib.closing(Reader.open(tmp_path / "data")) as reader:
            list(reader.all())

    async def act() -> None:
        async with an_app(tmp_path).gate() as gate:
            await work(gate, "pay", "after")

    with pytest.raises(StoreDamaged) as caught:
        read()
    with pytest.raises(StoreDamaged) as opened:
        asyncio.run(act())
    store.write_bytes(whole)
    with contextlib.closing(Reader.open(tmp_path / "data")) as reader:
        kept = reader.receipts(run=run)

    assert is_clear(caught.value)
    assert opened.value.code == "evidence.store_damaged"
    assert str(store) in caught.value.message
    assert kept[-1].phase == "run.close"


@pytest.mark.requirement("RT-1")
def test_a_second_process_on_the_same_data_directory_is_turned_away_and_told_by_whom(tmp_path: Path) -> None:
    program = (
        "import sys, json; from pathlib import Path; from answerable.ledger import DirectoryInUse, Ledger\n"
        "try: Ledger.open(Path(sys.argv[1]))\n"
        "except DirectoryInUse as error: print(json.dumps([error.code, error.message, error.pid]))"
    )

    async def main() -> tuple[Any, Any]:
        async with an_app(tmp_path).gate() as gate:
            second = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", program, str(tmp_path / "data")],
                capture_output=True,
                text=True,
                check=True,
            )
            return json.loads(second.stdout), await work(gate, "pay", "first goes on")

    (code, message, pid), done = asyncio.run(main())

    assert (code, pid) == ("config.directory_in_use", os.getpid())
    assert str(pid) in message
    assert done == {"ref": "first goes on"}


# -- bundles ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("EV-3")
def test_a_bundle_cut_off_anywhere_does_not_verify_and_never_crashes_the_verifier(tmp_path: Path) -> None:
    a_record(tmp_path)
    whole = (tmp_path / "run.evidence.zip").read_bytes()
    cut = tmp_path / "cut.zip"

    for length in [0, 1, 22, 1000, *range(2000, len(whole), max(1, len(whole) // 40)), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        try:
            found = [str(each) for each in verify(cut, tmp_path / "trust.toml").findings]
        except BadContainer as error:
            found = [str(error)]
        assert all(found)
        assert found

    assert verify(tmp_path / "run.evidence.zip", tmp_path / "trust.toml").verdict == "verified"


# -- policy -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize(
    "policy",
    [
        'permit (principal, action == Action::"books.pya", resource);',
        '@id("twice") permit (principal, action, resource); @id("twice") permit (principal, action, resource);',
        "permit (principal, action, resource",
        '@id("x") permit (principal, action, resource) when { context.no_such_fact };',
    ],
    ids=["unknown-action", "id-twice", "no-cedar", "unknown-fact"],
)
def test_a_policy_that_means_nothing_keeps_the_gate_shut_until_it_is_corrected(tmp_path: Path, policy: str) -> None:
    run = a_record(tmp_path)
    wrong = tmp_path / "policy"
    (wrong / "authorize").mkdir(parents=True)
    (wrong / "authorize" / "clerk.cedar").write_text(policy)

    async def shut() -> AnswerableError:
        async with refused(an_app(tmp_path, policy=wrong)) as caught:
            return caught.value

    async def corrected() -> Any:
        async with an_app(tmp_path).gate() as gate:
            assert gate.reader.receipts(run=run)[-1].phase == "run.close"
            return await work(gate, "pay", "again")

    error = asyncio.run(shut())

    assert isinstance(error, ConfigError)
    assert error.code == "config.policy_invalid"
    assert is_clear(error)
    assert asyncio.run(corrected()) == {"ref": "again"}


# -- tool servers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program", ["raise SystemExit(3)", "import time; time.sleep(60)", "print('hello', flush=True); input(); input()"]
)
def test_a_tool_server_that_is_dead_silent_or_babbles_keeps_the_gate_shut(tmp_path: Path, program: str) -> None:
    async def main() -> AnswerableError:
        async with refused(an_app(tmp_path, command=[sys.executable, "-S", "-E", "-c", program])) as caught:
            return caught.value

    error = asyncio.run(main())

    assert error.code == "execution.tool_server_unavailable"
    assert is_clear(error)
    assert "books" in error.message


@pytest.mark.requirement("RT-2")
@pytest.mark.parametrize("tool", ["look", "pay", "ship"])
def test_a_tool_server_that_dies_in_mid_call_is_started_again_and_the_call_done_once(tmp_path: Path, tool: str) -> None:
    async def main() -> Any:
        async with an_app(tmp_path, deadly="it:gone").gate() as gate:
            return await work(gate, tool, "it")

    done = asyncio.run(main())
    with contextlib.closing(open_books(tmp_path / "books.sqlite3")) as books:
        effects = books.execute("SELECT tool FROM effects WHERE ref = 'it'").fetchall()

    assert done == {"ref": "it"}
    assert effects == ([] if tool == "look" else [(tool,)])


@pytest.mark.requirement("RT-2", "RT-3")
@pytest.mark.parametrize("end", ["gone", "silent"])
def test_an_irreversible_call_that_is_never_answered_waits_for_a_person(tmp_path: Path, end: str) -> None:
    async def main() -> Any:
        async with asyncio.timeout(20), an_app(tmp_path, deadly=f"it:{end}").gate() as gate:
            run = await gate.start("clerk", ["mail", "it"])
            while "observation" not in [receipt.phase for receipt in gate.reader.receipts(run=run)]:  # noqa: ASYNC110
                await asyncio.sleep(0.005)  # the store has no event to wait for
            other = await work(gate, "pay", "meanwhile")
            (step,) = gate.reader.history(run).intents
            await gate.desk.resolve(run=run, step=step, happened=True, result={"ref": "it"}, by="ann", reason="asked")
            return other, await gate.result(run)

    assert asyncio.run(main()) == ({"ref": "meanwhile"}, {"ref": "it"})
    with contextlib.closing(open_books(tmp_path / "books.sqlite3")) as books:
        assert books.execute("SELECT count(*) FROM calls WHERE ref = 'it'").fetchone() == (1,)


# -- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("MD-3")
@pytest.mark.parametrize("garbage", ["no json", '{"n": "not a number"}', "[1, 2", "\x00\ufffd", '{"n": 1} and more'])
def test_a_model_that_returns_garbage_fails_its_run_clearly_and_only_that(tmp_path: Path, garbage: str) -> None:
    async def main() -> tuple[AnswerableError, RunId, Any]:
        async with asyncio.timeout(30), an_app(tmp_path).gate() as gate:
            run = await gate.start("clerk", ["model", garbage])
            with pytest.raises(ExecutionError) as caught:
                await gate.result(run)
            fine = await work(gate, "model", '{"n": 1}')
            export_bundle(gate.reader, [run], tmp_path / "run.evidence.zip")
            write_trust(gate.reader, tmp_path / "trust.toml")
            return caught.value, run, fine

    error, _, fine = asyncio.run(main())
    report = verify(tmp_path / "run.evidence.zip", tmp_path / "trust.toml")

    assert error.code == "execution.model_reply_invalid"
    assert is_clear(error)
    assert garbage not in error.message
    assert fine == {"n": 1}
    assert (report.verdict, [summary.state for summary in report.runs]) == ("verified", ["failed"])
