"""Two tenants of one gate: over HTTP, on the command line and over the socket, neither sees or slows the other."""

import asyncio
import contextlib
import io
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from answerable import Answerable, Budget, Gate, Limits, Run
from answerable.cli._main import run as cli
from answerable.core import RunId, TenantId
from answerable.policy import ApprovalUnknown, BudgetExceeded, Notice, PolicyDenied
from answerable.runtime import (
    AgentUnknown,
    QueueFull,
    RunUnknown,
    ScheduleInvalid,
    SessionUnknown,
    StepLimitExceeded,
    TenantInvalid,
    TenantRefused,
    TenantUnknown,
    list_runs,
    list_schedules,
)
from answerable.server import ControlServer, control
from answerable.server._http import http_app

pytestmark = pytest.mark.requirement("RT-7")

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
POLICY = """
@id("all-note") permit (principal, action == Action::"note", resource);
@id("all-ask") permit (principal, action == Action::"approval", resource);
"""
MORE = '@id("globex-sends") permit (principal, action == Action::"send", resource);'


def an_app(directory: Path) -> Answerable:
    policy = directory / "policy"
    (policy / "layers" / "globex").mkdir(parents=True)
    (policy / "authorize.cedar").write_text(POLICY)
    (policy / "layers.toml").write_text('[globex]\nmay = "widen"\ntenants = ["globex"]\n')
    (policy / "layers" / "globex" / "authorize.cedar").write_text(MORE)
    app = Answerable(data=directory / "data", policy=policy)
    app.tenant("acme", limits=Limits(steps=3), settings={"greeting": "Good day"}, agents=["clerk", "sender", "far"])
    app.tenant("globex", settings={"greeting": "Hi"})

    @app.tool(effect="write", idempotency="key")
    async def note(text: str, *, key: str) -> str:
        return text

    @app.tool(effect="write", idempotency="key")
    async def send(text: str, *, key: str) -> str:
        return text

    @app.agent
    async def clerk(run: Run, given: Any) -> Any:
        said = f"{run.settings.get('greeting', 'Hello')} from {run.tenant}"
        for n in range(given if isinstance(given, int) else 1):
            await run.tool("note", text=f"{said} {n}")
        if given == "wait":
            await run.approval("Shall I?", role="lead")
        return said

    @app.agent
    async def sender(run: Run, given: Any) -> Any:
        return await run.tool("send", text="now")

    @app.agent
    async def own(run: Run, given: Any) -> Any:
        return await run.delegate("clerk", 1)

    app.wired("far")
    return app


def with_gate(app: Answerable, body: Callable[[Gate], Awaitable[None]]) -> None:
    async def main() -> None:
        async with app.gate() as gate, asyncio.timeout(40):
            await body(gate)

    asyncio.run(main())


