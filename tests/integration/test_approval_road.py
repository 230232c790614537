"""Approvals by people with keys, from a running agent to evidence that an outsider verifies."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from answerable import Answerable, Gate, Run
from answerable.core import Money, RunId, TenantId
from answerable.identity import read_public_key, sign_with_file
from answerable.ledger import Draft, Ledger, Reader, export_bundle, write_trust
from tests.conformance.second_opinion import verify

pytestmark = pytest.mark.requirement("GV-2", "EV-3")

_AUTHORIZE = (
    '@id("clerk-pays") permit(principal == Agent::"clerk", action == Action::"pay", resource)\n'
    "when { context has amount_minor && context.amount_minor <= 5000 };"
)
_OBLIGE = (
    '@id("two-for-large") @obligation("approve:role=lead,n=2,not=initiator,edit,signed,timeout=3d")\n'
    'permit(principal, action == Action::"pay", resource)\n'
    "when { context has amount_minor && context.amount_minor > 500 };"
)


def an_app(folder: Path, paid: list[tuple[str, int]]) -> Answerable:
    policy = folder / "policy"
    policy.mkdir(exist_ok=True)
    (policy / "authorize.cedar").write_text(_AUTHORIZE)
    (policy / "obligations.cedar").write_text(_OBLIGE)
    app = Answerable(data=folder / "data", policy=policy)

    @app.tool(
        effect="irreversible",
        idempotency="key",
        resource="payee:{to}",
        amount=lambda said: Money(said["cents"], "EUR"),
    )
    async def pay(to: str, cents: int, *, key: str) -> str:
        paid.append((to, cents))
        return "paid"

    @app.agent
    async def clerk(run: Run, cents: int) -> str:
        said: str = await run.tool(pay, to="acme", cents=cents)
        return said

    return app


def with_gate(app: Answerable, body: Callable[[Gate], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with app.gate() as gate, asyncio.timeout(30):
            return await body(gate)

    return asyncio.run(main())


def keys_of(folder: Path, *names: str) -> dict[str, Path]:
    found = {}
    for name in names:
        found[name] = folder / f"{name}.pem"
        private = generate_private_key(SECP256R1())
        found[name].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pub.pem").write_bytes(public)
    return found


async def held_in(gate: Gate, *, but: str = "") -> str:
    while not (waiting := [each for each in gate.approvals.list() if each.approval != but]):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return waiting[0].approval


async def sign_yes(gate: Gate, approval: str, name: str, key: Path, **answer: Any) -> str:
    id = hashlib.sha256(read_public_key(key)).hexdigest()
    said = gate.approvals.statement(approval, "approve", key=id, **answer)
    found = await gate.approvals.decide(
        approval, "approve", by=name, roles=[], signature=sign_with_file(key, said), **answer
    )
    return found.state


async def two_leads(gate: Gate, keys: dict[str, Path]) -> None:
    for name, key in keys.items():
        await gate.desk.person(do="set", name=name, roles=["lead"])
        await gate.desk.signing_keys.add(name, read_public_key(key))


def trust_with_people(folder: Path, *names: str) -> Path:
    """The verifier's own choice of people, in the place of those the record names."""
    trust = write_trust(Reader.open(folder / "data"), folder / "trust.toml")
    lines = [line for line in trust.read_text().splitlines(keepends=True) if not line.startswith("person_key")]
    for number, name in enumerate(names, 1):
        pem = (folder / f"{name}.pub.pem").read_text().replace("\n", "\\n")
        lines.append(f'person_key{f"_{number}" if number > 1 else ""} = "{pem}"\n')
    trust.write_text("".join(lines))
    return trust


