"""What an agent elsewhere says of itself: how sure it is, under which mandate it acts, for where its key is."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from answerable import Answerable, Budget, Gate, Limits, Upstream
from answerable.app import Times
from answerable.core import RunId, TenantId
from answerable.ledger import control_run
from answerable.server import serve_gate
from tests.integration.upstream import ScriptedUpstream, chat_whole, serving

PERMIT = '@id("all") permit (principal, action, resource);'
DOUBTS = """@id("sure-enough")
@obligation("approve:role=lead,not=initiator,timeout=1h,on_timeout=deny")
permit (principal, action, resource) when { context has confidence && context.confidence < 80 };
"""
NEVER = '@id("no-bans") forbid (principal, action == Action::"ban", resource);'
MCP = "io.modelcontextprotocol/"
NAMED = {MCP + "protocolVersion": "2026-07-28", MCP + "clientInfo": {"name": "t", "version": "1"}}


@dataclass
class Wire:
    gate: Gate
    url: str
    keys: dict[str, str]
    http: httpx.AsyncClient

    async def call(
        self, agent: str, tool: str, *, headers: dict[str, str] | None = None, meta: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """One call of a tool over MCP, and the answer as it came."""
        said = {**NAMED, MCP + "clientCapabilities": {}, **(meta or {})}
        params = {"name": tool, "arguments": {"order": "1001"}, "_meta": said}
        sent = {
            "authorization": f"Bearer {self.keys[agent]}",
            "accept": "application/json",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": tool,
            **(headers or {}),
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer: dict[str, Any] = (await self.http.post(self.url + "/mcp", json=body, headers=sent)).json()
        return answer

    def openai(self, agent: str, **headers: str) -> openai.AsyncOpenAI:
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        return openai.AsyncOpenAI(
            base_url=self.url + "/v1", api_key=self.keys[agent], max_retries=0, default_headers=said
        )

    def opened(self, session: str) -> dict[str, Any]:
        """What the session's `run.open` says."""
        control: dict[str, Any] = self.gate.reader.receipts(run=RunId(session))[0].predicate["control"]
        return control

    def refusals(self, do: str) -> list[dict[str, Any]]:
        """What the control run has of refused sessions or crossings."""
        said = [each.predicate for each in self.gate.reader.receipts(run=control_run(TenantId("default")))]
        controls = [each["control"] for each in said if each["phase"] == "control"]
        return [each for each in controls if each["do"] == do and each.get("refused")]


def pay(order: str) -> str:
    return f"order {order} is paid"


def look(order: str) -> str:
    return f"order {order} is there"


def ban(order: str) -> str:
    raise AssertionError("nobody may")


@contextlib.asynccontextmanager
async def wire(
    directory: Path, environment: str = "", authorize: str = PERMIT + NEVER, obligations: str = DOUBTS
) -> AsyncIterator[Wire]:
    for kind, rules in (("authorize", authorize), ("obligations", obligations)):
        (directory / "policy" / kind).mkdir(parents=True, exist_ok=True)
        (directory / "policy" / kind / "w.cedar").write_text(rules)
    sale = Budget(scope="mandate:sale", calls=2, agents=("desk",))
    task = Budget(scope="mandate:look-it-up", calls=100, agents=("desk",), allow=("look", "mail.*"))
    app = Answerable(
        data=directory / "data",
        policy=directory / "policy",
        budgets=(sale, task, Budget(scope="mandate:fixed", calls=100)),
        environment=environment,
    )
    app.times = Times(patience=timedelta(milliseconds=100))
    app.tool(pay, effect="write")
    app.tool(ban, effect="write")
    app.tool(look, effect="read")
    for name in ("desk", "stray"):
        app.wired(name, limits=Limits(identical_calls=None))
    app.wired("tied", limits=Limits(identical_calls=None), mandate="fixed")
    async with contextlib.AsyncExitStack() as stack:
        up = await stack.enter_async_context(serving(ScriptedUpstream(answers=[(200, chat_whole("Fine."))])))
        app.upstream(Upstream(name="first", dialect="chat", base_url=up.url))
        app.route("tiny", "first:tiny")
        gate = await stack.enter_async_context(app.gate())
        keys = {name: (await gate.desk.key(do="new", named=name))["key"] for name in ("desk", "stray", "tied")}
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        server = asyncio.create_task(serve_gate(gate, host="127.0.0.1", port=0, on_listening=listening.set_result))
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=60))
        try:
            yield Wire(gate, await listening, keys, http)
        finally:
            server.cancel()
            await asyncio.wait([server])


