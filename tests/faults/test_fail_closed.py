"""Whatever a decision depends on may fail; then nothing was executed."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable, Budget, Gate, Limits, Run
from answerable.app import open_desk
from answerable.core import AnswerableError, Money
from answerable.policy import Autonomy
from tests.integration.guarded_shop import Shop, ask, through
from tests.integration.guarded_shop import an_app as shop_app

pytestmark = [pytest.mark.requirement("GV-1", "GV-3", "RT-6"), pytest.mark.slow]

_AUTHORIZE = (
    '@id("pays") permit (principal == Agent::"clerk", action == Action::"pay", resource)\n'
    "when { context.amount_30d_minor < 100000 && context.prior_approvals < 100 };"
)
_OBLIGE = (
    '@id("large") @obligation("approve:role=lead") permit (principal, action == Action::"pay", resource)\n'
    "when { context has amount_minor && context.amount_minor > 500 };"
)
_PATIENCE_S = 3.0


class Clock:
    """The machine's, until it breaks."""

    def __init__(self) -> None:
        self.is_broken = False

    def now(self) -> datetime:
        if self.is_broken:
            raise OSError("no clock")
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


def without(*tables: str) -> Callable[[Path, Clock], None]:
    """The store loses tables while the gate runs."""

    def break_it(data: Path, clock: Clock) -> None:
        with contextlib.closing(sqlite3.connect(data / "answerable.sqlite3", timeout=10)) as store:
            for table in tables:
                store.execute(f"DROP TABLE {table}")
            store.commit()

    return break_it


def no_clock(data: Path, clock: Clock) -> None:
    clock.is_broken = True


def nothing(data: Path, clock: Clock) -> None:
    """The control: all is well."""


DEPENDENCIES = {
    "the facts that policy reads": without("policy_facts"),
    "what people approved before": without("policy_approvals"),
    "budgets": without("policy_budgets"),
    "reservations": without("policy_reservations"),
    "stops": without("policy_stops"),
    "tiers of autonomy": without("policy_autonomy"),
    "orders to runs": without("runs"),
    "keys that seal texts": without("subject_keys"),
    "sealed texts": without("objects"),
    "receipts": without("receipts"),
    "the clock": no_clock,
}


_OVERFLOWS = "when { context has amount_minor && context.amount_minor * 9223372036854775807 > 0 };"
POLICIES = {
    "a forbid": '@id("fails") forbid (principal, action, resource)\n' + _OVERFLOWS,
    "a permit": '@id("fails") permit (principal, action, resource)\n' + _OVERFLOWS,
    "an obligation": '@id("fails") @obligation("approve:role=lead") permit (principal, action, resource)\n'
    + _OVERFLOWS,
}


def damaged(vault: Path) -> None:
    vault.write_bytes(vault.read_bytes()[:-1] + b"!")


def gone(vault: Path) -> None:
    vault.unlink()


def unreadable(vault: Path) -> None:
    vault.unlink()
    vault.mkdir()


def an_app(folder: Path, paid: list[int], *, also: str = "") -> Answerable:
    policy = folder / "policy"
    policy.mkdir()
    (policy / "authorize.cedar").write_text(_AUTHORIZE + ("" if "@obligation" in also else also))
    (policy / "obligations.cedar").write_text(_OBLIGE + (also if "@obligation" in also else ""))
    app = Answerable(data=folder / "data", policy=policy, budgets=[Budget(scope="tenant", calls=100)])

    @app.tool(
        effect="irreversible",
        resource="payee:{to}",
        subjects=("person:{to}",),
        amount=lambda said: Money(said["cents"], "EUR"),
    )
    async def pay(to: str, cents: int) -> str:
        paid.append(cents)
        return "paid"

    @app.agent(name="clerk", limits=Limits(steps=20, tokens=1000))
    async def clerk(run: Run, given: Any) -> Any:
        await run.signal("go")
        return await run.tool("pay", to="acme", cents=given)

    return app