def test_each_tenant_has_its_own_settings_limits_agents_policy_and_log(tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        runs = {name: await gate.start("clerk", 1, tenant=name, key="same") for name in ("", "acme", "globex")}
        said = {name: await gate.result(run) for name, run in runs.items()}
        too_many = await gate.start("clerk", 5, tenant="acme")
        sent = await gate.start("sender", None, tenant="globex")
        denied = await gate.start("sender", None, tenant="acme")

        assert said == {"": "Hello from default", "acme": "Good day from acme", "globex": "Hi from globex"}
        assert len(set(runs.values())) == 3, "a start key is a tenant's own"
        with pytest.raises(StepLimitExceeded):
            await gate.result(too_many)
        assert await gate.result(sent) == "now"
        with pytest.raises(PolicyDenied):
            await gate.result(denied)
        with pytest.raises(AgentUnknown):
            await gate.start("own", None, tenant="acme")
        with pytest.raises(TenantUnknown):
            await gate.start("clerk", 1, tenant="nobody")
        logs = {tenant: gate.reader.log_key(tenant)[0] for tenant in gate.reader.tenants()}
        assert len(set(logs.values())) == len(logs) == 4, "a log each, and the gate's own"
        theirs = {one.predicate["run"] for one in gate.reader.receipts(tenant=ACME)}
        assert theirs == {"control:acme", runs["acme"], too_many, denied} - {"control:acme"} | (
            theirs & {"control:acme"}
        )

    with_gate(an_app(tmp_path), body)


class Told:
    """A channel that keeps what it was given."""

    name = "told"

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    async def tell(self, notice: Notice) -> None:
        self.notices.append(notice)


def test_a_tenants_schedules_start_its_runs_and_its_people_are_told_of_its_approvals_alone(tmp_path: Path) -> None:
    app, acmes, gates = an_app(tmp_path), Told(), Told()
    app.notify = (gates,)
    app.tenant("initech", notify=[acmes])
    app.schedule("daily", agent="clerk", given="wait", every=timedelta(seconds=1), tenant="initech")

    async def body(gate: Gate) -> None:
        while not acmes.notices:  # noqa: ASYNC110 - what is awaited is told in another task
            await asyncio.sleep(0.01)
        await gate.desk.of("initech").schedule(do="pause", name="daily", by="person:dana", reason="enough")

        (schedule,) = list_schedules(gate.reader, tenant=TenantId("initech"))
        started = list_runs(gate.reader, tenant=TenantId("initech"))
        assert (schedule.name, schedule.state) == ("daily", "paused")
        assert started
        assert {notice.said["run"] for notice in acmes.notices} <= {row.run for row in started}
        assert gates.notices == [], "what waits at one tenant is nobody else's business"
        for other in (TenantId("default"), ACME, GLOBEX):
            assert list_schedules(gate.reader, tenant=other) == []
            assert list_runs(gate.reader, tenant=other) == []

    with_gate(app, body)


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (lambda app: app.schedule("x", agent="own", every=timedelta(1), tenant="acme"), "may not run `own`"),
        (lambda app: app.schedule("x", agent="own", every=timedelta(1), tenant="nobody"), "not declared itself"),
        (lambda app: app.notify_tenants.update(nobody=(Told(),)), "not declared itself"),
    ],
    ids=["another's agent", "no tenant", "no tenant to tell"],
)
def test_what_is_declared_for_a_tenant_that_it_cannot_be_for_stops_the_start(
    tmp_path: Path, declare: Callable[[Answerable], None], problem: str
) -> None:
    app = an_app(tmp_path)
    declare(app)

    with pytest.raises((ScheduleInvalid, TenantInvalid), match=problem):
        with_gate(app, lambda gate: asyncio.sleep(0))

    assert not (app.data / "answerable.sqlite3").exists()