def through(directory: Path, story: Callable[[Wire], Coroutine[Any, Any, None]], **how: Any) -> None:
    async def run() -> None:
        async with asyncio.timeout(55), wire(directory, **how) as there:
            await story(there)

    asyncio.run(run())


def code_of(answer: dict[str, Any]) -> str:
    """The code of a refusal, in a result or an error; empty for an answer."""
    data = answer["error"].get("data", {}) if "error" in answer else answer["result"].get("_meta", {})
    return str(data.get("answerable/error", {}).get("code", ""))


# -- confidence -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("GV-7")
@pytest.mark.parametrize("by", ["header", "meta"])
def test_a_stated_confidence_below_the_threshold_holds_a_call_and_a_high_one_changes_nothing(
    tmp_path: Path, by: str
) -> None:
    async def story(there: Wire) -> None:
        async def stated(tool: str, confidence: float) -> dict[str, Any]:
            if by == "header":
                return await there.call("desk", tool, headers={"answerable-confidence": str(confidence)})
            return await there.call("desk", tool, meta={"answerable/confidence": confidence})

        unstated = await there.call("desk", "pay", meta={"answerable/session": "a"})
        unsure = await stated("pay", 0.6)
        denied = await stated("ban", 1.0)

        assert unstated["result"]["content"][0]["text"] == "order 1001 is paid"
        assert unsure["result"]["resultType"] == "input_required"
        assert [each.name for each in there.gate.approvals.list()] == ["pay"]
        assert code_of(denied) == "refused.policy_denied"

    through(tmp_path, story)