async def _tried(gate: Gate, break_it: Callable[[Path, Clock], None], data: Path, clock: Clock, cents: int) -> str:
    """How a run ended whose payment comes after something broke: `paid`, `refused`, or `stuck`."""
    await gate.stops.stop("agent:somebody", reason="so that stops are looked up", by="dana")
    tiers = Autonomy(book=gate.desk.ledger, store=gate.reader)
    await tiers.set("somebody", "draft", environment="development", by="dana", reason="so that tiers are looked up")
    run = await gate.start("clerk", cents, on_behalf_of="person:ana")
    break_it(data, clock)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await gate.runs.signal(run, "go")
            await gate.result(run)
    except TimeoutError:
        return "stuck"
    except Exception:  # noqa: BLE001 - any refusal or failure is as good here: what counts is what was executed
        return "refused"
    return "paid"


def _outcome(
    folder: Path, break_it: Callable[[Path, Clock], None], cents: int, *, also: str = ""
) -> tuple[str, list[int]]:
    paid: list[int] = []
    clock = Clock()
    app = an_app(folder, paid, also=also)

    async def main() -> str:
        said = ""
        try:
            async with app.gate(clock=clock) as gate:
                said = await _tried(gate, break_it, folder / "data", clock, cents)
                clock.is_broken = False
        except Exception:  # noqa: BLE001 - a gate that cannot even close its books has not executed anything either
            return said or "refused"
        return said

    return asyncio.run(main()), paid


@pytest.mark.parametrize("dependency", DEPENDENCIES)
def test_where_what_a_decision_depends_on_fails_nothing_is_executed(tmp_path: Path, dependency: str) -> None:
    said, paid = _outcome(tmp_path, DEPENDENCIES[dependency], 100)

    assert paid == []
    assert said in ("refused", "stuck")


@pytest.mark.parametrize("policy", POLICIES)
def test_where_a_policy_cannot_be_evaluated_nothing_is_executed_whatever_the_others_say(
    tmp_path: Path, policy: str
) -> None:
    assert _outcome(tmp_path, nothing, 100, also=POLICIES[policy]) == ("refused", [])


@pytest.mark.requirement("TL-5")
@pytest.mark.parametrize("break_it", [damaged, gone, unreadable])
def test_where_the_vault_fails_nothing_is_sent(tmp_path: Path, break_it: Callable[[Path], None]) -> None:
    shop = Shop(is_good=lambda token: token == "good")

    async def story() -> list[Any]:
        async with open_desk(tmp_path / "data") as desk:
            await desk.credential(do="set", named="shop", by="ada", secret="good")
        async with shop_app(tmp_path, shop, "shop", credentials={"shop": {}}).gate() as gate:
            before = await ask(gate, "clerk", "look")
            break_it(tmp_path / "data" / "credentials.sealed")
            return [before, await ask(gate, "clerk", "pay"), await ask(gate, "clerk", "look")]

    found = through(shop, story)

    assert not isinstance(found[0], AnswerableError)
    assert all(isinstance(each, AnswerableError) for each in found[1:])
    assert shop.called() == ["look"]


def test_where_nothing_fails_it_is_executed(tmp_path: Path) -> None:
    assert _outcome(tmp_path, nothing, 100) == ("paid", [100])


_OF_APPROVALS = {
    "all is well": (nothing, [600]),
    "what waits": (without("policy_approvals"), []),
    "answers of people": (without("policy_answers"), []),
    "who may answer": (without("people"), []),
}


@pytest.mark.requirement("GV-2")
@pytest.mark.parametrize("dependency", _OF_APPROVALS)
def test_an_approval_that_cannot_be_checked_or_recorded_lets_nothing_through(tmp_path: Path, dependency: str) -> None:
    break_it, expected = _OF_APPROVALS[dependency]
    paid: list[int] = []
    app = an_app(tmp_path, paid)

    async def main() -> None:
        async with app.gate() as gate:
            run = await gate.start("clerk", 600, on_behalf_of="person:ana")
            await gate.runs.signal(run, "go")
            async with asyncio.timeout(20):
                while not gate.approvals.list():  # noqa: ASYNC110 - the record has no event
                    await asyncio.sleep(0.01)
            (waiting,) = gate.approvals.list()
            break_it(tmp_path / "data", Clock())
            with contextlib.suppress(Exception):
                await gate.approvals.decide(waiting.approval, "approve", by="kim", roles=["lead"])
            async with asyncio.timeout(_PATIENCE_S):
                await gate.result(run)

    with contextlib.suppress(Exception):
        asyncio.run(main())
    assert paid == expected
