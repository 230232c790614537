"""Texts are kept as long as a rule says, and then gone like any other erased text."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable, Gate, Reader, Retention
from answerable.app import all_projections
from answerable.cli._main import run as command
from answerable.core import RunId
from answerable.errors import ObjectErased, RetentionInvalid
from answerable.ledger import compare, export_bundle
from tests.integration.clinic import an_app, holding, on_disk, sealed_about, seen_to, verified

MONTH = timedelta(days=30)


class MovedClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(microseconds=1)
        return self.at

    def monotonic_s(self) -> float:
        return self.at.timestamp()


def with_gate(app: Answerable, clock: MovedClock, body: Callable[[Gate], Awaitable[None]]) -> None:
    async def main() -> None:
        async with app.gate(clock=clock) as gate, asyncio.timeout(40):
            await body(gate)

    asyncio.run(main())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what is awaited stands on the record, which has no event
        await asyncio.sleep(0.01)


def are_kept(gate: Gate, run: RunId) -> list[str]:
    """The phases of the run's receipts whose texts can be read."""
    found: list[str] = []
    for receipt in gate.reader.receipts(run=run):
        with contextlib.suppress(ObjectErased):
            text = gate.reader.text(receipt)
            if text.input is not None or text.output is not None:
                found.append(receipt.phase)
    return found


async def followed(gate: Gate, *rules: Retention, rehearsal: bool = False) -> list[dict[str, Any]]:
    said = [{"keep_s": r.keep.total_seconds(), "texts": r.texts, "agent": r.agent, "tenant": r.tenant} for r in rules]
    return await gate.desk.retain(rules=said, rehearsal=rehearsal)


@pytest.mark.requirement("EV-12")
def test_texts_whose_time_is_over_are_dropped_by_the_gate_and_everything_still_verifies(tmp_path: Path) -> None:
    clock, runs = MovedClock(), []

    async def before(gate: Gate) -> None:
        runs.append(await seen_to(gate))

    async def after(gate: Gate) -> None:
        runs.append(await seen_to(gate, "ben"))
        await until(lambda: are_kept(gate, runs[0]) == [])
        assert len(are_kept(gate, runs[1])) == 5
        export_bundle(gate.reader, runs, tmp_path / "both.zip")

    with_gate(an_app(tmp_path), clock, before)
    data = tmp_path / "data"
    about = on_disk(each for sealed in sealed_about(data).values() for each in sealed)
    sealed = [each for each in about if holding(data, [each])]
    clock.at += MONTH
    app = an_app(tmp_path, retention=[Retention(keep=timedelta(days=29))])
    with_gate(app, clock, after)

    with contextlib.closing(Reader.open(data)) as reader:
        told = reader.receipts(run=runs[0])[-1].predicate
    assert (told["phase"], told["control"]["kind"], told["control"]["texts"]) == ("erasure", "all", 5)
    ada = {name for name in sealed_about(data) if "party_" in name}
    assert len(sealed) > len(holding(data, sealed))
    assert ada, "people's keys stay: others may concern them"
    assert verified(data, tmp_path / "both.zip").verdict == "verified"
    assert all(table.is_equal for table in compare(data, all_projections()))


@pytest.mark.requirement("EV-12")
@pytest.mark.parametrize(
    ("texts", "left"),
    [
        ("tool", ["run.open", "run.close"]),
        ("run", ["outcome", "intent", "outcome"]),
        ("model", ["run.open", "outcome", "intent", "outcome", "run.close"]),
        ("all", []),
    ],
)
def test_a_rule_drops_the_texts_of_its_kind_and_of_its_agent_and_no_others(
    tmp_path: Path, texts: Any, left: list[str]
) -> None:
    clock = MovedClock()

    async def body(gate: Gate) -> None:
        run = await seen_to(gate)
        clock.at += MONTH

        others = await followed(gate, Retention(keep=MONTH - timedelta(hours=1), texts=texts, agent="clerk"))
        early = await followed(gate, Retention(keep=MONTH + timedelta(hours=1), texts=texts))
        due = await followed(gate, Retention(keep=MONTH - timedelta(hours=1), texts=texts), rehearsal=True)
        assert len(are_kept(gate, run)) == 5
        done = await followed(gate, Retention(keep=MONTH - timedelta(hours=1), texts=texts))
        again = await followed(gate, Retention(keep=MONTH - timedelta(hours=1), texts=texts))

        assert are_kept(gate, run) == left
        due_now = 5 - len(left)
        dropped = [each[0]["dropped"] for each in (others, early, due, done, again)]
        assert dropped == [0, 0, due_now, due_now, 0]

    with_gate(an_app(tmp_path), clock, body)


