"""Backups, restoring, erasing and comparing by command, over the starter application."""

import asyncio
import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from answerable.cli._main import run
from answerable.cli._tests.test_cli import Capture, lent, library, said
from answerable.core import RunId
from answerable.ledger import Reader
from answerable.server import ControlServer

__all__ = ["lent", "library"]

DATA = Path(".answerable/data")
BY = ("--as", "person:dana", "--reason", "asked for")


def table_changed() -> None:
    with contextlib.closing(sqlite3.connect(DATA / "answerable.sqlite3")) as store:
        store.execute("UPDATE runs SET state = 'failed'")
        store.commit()


@pytest.mark.requirement("OP-1")
def test_tables_are_compared_and_named_where_they_differ_and_nothing_is_changed(lent: str, capsys: Capture) -> None:
    assert all(not each["missing"] and not each["extra"] for each in said(capsys, "rebuild", "--check"))
    table_changed()
    before = (DATA / "answerable.sqlite3").read_bytes()

    found = said(capsys, "rebuild", "--check", code=1)

    assert [each["table"] for each in found if each["missing"]] == ["runs"]
    assert run(["rebuild", "--check"]) == 1
    assert f"runs: extra ('{lent}'" in capsys.readouterr().out
    assert (DATA / "answerable.sqlite3").read_bytes() == before
    assert said(capsys, "rebuild", code=1)
    assert said(capsys, "rebuild", "--check")


@pytest.mark.requirement("OP-1")
def test_tables_are_compared_while_a_gate_writes(library: Path, capsys: Capture) -> None:
    from answerable.cli._application import find_application

    async def story() -> tuple[list[Any], ...]:
        app = find_application("agent:app", None).app
        async with app.gate() as gate:
            working = asyncio.gather(*[gate.start("clerk", {"book": f"b-{n}", "reader": "r-2"}) for n in range(40)])
            compared = [await asyncio.to_thread(said, capsys, "rebuild", "--check") for _ in range(3)]
            await working
        return tuple(compared)

    for found in asyncio.run(story()):
        assert all(not each["missing"] and not each["extra"] for each in found)


@pytest.mark.requirement("OP-1")
def test_a_backup_is_listed_restored_and_gone_on_with_by_command(lent: str, capsys: Capture) -> None:
    made = said(capsys, "backup", "backups", "--with-keys")
    listed = said(capsys, "backup", "backups", "--list")
    assert [each["id"] for each in listed] == [made["id"]]
    assert said(capsys, "restore", made["path"], code=2) is None
    shutil.rmtree(DATA)

    assert said(capsys, "restore", made["path"])["backup"] == made["id"]

    assert [each["run"] for each in said(capsys, "runs", "list")] == [lent]
    assert run(["kill", f"run:{lent}", *BY]) == 1
    assert "it was restored from a backup" in capsys.readouterr().err
    assert run(["log", "continue", *BY]) == 2
    assert run(["log", "continue", "--nothing-lost", "--after-gap", *BY]) == 2
    assert said(capsys, "log", "continue", "--nothing-lost", *BY)["paused"] == []
    assert run(["kill", "agent:clerk", *BY]) == 0


def test_a_passphrase_that_is_not_there_is_named_before_anything_is_written(lent: str, capsys: Capture) -> None:
    Path("empty").write_text("\n")

    for name in ("nowhere", "empty"):
        assert run(["backup", "backups", "--with-keys", "--passphrase-file", name]) == 2
        assert f"`{name}` cannot be used" in capsys.readouterr().err
    assert not Path("backups").exists()


@pytest.mark.requirement("EV-12")
def test_a_run_is_erased_through_the_running_gate_and_held_ones_are_not(lent: str, capsys: Capture) -> None:
    from answerable.cli._application import find_application

    async def story() -> None:
        app = find_application("agent:app", None).app
        async with app.gate() as gate, ControlServer(app.data, gate.desk):
            held = await asyncio.to_thread(said, capsys, "evidence", "hold", "--run", lent, *BY)
            assert held == {"scope": f"run:{lent}", "state": "held"}
            await asyncio.to_thread(said, capsys, "evidence", "erase", "--run", lent, *BY, code=1)
            assert (await asyncio.to_thread(said, capsys, "evidence", "holds"))[0]["scope"] == f"run:{lent}"
            await asyncio.to_thread(said, capsys, "evidence", "release", "--run", lent, *BY)
            done = await asyncio.to_thread(said, capsys, "evidence", "erase", "--run", lent, *BY)
            assert done["isScrubbed"]
            assert done["texts"] > 0

    asyncio.run(story())

    shown = said(capsys, "runs", "show", lent)
    assert shown["state"] == "done"
    with contextlib.closing(Reader.open(DATA)) as reader:
        assert [each.phase for each in reader.receipts(run=RunId(lent))][-1] == "erasure"


@pytest.mark.parametrize(
    "words",
    [
        ("erase", *BY),
        ("erase", "--subject", "a:b", "--run", "run_1", *BY),
        ("erase", "--subject", "a:b", "--as", "person:dana"),
        ("hold", "--subject", "a:b", "--run", "run_1", *BY),
        ("hold", "--reason", "case"),
    ],
)
def test_an_erasure_or_hold_without_name_or_reason_is_a_usage_error(lent: str, words: tuple[str, ...]) -> None:
    assert run(["evidence", *words]) == 2


def test_what_is_not_held_cannot_be_released(lent: str, capsys: Capture) -> None:
    assert run(["evidence", "release", *BY]) == 2
    assert "`tenant` is not held" in capsys.readouterr().err
