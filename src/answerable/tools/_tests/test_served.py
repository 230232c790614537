"""Tools of a server: what the gate checks before a call, and how it reads what comes back."""

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest

from answerable.action import Step
from answerable.core import Action, AgentId, AnswerableError, Effect, Outcome, RunId, StepKey, TenantId
from answerable.tools import (
    Answer,
    ArgumentsInvalid,
    ListedTool,
    Peer,
    Toolbox,
    ToolChanged,
    ToolDeclaration,
    ToolFailed,
    ToolNotServed,
    ToolResultInvalid,
    ToolServerLost,
    ToolServerUnavailable,
    ToolsNotListed,
    ToolTimedOut,
    ToolUnusable,
)

PAY = ListedTool(
    name="pay",
    description="Pay.",
    schema={
        "type": "object",
        "properties": {"order": {"type": "string"}, "minor": {"type": "integer"}, "key": {"type": "string"}},
        "required": ["order", "minor", "key"],
    },
)
STATUS = ListedTool(name="status", description="", schema={"type": "object", "properties": {"key": {}, "order": {}}})


class Desk:
    """A tool server that answers what it is told to, and keeps what it was asked."""

    name = "desk"
    is_connected = True

    def __init__(self, *answers: Answer | Exception, tools: tuple[ListedTool, ...] = (PAY, STATUS)) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.tools = tools

    async def connect(self) -> tuple[ListedTool, ...]:
        return self.tools

    async def call(
        self, tool: str, arguments: dict[str, Any], *, timeout: timedelta | None, peer: Peer | None = None
    ) -> Answer:
        self.asked.append((tool, arguments))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        pass


def started(desk: Desk, **pay: Any) -> Toolbox:
    toolbox = Toolbox()
    toolbox.add_server(desk, declare={"pay": ToolDeclaration(**{"idempotency": "key", **pay})})
    asyncio.run(toolbox.start())
    return toolbox


def pay_step(toolbox: Toolbox) -> Step:
    body = orjson.dumps({"order": "1001", "minor": 5})
    described = toolbox.describe("tool", "desk.pay", body)
    action = Action(
        tenant=TenantId("default"),
        run=RunId("run_1"),
        agent=AgentId("a"),
        step=StepKey("s"),
        branch="",
        kind="tool",
        name="desk.pay",
        arguments=body,
        described=described,
        environment="test",
        idempotency_key="key-1",
    )
    return Step(action=action, status="admitted")


def pay(desk: Desk, **declared: Any) -> Outcome:
    toolbox = started(desk, **declared)
    return asyncio.run(toolbox.execute(pay_step(toolbox)))


@pytest.mark.requirement("TL-4")
def test_an_undeclared_tool_counts_as_a_write_with_untrusted_results() -> None:
    toolbox = started(Desk(Answer(structured={})))

    assert toolbox.describe("tool", "desk.status", b"{}").effect is Effect.WRITE
    assert pay(Desk(Answer(structured={}))).labels == ("untrusted:desk.pay",)


def test_the_key_reaches_the_server_and_never_the_agents_schema() -> None:
    desk = Desk(Answer(structured={"id": 7}))

    outcome = pay(desk)

    assert outcome.result == {"id": 7}
    assert desk.asked == [("pay", {"order": "1001", "minor": 5, "key": "key-1"})]
    assert set(started(desk).tool("desk.pay").schema["properties"]) == {"order", "minor"}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (b'{"order":"1"}', "argument `minor` is missing"),
        (b'{"order":"1","minor":"5"}', '`minor` must meet `type: "integer"`'),
        (b'{"order":"1","minor":5,"colour":1}', "no argument `colour`"),
        (b'{"order":"1","minor":5,"key":"mine"}', "no argument `key`"),
        (b"[]", "one JSON object"),
    ],
)
def test_arguments_that_do_not_fit_the_servers_schema_are_refused(arguments: bytes, problem: str) -> None:
    with pytest.raises(ArgumentsInvalid, match=problem):
        started(Desk()).describe("tool", "desk.pay", arguments)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (Answer(structured={"a": 1}, texts=("ignored",)), {"a": 1}),
        (Answer(texts=('{"a":1}',)), {"a": 1}),
        (Answer(texts=("plain", "words")), {"text": "plain\nwords"}),
        (Answer(texts=("see",), blocks=({"type": "image"},)), {"text": "see", "content": [{"type": "image"}]}),
    ],
)
def test_an_answer_becomes_json(answer: Answer, value: Any) -> None:
    assert pay(Desk(answer)).result == value


def test_an_error_the_server_reports_is_its_own_answer() -> None:
    outcome = pay(Desk(Answer(error="isError", texts=("no such order",))))

    assert outcome.status == "failed"
    with pytest.raises(ToolFailed) as failed:
        _ = outcome.result
    assert failed.value.said == "no such order"
    assert "no such order" not in str(failed.value)


@pytest.mark.requirement("RT-3")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ToolServerUnavailable(server="desk", reason="dead"), "failed"),
        (ToolChanged(tool="desk.pay"), "failed"),
        (ToolServerLost(tool="desk.pay"), "unknown"),
        (ToolTimedOut(tool="desk.pay", after_ms=5), "unknown"),
        (ToolResultInvalid(tool="desk.pay", problem="?"), "unknown"),
    ],
)
def test_a_write_is_unknown_exactly_if_it_was_sent(error: AnswerableError, status: str) -> None:
    assert pay(Desk(error)).status == status
    assert pay(Desk(error), effect="read").status == "failed"


@pytest.mark.requirement("RT-3")
@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Answer(structured={"found": False}), "did not happen"),
        (Answer(structured={"id": 7}), "cannot say"),
        (Answer(structured={"found": "yes"}), "cannot say"),
        (Answer(error="isError"), "cannot say"),
        (ToolServerUnavailable(server="desk", reason="dead"), "cannot say"),
    ],
)
def test_a_probe_that_does_not_plainly_answer_cannot_say(answer: Answer | Exception, found: str) -> None:
    toolbox = started(Desk(answer), probe="status")

    assert asyncio.run(toolbox.probe(pay_step(toolbox))) == found


def test_a_probe_is_asked_what_its_schema_names_and_answers_the_result() -> None:
    desk = Desk(Answer(structured={"found": True, "id": 7}))
    toolbox = started(desk, probe="status")

    outcome = asyncio.run(toolbox.probe(pay_step(toolbox)))

    assert isinstance(outcome, Outcome)
    assert (outcome.result, outcome.observed_by) == ({"id": 7}, "counterparty")
    assert desk.asked == [("status", {"key": "key-1", "order": "1001"})]


@pytest.mark.parametrize(
    ("tools", "declared", "error"),
    [
        ((STATUS,), {}, ToolNotServed),
        ((PAY, STATUS), {"probe": "stats"}, ToolNotServed),
        ((PAY, STATUS), {"probe": print}, ToolUnusable),
        ((PAY, STATUS), {"idempotency": "token"}, ToolUnusable),
        ((ListedTool(name="pay", description="", schema={"type": 3}),), {"idempotency": None}, ToolUnusable),
    ],
)
def test_a_declaration_that_does_not_fit_the_server_stops_the_start(
    tools: tuple[ListedTool, ...], declared: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        started(Desk(tools=tools), **declared)


def test_a_tool_of_a_server_that_was_not_started_is_refused_with_the_reason() -> None:
    toolbox = Toolbox()
    toolbox.add_server(Desk())

    with pytest.raises(ToolsNotListed):
        toolbox.describe("tool", "desk.pay", b"{}")