@pytest.mark.requirement("EV-12")
def test_what_is_held_or_still_needed_is_kept_and_looked_at_again(tmp_path: Path) -> None:
    clock, rule = MovedClock(), Retention(keep=timedelta(days=1))

    async def body(gate: Gate) -> None:
        held, by_person, needed, plain = [await seen_to(gate, name) for name in ("ada", "ben", "cyn", "dee")]
        at = next(each for each in gate.reader.receipts(run=needed) if each.phase == "intent")
        waits = {"input": {"patient": "cyn", "waits": True}}
        fork = await gate.control.fork(needed, at.predicate["step"], by="person:dana", reason="again", changed=waits)
        await until(lambda: "outcome" in [each.phase for each in gate.reader.receipts(run=fork)])
        holds: list[dict[str, str]] = [{"run": held}, {"subject": "patient:ben"}]
        for each in holds:
            await gate.desk.legal_hold(do="hold", by="person:lex", reason="case 7", **each)
        clock.at += MONTH

        (done,) = await followed(gate, rule)

        assert done["kept"] == [held, by_person, needed]
        assert done["dropped"] == 5
        assert are_kept(gate, plain) == []
        for each in holds:
            await gate.desk.legal_hold(do="release", by="person:lex", reason="closed", **each)
        await gate.control.kill(fork, by="person:dana", reason="enough")
        await until(lambda: gate.reader.receipts(run=fork)[-1].phase == "run.close")
        (again,) = await followed(gate, rule)
        assert (again["runs"], again["kept"]) == (3, [])
        assert [are_kept(gate, run) for run in (held, by_person, needed)] == [[], [], []]

    with_gate(an_app(tmp_path), clock, body)


def test_a_rule_that_keeps_nothing_or_names_no_kind_of_text_is_refused() -> None:
    with pytest.raises(RetentionInvalid, match="not kept at all"):
        Retention(keep=timedelta(0))
    with pytest.raises(RetentionInvalid, match="no such kind"):
        Retention(keep=MONTH, texts="letters")  # type: ignore[arg-type]


@pytest.mark.requirement("EV-12")
def test_rules_stand_in_the_file_and_are_shown_and_followed_by_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = MovedClock()

    async def body(gate: Gate) -> None:
        await seen_to(gate)

    with_gate(an_app(tmp_path), clock, body)
    (tmp_path / "answerable.toml").write_text(
        f'data = "{tmp_path / "data"}"\npolicy = "{tmp_path / "policy"}"\n'
        '[[retention]]\nkeep = "30d"\ntexts = "tool"\n[[retention]]\nkeep = "90d"\n'
    )
    monkeypatch.chdir(tmp_path)

    assert command(["retention", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert command(["retention", "--now", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)

    assert [(each["texts"], each["keep_s"], each["dropped"]) for each in shown] == [
        ("tool", 2_592_000.0, 3),
        ("all", 7_776_000.0, 5),
    ]
    assert [each["dropped"] for each in done] == [3, 2]


@pytest.mark.requirement("EV-12")
def test_each_tenants_texts_are_kept_as_long_as_its_own_rule_says_and_a_rule_for_nobody_is_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, runs = MovedClock(), dict[str, RunId]()

    async def body(gate: Gate) -> None:
        for tenant in ("default", "acme", "bolt"):
            runs[tenant] = await seen_to(gate, tenant=tenant)

    app = an_app(tmp_path)
    for tenant in ("acme", "bolt"):
        app.tenant(tenant)
    with_gate(app, clock, body)
    (tmp_path / "answerable.toml").write_text(
        f'data = "{tmp_path / "data"}"\npolicy = "{tmp_path / "policy"}"\n[tenants.acme]\n[tenants.bolt]\n'
        '[[retention]]\nkeep = "30d"\ntexts = "tool"\ntenant = "acme"\n[[retention]]\nkeep = "90d"\ntexts = "run"\n'
    )
    monkeypatch.chdir(tmp_path)

    assert command(["retention", "--now", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)

    assert [(each["tenant"], each["texts"], each["dropped"]) for each in done] == [
        ("acme", "tool", 3),
        *((tenant, "run", 2) for tenant in ("default", "acme", "bolt")),
    ]
    with contextlib.closing(Reader.open(tmp_path / "data")) as reader:
        ends = {name: [each.phase for each in reader.receipts(run=run)].count("erasure") for name, run in runs.items()}
    assert ends == {"default": 1, "acme": 2, "bolt": 1}


def test_a_rule_for_a_tenant_that_there_is_not_is_refused_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "answerable.toml").write_text('[tenants.acme]\n[[retention]]\nkeep = "30d"\ntenant = "acmee"\n')
    monkeypatch.chdir(tmp_path)

    assert command(["retention"]) == 2
    assert "`retention[0].tenant` names no tenant" in capsys.readouterr().err
