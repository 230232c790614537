"""The same request is decided the same: in another process, and again from the receipts.

`make soak` decides 10,000 random requests twice, and 10,000 again from their receipts.
"""

import asyncio
import hashlib
import random
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from answerable.core import (
    Action,
    AgentId,
    Description,
    Effect,
    Money,
    Outcome,
    RunId,
    StepKey,
    TenantId,
    new_run_id,
    stable_json,
)
from answerable.ledger import Draft, Ledger, Slice
from answerable.policy import (
    ApprovalsProjection,
    AutonomyProjection,
    BudgetProjection,
    CedarAuthorizer,
    FactsProjection,
    PolicySet,
    StopsProjection,
    recount_facts,
    replay_decisions,
)
from tests.architecture.files import ROOT
from tests.soak import IS_SOAK

TENANT = TenantId("default")
PACKS = ROOT / "src" / "answerable" / "cli" / "_packs"
IN_CI, IN_SOAK = 600, 10_000
ON_RECORD_IN_CI, ON_RECORD_IN_SOAK = 60, 10_000
GROUPS = {"ops": ("finance-ops",), "desk": ("support",), "scout": ("sales",), "coder": ("developers",), "nobody": ()}
NAMES = (
    *("bank.pay", "bank.flag", "bank.read_invoice", "shop.refund", "shop.send_email", "crm.send_outreach"),
    *("repo.merge", "repo.open_change", "openai:gpt-5-mini", "bank.change_account"),
)
AGAIN = "from tests.properties.test_decisions import decide_all; import sys; print(decide_all(*map(int, sys.argv[1:])))"


class AtTen:
    """Stands still, on a Wednesday morning: hour and weekday are part of what is decided on."""

    def now(self) -> datetime:
        return datetime(2026, 11, 18, 10, tzinfo=UTC)

    def monotonic_s(self) -> float:
        return 0.0


def packs(folder: Path) -> PolicySet:
    """All packs as one set."""
    for pack in sorted(PACKS.iterdir()):
        for part in ("authorize", "obligations"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            for file in (pack / "policy" / part).glob("*.cedar"):
                (folder / part / f"{pack.name}-{file.name}").write_text(file.read_text())
    return PolicySet.load(folder)


def an_action(chance: random.Random, number: int, run: str = "run_random") -> Action:
    """A call of anybody, for anything."""
    name = chance.choice(NAMES)
    target = f"thing:{chance.randrange(6)}"
    amount = Money(chance.choice([1, 100, 20_001, 100_001, 2_500_001]), chance.choice(["EUR", "EUR", "USD"]))
    return Action(
        tenant=TENANT,
        run=RunId(run),
        agent=AgentId(chance.choice(list(GROUPS))),
        step=StepKey(f"{number:032x}"),
        branch="",
        kind="model" if ":" in name else "tool",
        name=name,
        arguments=stable_json({"number": number}),
        described=Description(
            effect=chance.choice([Effect.WRITE, Effect.IRREVERSIBLE]),
            target=target,
            amount=amount if chance.random() < 0.7 else None,
        ),
        environment=chance.choice(["development", "production"]),
        on_behalf_of=chance.choice(["person:ana", "schedule:nightly", ""]),
        resources=(target,) if chance.random() < 0.7 else (),
        labels=("untrusted:web",) if chance.random() < 0.3 else (),
        confidence=chance.choice([None, None, 10, 90]),
    )


def decide_all(seed: int, count: int) -> str:
    """A digest over requests, verdicts, rules, obligations and errors of as many random requests."""

    async def main(held: PolicySet) -> str:
        authorizer = CedarAuthorizer(held, lambda statement, /, **params: (), groups=GROUPS, clock=AtTen())
        chance, digest = random.Random(seed), hashlib.sha256()
        for number in range(count):
            found = await authorizer.authorize(an_action(chance, number))
            said: list[object] = [found.request.decode(), found.verdict, found.rules]
            said += [list(map(str, found.obligations)), found.error.message if found.error else ""]
            digest.update(orjson.dumps(said, option=orjson.OPT_SORT_KEYS))
        return digest.hexdigest()

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(main(packs(Path(folder))))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.requirement("GV-1")
def test_two_processes_decide_random_requests_bit_for_bit_the_same() -> None:
    count = IN_SOAK if IS_SOAK else IN_CI
    command = [sys.executable, "-c", AGAIN, "7", str(count)]

    said = [
        subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={"PYTHONPATH": f"{ROOT}/src:{ROOT}", "PYTHONHASHSEED": seed, "PATH": ""},
            timeout=500,
        ).stdout
        for seed in ("1", "2")
    ]

    assert said[0] == said[1] != ""


@pytest.mark.timeout(900)
@pytest.mark.requirement("EV-6")
def test_random_decisions_are_reproduced_from_the_receipts_facts_included(tmp_path: Path) -> None:
    async def main() -> None:
        held = packs(tmp_path / "policy")
        projections = (StopsProjection(), AutonomyProjection(), FactsProjection(), ApprovalsProjection())
        ledger = Ledger.open(tmp_path / "data", projections=[*projections, BudgetProjection()])
        await ledger.start()
        try:
            stored_as = await ledger.store_object(TENANT, held.snapshot())
            authorizer = CedarAuthorizer(
                held, ledger.reader.rows, stored_as=stored_as, groups=GROUPS, called=ledger.pseudonym
            )
            await _through(ledger, authorizer)
        finally:
            await ledger.close()

    asyncio.run(main())


async def _through(ledger: Ledger, authorizer: CedarAuthorizer) -> None:
    chance, run = random.Random(11), new_run_id()
    control = {"agent": "ops", "environment": "development", "limits": {}}
    opened = Draft(tenant=TENANT, run=run, phase="run.open", agent="ops", input=b"{}", members={"control": control})
    await ledger.open_run(opened)
    taken = await ledger.leases.claim(run)
    assert isinstance(taken, Slice)
    # What labels some of its actions came as a signal, which an agent may take or leave.
    page = {"name": "page", "labels": ["untrusted:web"]}
    await ledger.append(Draft(tenant=TENANT, run=run, phase="signal", agent="ops", members={"control": page}))
    journal = await ledger.journal(taken)
    count = ON_RECORD_IN_SOAK if IS_SOAK else ON_RECORD_IN_CI
    for number in range(count):
        step = await journal.open(action := an_action(chance, number, run), await authorizer.authorize(action))
        assert step.status != "moved"
        if step.status == "admitted":
            await journal.close(step, Outcome(status="ok"))

    again = replay_decisions(ledger.reader, run)
    counted = recount_facts(ledger.reader, run)

    assert (len(again.decisions), again.is_same) == (count, True)
    recorded = {"environment", "target_named"}  # of the run; these actions have them each for itself
    differences = [each for said in counted for each in said.differences if each[0] not in recorded]
    assert len(counted) == count
    assert differences == []