def test_of_two_stated_confidences_the_lower_counts_and_asking_again_more_surely_does_not_help(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        low, high = {"answerable-confidence": "0.2"}, {"answerable/confidence": 0.9}

        both = await there.call("desk", "pay", headers=low, meta=high)
        again = await there.call("desk", "pay", meta=high)
        unstated = await there.call("desk", "pay")

        kinds = [each["result"]["resultType"] for each in (both, again, unstated)]
        assert kinds == ["input_required"] * 3
        assert len(there.gate.approvals.list()) == 1

    through(tmp_path, story)


@pytest.mark.requirement("GV-7")
def test_a_restart_of_the_gate_forgets_no_doubt_that_an_agent_stated(tmp_path: Path) -> None:
    session = {"answerable/session": "kept"}
    sure = {**session, "answerable/confidence": 0.99}
    held: list[str] = []

    async def before(there: Wire) -> None:
        await there.call("desk", "pay", meta={**session, "answerable/confidence": 0.7})
        await there.call("desk", "pay", meta={**session, "answerable/confidence": 0.3})
        held.extend(each.approval for each in there.gate.approvals.list())

    async def after(there: Wire) -> None:
        again = await there.call("desk", "pay", meta=sure)

        assert again["result"]["resultType"] == "input_required"
        (waiting,) = there.gate.approvals.list()
        assert [waiting.approval] == held
        await there.gate.approvals.decide(waiting.approval, "approve", by="kim", roles=["lead"])
        done = await there.call("desk", "pay", meta=sure)
        assert done["result"]["content"][0]["text"] == "order 1001 is paid"
        record = there.gate.reader.receipts(run=RunId(waiting.run))
        assert [each.phase for each in record] == ["run.open", "held", "control", "approval", "intent", "outcome"]
        assert record[2].predicate["control"] == {"do": "confidence", "of": waiting.step, "percent": 30}
        request = there.gate.reader.stored(record[4].predicate["authority"]["request"])
        assert request is not None
        assert json.loads(request[0])["context"]["confidence"] == 30, "the lowest, though said before the restart"

    through(tmp_path, before)
    through(tmp_path, after)


@pytest.mark.requirement("GV-7")
def test_a_doubt_stated_under_policies_that_did_not_ask_counts_under_those_that_do(tmp_path: Path) -> None:
    session = {"answerable/session": "kept"}
    without = DOUBTS.replace("context has confidence && context.confidence < 80", "true")

    async def before(there: Wire) -> None:
        await there.call("desk", "pay", meta={**session, "answerable/confidence": 0.3})

    async def after(there: Wire) -> None:
        (waiting,) = there.gate.approvals.list()
        await there.gate.approvals.decide(waiting.approval, "approve", by="kim", roles=["lead"])
        again = await there.call("desk", "pay", meta={**session, "answerable/confidence": 0.99})
        assert code_of(again) == "refused.policy_denied"

    through(tmp_path, before, obligations=without)
    through(
        tmp_path,
        after,
        authorize=PERMIT.replace("resource)", "resource) unless { context has confidence && context.confidence < 50 }"),
    )


def test_a_confidence_that_is_none_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        for said in ("1.1", "-0.1", "nan", "sure", "1e-1", "1_0", ""):
            by_header = await there.call("desk", "pay", headers={"answerable-confidence": said})
            by_meta = await there.call("desk", "pay", meta={"answerable/confidence": said})

            assert [each["error"]["code"] for each in (by_header, by_meta)] == [-32602] * 2, said
            assert "no number from 0 to 1" in by_header["error"]["message"]
            assert code_of(by_meta) == "refused.request_malformed"
        for wrong in (True, None, 2, -1, [0.5]):
            assert code_of(await there.call("desk", "pay", meta={"answerable/confidence": wrong})), wrong

    through(tmp_path, story)


def test_a_model_call_states_it_by_header_through_the_vendors_sdk(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        asked: Any = {"model": "tiny", "messages": [{"role": "user", "content": "What now?"}]}
        async with there.openai("desk", Answerable_Confidence="2") as wrong:
            with pytest.raises(openai.BadRequestError, match="no number from 0 to 1"):
                await wrong.chat.completions.create(**asked)
        async with there.openai("desk", Answerable_Confidence="0.95", Answerable_Session="sure") as sure:
            raw = await sure.chat.completions.with_raw_response.create(**asked)

        record = there.gate.reader.receipts(run=RunId(raw.headers["answerable-session"]))
        assert [each.phase for each in record] == ["run.open", "intent", "outcome"]

    through(tmp_path, story)


# -- mandates ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("GV-4", "GV-1")
def test_under_a_mandate_an_agent_uses_what_the_mandate_allows_and_nothing_else_also_after_a_restart(
    tmp_path: Path,
) -> None:
    task = {"answerable/mandate": "look-it-up", "answerable/session": "one"}
    sessions = []

    async def story(there: Wire) -> None:
        looked = await there.call("desk", "look", meta=task)
        paid = await there.call("desk", "pay", meta=task)
        async with there.openai("desk", Answerable_Mandate="look-it-up") as client:
            with pytest.raises(openai.APIStatusError) as asked:
                await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}])
        free = await there.call("desk", "pay")

        assert looked["result"]["content"][0]["text"] == "order 1001 is there"
        assert code_of(paid) == "refused.not_delegated"
        assert "refused.not_delegated" in asked.value.response.text
        assert free["result"]["content"][0]["text"] == "order 1001 is paid"
        session = looked["result"]["_meta"]["answerable/session"]
        assert there.opened(session)["scope"] == [["look", "mail.*"]]
        sessions.append(session)

    through(tmp_path, story)
    through(tmp_path, story)

    assert sessions[0] == sessions[1]


@pytest.mark.requirement("RT-6")
def test_a_session_under_a_mandate_that_names_its_agent_is_charged_to_it_and_ends_with_it(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        headers = {"Authorization": f"Bearer {there.keys['desk']}", "Answerable-Mandate": "sale"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=60) as http,
            Client(streamable_http_client(there.url + "/mcp", http_client=http), mode="legacy") as client,
        ):
            paid = [await client.call_tool("pay", {"order": str(number)}) for number in range(3)]
        free = await there.call("desk", "pay")

        assert [each.is_error for each in paid] == [False, False, True]
        assert paid[2].meta is not None
        assert paid[2].meta["answerable/error"]["code"] == "refused.budget_exceeded"
        assert there.opened(paid[0].meta["answerable/session"])["mandate"] == "sale"  # type: ignore[index]
        assert "mandate" not in there.opened(free["result"]["_meta"]["answerable/session"])

    through(tmp_path, story)


