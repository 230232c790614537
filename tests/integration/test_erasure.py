"""A person is forgotten: their texts are nowhere left, and everything else still stands."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
import pytest

from answerable import Answerable, Gate
from answerable.app import all_projections, open_desk
from answerable.core import RunId, TenantId
from answerable.errors import ControlRefused, ErasureHeld, ObjectErased
from answerable.ledger import ErasureLists, Reader, back_up, compare, export_bundle
from answerable.policy import replay_decisions
from answerable.runtime import find_run
from tests.integration.clinic import SECRET, an_app, holding, on_disk, sealed_about, seen_to, verified
from tests.postgres import Databases

DANA = {"by": "person:dana", "reason": "asked for in a letter"}
TENANT = TenantId("default")


def with_gate(app: Answerable, body: Callable[[Gate], Awaitable[None]]) -> None:
    async def main() -> None:
        async with app.gate() as gate, asyncio.timeout(40):
            await body(gate)

    asyncio.run(main())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what is awaited stands on the record, which has no event
        await asyncio.sleep(0.01)


async def waiting(gate: Gate, patient: str = "ada", **asked: object) -> RunId:
    """A run that has looked a patient up and waits for a signal."""
    run = await gate.start("nurse", {"patient": patient, "waits": True}, **asked)  # type: ignore[arg-type]
    await until(lambda: [each.phase for each in gate.reader.receipts(run=run)].count("outcome") == 2)
    return run


def state(gate: Gate, run: RunId) -> str:
    row = find_run(gate.reader, run)
    assert row is not None
    return row.state


@pytest.mark.requirement("EV-12")
def test_no_byte_of_an_erased_text_or_its_key_is_left_in_any_file_while_the_gate_runs(tmp_path: Path) -> None:
    app = an_app(tmp_path)

    async def body(gate: Gate) -> None:
        run, other = await seen_to(gate), await seen_to(gate, "ben")
        ada = gate.desk.ledger.pseudonym(TENANT, "patient:ada")
        about = on_disk(each for names, sealed in sealed_about(app.data).items() if ada in names for each in sealed)
        assert len(holding(app.data, about)) >= len(about)

        done = await gate.desk.erase(subject="patient:ada", **DANA)

        # input and outcome of the look-up, intent and outcome of the note, and what the run returned
        assert (done["texts"], done["runs"], done["isScrubbed"]) == (4, 1, True)
        assert holding(app.data, [*about, SECRET.encode(), b"patient:ada", b"Lovelace"]) == []
        texts = [gate.reader.text(each) for each in gate.reader.receipts(run=other)]
        assert any(b"nothing is known of ben" in (text.output or b"") for text in texts)
        for receipt in gate.reader.receipts(run=run):
            if receipt.phase in ("intent", "outcome", "run.close"):
                with pytest.raises(ObjectErased):
                    gate.reader.text(receipt)

    with_gate(app, body)

    assert all(table.is_equal for table in compare(app.data, all_projections()))


@pytest.mark.requirement("EV-12")
def test_a_name_reaches_the_files_only_as_a_pseudonym(tmp_path: Path) -> None:
    app = an_app(tmp_path)

    async def body(gate: Gate) -> None:
        await seen_to(gate, subjects=("patient:ada", "relative:eve"), on_behalf_of="relative:eve")

    with_gate(app, body)

    assert holding(app.data, [b"patient:ada", b"relative:eve", b"Lovelace"]) == []


@pytest.mark.requirement("EV-12", "EV-3")
def test_what_was_proven_before_an_erasure_is_proven_after_it(tmp_path: Path) -> None:
    app, runs = an_app(tmp_path), []

    async def body(gate: Gate) -> None:
        runs.extend([await seen_to(gate), await seen_to(gate, "ben")])
        export_bundle(gate.reader, runs, tmp_path / "before.zip")
        await gate.desk.erase(subject="patient:ada", **DANA)
        export_bundle(gate.reader, runs, tmp_path / "after.zip")

    with_gate(app, body)

    before, after = (verified(app.data, tmp_path / f"{name}.zip") for name in ("before", "after"))
    assert before.verdict == after.verdict == "verified"
    assert SECRET.encode() not in (tmp_path / "after.zip").read_bytes()
    with contextlib.closing(Reader.open(app.data)) as reader:
        phases = [receipt.phase for receipt in reader.receipts(run=runs[0])]
        told = reader.receipts(run=runs[0])[-1].predicate["control"]
    assert phases[-2:] == ["run.close", "erasure"]
    assert (told["do"], told["texts"]) == ("erase", 4)


@pytest.mark.requirement("EV-12", "RT-3")
def test_an_open_run_that_needs_what_is_erased_is_closed_and_never_acts_again(tmp_path: Path) -> None:
    app = an_app(tmp_path)

    async def body(gate: Gate) -> None:
        run, other = await waiting(gate), await waiting(gate, "ben")
        calls = len(app.calls)  # type: ignore[attr-defined]

        done = await gate.desk.erase(subject="patient:ada", **DANA)

        assert done["closed"] == [run]
        assert (state(gate, run), state(gate, other)) == ("erased", "open")
        with pytest.raises(ObjectErased):
            await gate.result(run)
        with pytest.raises(ObjectErased):
            await gate.control.fork(run, by="person:dana", reason="try again")
        with pytest.raises(ControlRefused):
            await gate.control.retry(run, by="person:dana", reason="try again")
        assert len(app.calls) == calls  # type: ignore[attr-defined]
        await gate.runs.signal(other, "next")
        assert await gate.result(other) == "nothing is known of ben"

    with_gate(app, body)
    with_gate(app, lambda gate: asyncio.sleep(0))

    assert all(table.is_equal for table in compare(app.data, all_projections()))


@pytest.mark.requirement("EV-12", "RT-4")
def test_a_fork_that_shares_what_is_erased_is_closed_too(tmp_path: Path) -> None:
    app = an_app(tmp_path)

    async def body(gate: Gate) -> None:
        run = await waiting(gate)
        at = next(each for each in gate.reader.receipts(run=run) if each.phase == "intent")
        await gate.control.kill(run, by="person:dana", reason="wrong")
        await until(lambda: state(gate, run) == "killed")
        fork = await gate.control.fork(run, at.predicate["step"], by="person:dana", reason="again")
        await until(lambda: "outcome" in [each.phase for each in gate.reader.receipts(run=fork)])

        done = await gate.desk.erase(run=run, **DANA)

        assert done["closed"] == [fork]
        assert state(gate, fork) == "erased"

    with_gate(app, body)


@pytest.mark.requirement("EV-12")
def test_what_is_under_a_legal_hold_is_not_erased_until_it_is_released(tmp_path: Path) -> None:
    app = an_app(tmp_path)

    async def body(gate: Gate) -> None:
        run = await seen_to(gate)
        for held in ({"subject": "patient:ada"}, {"run": run}, {}):
            await gate.desk.legal_hold(do="hold", by="person:lex", reason="case 7", **held)

            with pytest.raises(ErasureHeld, match="case 7"):
                await gate.desk.erase(subject="patient:ada", **DANA)

            assert gate.reader.text(gate.reader.receipts(run=run)[-1]).output is not None
            assert ErasureLists(app.data).entries() == []
            await gate.desk.legal_hold(do="release", by="person:lex", reason="closed", **held)
        done = await gate.desk.erase(subject="patient:ada", **DANA)
        assert done["texts"] == 6  # the hold's own name for her among them

    with_gate(app, body)


@pytest.mark.requirement("EV-12")
def test_somebody_who_comes_back_after_an_erasure_is_somebody_new(tmp_path: Path) -> None:
    app = an_app(tmp_path)

    async def body(gate: Gate) -> None:
        await seen_to(gate)
        await gate.desk.erase(subject="patient:ada", **DANA)

        run = await seen_to(gate)

        assert await gate.result(run) == SECRET
        assert (await gate.desk.erase(subject="patient:ada", **DANA))["texts"] == 4

    with_gate(app, body)


@pytest.mark.requirement("EV-12")
def test_an_erasure_that_was_listed_and_not_done_is_done_before_the_service_starts(tmp_path: Path) -> None:
    app, older = an_app(tmp_path), tmp_path / "older.sqlite3"

    async def before(gate: Gate) -> None:
        await waiting(gate)
        with (
            contextlib.closing(sqlite3.connect(app.data / "answerable.sqlite3")) as live,
            contextlib.closing(sqlite3.connect(older)) as copy,
        ):
            live.backup(copy)
        await gate.desk.erase(subject="patient:ada", **DANA)

    with_gate(app, before)
    # Somebody puts an old copy of the database back by hand, past everything that would have told them.
    for path in app.data.glob("answerable.sqlite3*"):
        path.unlink()
    older.rename(app.data / "answerable.sqlite3")

    async def after() -> None:
        async with open_desk(app.data) as desk:
            runs = desk.reader.receipts()
            assert [each.phase for each in runs].count("erasure") == 2
            assert [each.phase for each in runs].count("run.close") == 1

    asyncio.run(after())


@pytest.mark.requirement("EV-12", "EV-6")
def test_every_decision_about_an_erased_person_can_still_be_evaluated_again(tmp_path: Path) -> None:
    app = an_app(tmp_path)

    async def body(gate: Gate) -> None:
        run = await seen_to(gate)
        await gate.desk.erase(subject="patient:ada", **DANA)

        replayed = replay_decisions(gate.reader, run)

        assert len(replayed.decisions) == 2
        assert replayed.is_same

    with_gate(app, body)


@pytest.mark.requirement("EV-12")
def test_an_outcome_that_comes_after_the_erasure_is_recorded_without_its_text(tmp_path: Path) -> None:
    app, began, end = an_app(tmp_path), asyncio.Event(), asyncio.Event()

    @app.tool(effect="write")
    async def operate(patient: str) -> str:
        began.set()
        await end.wait()
        return SECRET

    @app.agent
    async def surgeon(run, given):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        return await run.tool(operate, patient=given)

    async def body(gate: Gate) -> None:
        run = await gate.start("surgeon", "ada", subjects=("patient:ada",))
        await began.wait()

        done = await gate.desk.erase(subject="patient:ada", **DANA)
        end.set()
        await until(lambda: gate.reader.receipts(run=run)[-1].phase == "observation")

        assert done["closed"] == [run]
        assert done["unknown"] == [
            next(e.predicate["id"] for e in gate.reader.receipts(run=run) if e.phase == "intent")
        ]
        late = gate.reader.receipts(run=run)[-1]
        assert late.predicate["effect"]["status"] == "ok"
        assert "commitments" not in late.predicate
        export_bundle(gate.reader, [run], tmp_path / "late.zip")

    with_gate(app, body)

    assert verified(app.data, tmp_path / "late.zip").verdict == "verified"
    assert [each for names, each in sealed_about(app.data).items() if "party_" in names] == []


@pytest.mark.requirement("EV-12")
def test_on_postgres_texts_and_keys_go_the_run_is_closed_and_the_tables_follow(
    tmp_path: Path, postgres: Databases
) -> None:
    url = postgres.new()
    app = an_app(tmp_path, store=url)

    async def body(gate: Gate) -> None:
        ended, open_run = await seen_to(gate), await waiting(gate)

        done = await gate.desk.erase(subject="patient:ada", **DANA)

        assert (done["closed"], done["runs"]) == ([open_run], 2)
        assert not done["isScrubbed"], "a server overwrites what was dropped when it likes"
        for run in (ended, open_run):
            with pytest.raises(ObjectErased):
                gate.reader.history(run)
        assert all(table.is_equal for table in compare(app.data, all_projections()))
        made = back_up(app.data, tmp_path / "backups")
        assert [names for names in sealed_about(made.path) if names.startswith("party_")] == []

    with_gate(app, body)

    with psycopg.connect(url) as store:
        left = store.execute(
            "SELECT id FROM receipts WHERE subjects LIKE 'party\\_%' AND sealed IS NOT NULL"
        ).fetchall()
        keys = store.execute("SELECT subject FROM subject_keys WHERE subject LIKE 'party\\_%'").fetchall()
    assert (left, keys) == ([], [])