def test_texts_of_two_tenants_are_sealed_under_keys_of_their_own(tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        runs = [await gate.start("clerk", 1, tenant=name, on_behalf_of="person:dana") for name in ("acme", "globex")]
        for run in runs:
            await gate.result(run)
        opened = [gate.reader.opened(run) for run in runs]

        assert opened[0]["onBehalfOf"] != opened[1]["onBehalfOf"], "one person has a pseudonym in each tenant"
        assert opened[0]["commitments"] != opened[1]["commitments"], "the same text is not seen to be the same"

    with_gate(an_app(tmp_path), body)


def test_over_http_what_belongs_to_another_tenant_is_not_there(tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        keys = {}
        for tenant in ("acme", "globex"):
            desk = gate.desk.of(tenant)
            _, keys[tenant] = await desk.person_keys.new("dana", ["operator", "lead"])
        run = await gate.start("clerk", "wait", tenant="acme")
        while not (waiting := gate.approvals.list(tenant=ACME)):  # noqa: ASYNC110 - it stands on the record
            await asyncio.sleep(0.005)
        approval = waiting[0].approval
        transport = httpx.ASGITransport(app=http_app(gate))
        async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:

            async def ask(tenant: str, method: str, path: str, said: Any = None) -> tuple[int, Any]:
                answer = await client.request(method, path, json=said, headers={"x-api-key": keys[tenant]})
                return answer.status_code, answer.json()

            for path in (f"/runs/{run}", f"/approvals/{approval}"):
                assert (await ask("globex", "GET", path))[0] == 404
                assert (await ask("acme", "GET", path))[0] == 200
            for order in ("pause", "kill", "fork", "retry", "rollback", "signal"):
                said = {"name": "go"} if order == "signal" else {"reason": "I want to"}
                assert (await ask("globex", "POST", f"/runs/{run}/{order}", said))[0] == 404
            resolve = {"reason": "I know", "step": "x", "happened": True}
            assert (await ask("globex", "POST", f"/runs/{run}/resolve", resolve))[0] == 404
            for answer in ("approve", "reject", "statement"):
                status, told = await ask("globex", "POST", f"/approvals/{approval}/{answer}", {"reason": "mine"})
                assert (status, told["error"]["code"]) == (404, "refused.approval_unknown")
            assert (await ask("globex", "GET", "/runs"))[1]["runs"] == []
            assert (await ask("globex", "GET", "/approvals"))[1]["approvals"] == []
            _, told = await ask("globex", "GET", "/queues")
            assert {row["waits"] + row["runs"] + row["rests"] for row in told["queues"]} == {0}
            _, started = await ask("globex", "POST", "/runs", {"agent": "clerk", "input": 1})
            assert gate.reader.opened(RunId(started["run"]))["tenant"] == "globex"

            status, _ = await ask("acme", "POST", f"/approvals/{approval}/approve", {"reason": "fine"})
            assert status == 200
            assert await gate.result(run) == "Good day from acme"

    with_gate(an_app(tmp_path), body)


def test_an_agents_key_opens_a_session_of_its_own_tenant_only(tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        _, key = await gate.desk.of("globex").agent_keys.new("far")
        of_acme = await gate.sessions.get("far", tenant=ACME)
        of_globex = await gate.sessions.get("far", tenant=GLOBEX)
        await of_globex.perform("tool", "note", b'{"text":"x"}')
        found = gate.agent_keys.find(key)

        assert found is not None
        assert (found.holder, found.tenant) == ("far", "globex")
        assert of_acme.run != of_globex.run
        with pytest.raises(SessionUnknown):
            await gate.sessions.get("far", of_acme.run, tenant=GLOBEX)
        transport = httpx.ASGITransport(app=http_app(gate))
        async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:
            asked = {"model": "x:y", "messages": []}
            headers = {"x-api-key": key, "answerable-session": of_acme.run}
            refused = await client.post("/v1/chat/completions", json=asked, headers=headers)
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "refused.session_unknown"

    with_gate(an_app(tmp_path), body)


@pytest.mark.requirement("GV-3")
def test_stops_and_orders_of_one_tenant_leave_the_others_alone(tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        acme, globex = gate.desk.of("acme"), gate.desk.of("globex")
        run = await gate.start("clerk", "wait", tenant="globex")
        who: Any = {"by": "person:eve", "reason": "to see"}
        await acme.stop(scope="tenant", **who)
        await acme.stop(scope="agent:clerk", **who)

        for do in (acme.stop, acme.lift):
            with pytest.raises(TenantRefused):
                await do(scope="all", **who)
        with pytest.raises(TenantRefused):
            await acme.accept(tool="x", digest="y", **who)
        with pytest.raises(RunUnknown):
            await acme.order(do="kill", run=run, **who)
        with pytest.raises(ApprovalUnknown):
            await acme.decide(approval="appr_x", decision="approve", by="eve", roles=["lead"], reason="")
        with pytest.raises(TenantUnknown):
            gate.desk.of("nobody")
        assert await gate.result(await gate.start("clerk", 1, tenant="globex")) == "Hi from globex"
        assert [each.scope for each in gate.stops.standing(tenant=GLOBEX)] == []
        await globex.order(do="kill", run=run, **who)

    with_gate(an_app(tmp_path), body)


def test_a_budget_of_one_tenant_is_not_spent_by_another(tmp_path: Path) -> None:
    app = an_app(tmp_path)
    app.budgets = (Budget(scope="tenant", calls=2, tenant="acme"), Budget(scope="tenant", calls=4))

    async def body(gate: Gate) -> None:
        outcomes = {}
        for name in ("globex", "acme"):
            done = 0
            for n in range(6):
                run = await gate.start("clerk", 1, tenant=name, key=str(n))
                with contextlib.suppress(BudgetExceeded):
                    await gate.result(run)
                    done += 1
            outcomes[name] = done

        assert outcomes == {"globex": 4, "acme": 2}

    with_gate(app, body)


def test_a_noisy_tenant_gets_its_share_and_no_more(tmp_path: Path) -> None:
    app = an_app(tmp_path)
    app.queue("tenant", tenant="acme", concurrency=3, waiting=40)
    order: list[str] = []
    door = asyncio.Event()
    inside: dict[str, int] = {"acme": 0, "globex": 0}
    most = dict(inside)

    @app.agent
    async def crowd(run: Run, given: Any) -> Any:
        name = str(run.tenant)
        order.append(name)
        inside[name] += 1
        most[name] = max(most[name], inside[name])
        try:
            await run.tool("note", text="x")
            while not door.is_set():  # noqa: ASYNC110 - an agent of many steps, all of them its own
                await asyncio.sleep(0)
        finally:
            inside[name] -= 1

    (tenant,) = [each for each in app.tenants if each.name == "acme"]
    app.tenants = [each for each in app.tenants if each is not tenant]
    app.tenant("acme")

    async def body(gate: Gate) -> None:
        loud, refused = [], 0
        for n in range(60):
            try:
                loud.append(await gate.start("crowd", n, tenant="acme"))
            except QueueFull:
                refused += 1
        quiet = [await gate.start("crowd", n, tenant="globex") for n in range(10)]
        while inside["globex"] < 10 or inside["acme"] < 3:  # noqa: ASYNC110 - counted by the agents
            await asyncio.sleep(0)
        door.set()
        for run in (*quiet, *loud):
            await gate.result(run)

        assert most == {"acme": 3, "globex": 10}, "all ten were advanced beside three of the sixty"
        assert refused >= 60 - 40 - 3
        assert order.count("globex") == 10

    with_gate(app, body)


def test_the_command_line_shows_and_changes_what_is_its_tenants_over_the_socket_and_without_a_gate(
    tmp_path: Path,
) -> None:
    app = an_app(tmp_path)
    data = str(app.data)

    def command(*words: str) -> tuple[int, str, str]:
        out, told = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
            code = cli([*words, "--data", data])
        return code, out.getvalue(), told.getvalue()

    async def body(gate: Gate) -> None:
        run = await gate.start("clerk", "wait", tenant="acme")
        while not (waiting := gate.approvals.list(tenant=ACME)):  # noqa: ASYNC110 - it stands on the record
            await asyncio.sleep(0.005)
        approval, receipt = waiting[0].approval, gate.reader.receipts(run=run)[0].predicate["id"]
        who = ("--as", "eve", "--reason", "mine")
        async with ControlServer(app.data, gate.desk):
            for words in (
                ("runs", "show", run),
                ("runs", "kill", run, *who),
                ("approvals", "show", approval),
                ("approvals", "approve", approval, "--as", "eve", "--role", "lead"),
                ("receipts", "show", receipt),
                ("receipts", "list", run),
                ("evidence", "export", run),
                ("policy", "replay", run),
            ):
                for other in (("--tenant", "globex"), ()):
                    code, out, told = await asyncio.to_thread(command, *other, *words)
                    assert code != 0, (other, words, out)
                    assert "acme" not in out + told
            for listing in (("runs", "list"), ("approvals", "list", "--all")):
                _, out, _ = await asyncio.to_thread(command, "--tenant", "globex", *listing, "--json")
                assert json.loads(out) == []
            async with control(app.data, nowhere, tenant="globex") as writes:
                with pytest.raises(RunUnknown):
                    await writes.order(do="kill", run=run, by="eve", reason="mine")

            code, out, _ = await asyncio.to_thread(command, "--tenant", "acme", "runs", "show", run, "--json")
            assert (code, json.loads(out)["state"]) == (0, "open")
            code, _, told = await asyncio.to_thread(
                command, "--tenant", "acme", "approvals", "approve", approval, "--as", "eve", "--role", "lead"
            )
            assert code == 0, told
            assert await gate.result(run) == "Good day from acme"

    with_gate(app, body)
    assert command("--tenant", "globex", "kill", "all", "--as", "eve", "--reason", "mine")[0] == 1
    assert command("--tenant", "acme", "agent", "key", "new", "far")[0] == 0
    assert len(json.loads(command("--tenant", "acme", "agent", "key", "list", "--json")[1])) == 1
    assert json.loads(command("--tenant", "globex", "agent", "key", "list", "--json")[1]) == []


def nowhere(directory: Path) -> Any:
    raise AssertionError("there is a gate with a socket")


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (lambda app: app.tenant("acme"), "taken"),
        (lambda app: app.tenant("default"), "taken"),
        (lambda app: app.tenant("new", agents=["nobody"]), "no agent"),
        (lambda app: app.queue("tenant", tenant="nobody", concurrency=1), "not declared"),
    ],
)
def test_a_gate_does_not_start_with_tenants_that_cannot_be(
    tmp_path: Path, declare: Callable[[Answerable], None], problem: str
) -> None:
    app = an_app(tmp_path)
    declare(app)

    with pytest.raises(TenantInvalid, match=problem):
        with_gate(app, nothing)
    assert not app.data.exists()
    with pytest.raises(TenantInvalid):
        app.tenant("no name")


async def nothing(gate: Gate) -> None:
    """Nothing is asked of a gate that does not start."""