def test_an_agents_own_word_gives_it_no_mandate_and_the_refusal_is_on_record(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        refused = await there.call("stray", "pay", meta={"answerable/mandate": "sale"})
        unknown = await there.call("desk", "pay", headers={"answerable-mandate": "none-such"})
        malformed = await there.call("desk", "pay", meta={"answerable/mandate": ["sale"]})

        assert [code_of(each) for each in (refused, unknown)] == ["refused.mandate_not_granted"] * 2
        assert code_of(malformed) == "refused.request_malformed"
        assert [(each["agent"], each["mandate"]) for each in there.refusals("session")] == [
            ("stray", "sale"),
            ("desk", "none-such"),
        ]

    through(tmp_path, story)


def test_an_agent_that_is_bound_to_a_mandate_acts_under_no_other_and_never_without(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        silent = await there.call("tied", "pay")
        named = await there.call("tied", "pay", headers={"answerable-mandate": "fixed"})
        other = await there.call("tied", "pay", headers={"answerable-mandate": "sale"})

        runs = {each["result"]["_meta"]["answerable/session"] for each in (silent, named)}
        assert [there.opened(run)["mandate"] for run in runs] == ["fixed"]
        assert code_of(other) == "refused.mandate_not_granted"

    through(tmp_path, story)


def test_a_session_is_taken_up_after_a_restart_under_its_mandate_while_it_is_granted(tmp_path: Path) -> None:
    sessions: list[str] = []

    async def before(there: Wire) -> None:
        answer = await there.call("desk", "pay", headers={"answerable-mandate": "sale"})
        sessions.append(answer["result"]["_meta"]["answerable/session"])

    async def after(there: Wire) -> None:
        again = await there.call("desk", "pay", headers={"answerable-session": sessions[0]})
        elsewhere = await there.call(
            "desk", "pay", headers={"answerable-session": sessions[0], "answerable-mandate": "fixed"}
        )
        assert again["result"]["_meta"]["answerable/session"] == sessions[0]
        assert code_of(elsewhere) == "refused.session_unknown"

    through(tmp_path, before)
    through(tmp_path, after)


# -- environments -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("GV-8")
def test_a_key_is_for_the_environment_of_its_log_and_says_so(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        assert there.keys["desk"].startswith("ans_staging.")
        assert code_of(await there.call("desk", "pay")) == ""

    through(tmp_path, story, environment="staging")


def test_a_key_of_another_environment_is_refused_and_the_crossing_is_on_record(tmp_path: Path) -> None:
    taken: dict[str, str] = {}

    async def staging(there: Wire) -> None:
        taken.update(there.keys)

    async def production(there: Wire) -> None:
        there.keys.update(strange=taken["desk"])
        answers = [await there.call("strange", "pay") for _ in range(2)]
        async with there.openai("strange") as client:
            with pytest.raises(openai.PermissionDeniedError, match="its key is for `staging`"):
                await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "?"}])

        assert [each["error"]["data"]["code"] for each in answers] == ["refused.environment_crossed"] * 2
        (crossing,) = there.refusals("environment")
        assert (crossing["bound"], crossing["environment"]) == ("staging", "development")
        assert crossing["thing"].startswith("key `sha256:")
        assert taken["desk"] not in str(crossing)

    through(tmp_path / "staging", staging, environment="staging")
    through(tmp_path / "development", production, environment="development")


def test_a_key_for_an_environment_that_its_agent_is_not_in_is_refused_by_its_name(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        issued = await there.gate.desk.key(do="new", named="desk", environment="production")
        there.keys["early"] = issued["key"]

        answer = await there.call("early", "pay")

        assert answer["error"]["data"]["code"] == "refused.environment_crossed"
        thing = f"key `{issued['id']}` of agent `desk`"
        assert there.refusals("environment") == [
            {"do": "environment", "environment": "development", "thing": thing, "bound": "production", "refused": True}
        ]

    through(tmp_path, story)