def test_what_two_people_edited_and_signed_is_done_once_also_by_a_later_gate_and_verifies_offline(
    tmp_path: Path,
) -> None:
    paid: list[tuple[str, int]] = []
    keys = keys_of(tmp_path, "kim", "robin")

    async def ask_and_edit(gate: Gate) -> RunId:
        await two_leads(gate, keys)
        run = await gate.start("clerk", 2000, on_behalf_of="person:dana")
        first = await held_in(gate)
        assert await sign_yes(gate, first, "kim", keys["kim"], arguments=b'{"to":"acme","cents":900}') == "edited"
        await held_in(gate, but=first)  # for the second of two
        return run

    run = with_gate(an_app(tmp_path, paid), ask_and_edit)
    assert paid == []

    async def approve(gate: Gate) -> str:
        approval = await held_in(gate)
        assert await sign_yes(gate, approval, "robin", keys["robin"]) == "approved"
        said: str = await gate.result(run)
        return said

    assert with_gate(an_app(tmp_path, paid), approve) == "paid"
    assert paid == [("acme", 900)]

    bundle = export_bundle(Reader.open(tmp_path / "data"), [run], tmp_path / "run.zip")
    report = verify(bundle, trust_with_people(tmp_path, "kim", "robin"))
    assert (report.verdict, report.findings) == ("verified", ())
    assert next(check.count for check in report.checks if check.name == "people") == 2


def test_an_answer_by_a_key_that_the_verifier_does_not_know_is_named(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, "kim", "robin")

    async def approve(gate: Gate) -> RunId:
        await two_leads(gate, keys)
        run = await gate.start("clerk", 2000, on_behalf_of="person:dana")
        approval = await held_in(gate)
        for name, key in keys.items():
            await sign_yes(gate, approval, name, key)
        await gate.result(run)
        return run

    run = with_gate(an_app(tmp_path, []), approve)

    bundle = export_bundle(Reader.open(tmp_path / "data"), [run], tmp_path / "run.zip")
    report = verify(bundle, trust_with_people(tmp_path, "kim"))
    (finding,) = report.findings
    assert (report.verdict, finding.check) == ("does not verify", "people")
    assert "does not name" in finding.what


@pytest.mark.parametrize(
    ("change", "check", "says"),
    [
        ({"reason": "never said"}, "people", "does not hold"),
        ({"digest": "sha256:" + "0" * 64}, "approvals", "another action"),
        ({"role": "clerk"}, "approvals", "another role"),
        ({"decision": "edit", "edited": "sha256:" + "1" * 64}, "people", "does not hold"),
        ({"signature": None}, "approvals", "not signed"),
        ({"signature": {"kind": "file", "key": "x"}}, "people", "not of its form"),
    ],
)
def test_a_gate_that_makes_up_an_answer_is_found_out(
    tmp_path: Path, change: dict[str, Any], check: str, says: str
) -> None:
    keys = keys_of(tmp_path, "kim", "robin")

    async def hold(gate: Gate) -> RunId:
        await two_leads(gate, keys)
        run = await gate.start("clerk", 2000, on_behalf_of="person:dana")
        await sign_yes(gate, await held_in(gate), "kim", keys["kim"])
        return run

    run = with_gate(an_app(tmp_path, []), hold)

    async def make_up() -> None:
        ledger = Ledger.open(tmp_path / "data")
        await ledger.start()
        true = ledger.reader.receipts(run=run)[-1].predicate
        assert true["phase"] == "approval"
        control = {name: value for name, value in {**true["control"], "by": "party_0", **change}.items() if value}
        await ledger.append(
            Draft(
                tenant=TenantId("default"),
                run=run,
                step=true["step"],
                phase="approval",
                agent="clerk",
                members={"control": control},
            )
        )
        await ledger.close()

    asyncio.run(make_up())

    bundle = export_bundle(Reader.open(tmp_path / "data"), [run], tmp_path / "run.zip")
    report = verify(bundle, trust_with_people(tmp_path, "kim", "robin"))
    assert report.verdict == "does not verify"
    assert any(found.check == check and says in found.what for found in report.findings), report.findings
