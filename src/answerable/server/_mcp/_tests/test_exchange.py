import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest

from answerable.server._mcp._exchange import Exchange
from answerable.server._mcp._ports import Asked
from answerable.tools import NobodyAsked

ASK = {"q1": {"method": "elicitation/create", "params": {"message": "Where to?"}}}


class Client:
    """The far end: what it was told, and what it answers."""

    def __init__(self, *, answers: Mapping[str, Any] | None = None) -> None:
        self.heard: list[str] = []
        self._answers = answers

    def note(self, method: str, params: Mapping[str, Any]) -> None:
        self.heard.append(method)

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if self._answers is None:
            raise NobodyAsked(-1, "no thanks")
        return dict(self._answers)

    def prime(self, retry_ms: int | None) -> None:
        self.heard.append(f"prime {retry_ms}")

    def pause(self) -> None:
        self.heard.append("pause")


class Record:
    """What went on the record; refuses on request."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.kept: list[tuple[str, Any]] = []
        self._refuses = refuses

    async def __call__(self, method: str, said: Mapping[str, Any]) -> None:
        if self._refuses:
            raise NobodyAsked(-32603, "policy refuses")
        self.kept.append((method, said["answer"]))


def asked(client: Client, *, is_modern: bool, meta: dict[str, Any] | None = None) -> Asked:
    return Asked(
        method="tools/call",
        params={"name": "pay", "_meta": meta or {}},
        headers={},
        agent="desk",
        is_modern=is_modern,
        capabilities={"elicitation": {}},
        voice=client,
    )


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await story

    asyncio.run(bounded())


def test_a_client_with_a_session_is_asked_at_once_and_its_answer_is_recorded_before_it_is_passed_on() -> None:
    async def story() -> None:
        record = Record()
        exchange = Exchange(asked(Client(answers={"action": "decline"}), is_modern=False), {}, record=record)

        assert await exchange.answers(ASK) == {"q1": {"action": "decline"}}
        assert record.kept == [("elicitation/create", {"action": "decline"})]

    run(story())


def test_a_client_without_one_is_asked_by_the_answer_and_answers_by_asking_again() -> None:
    async def story() -> None:
        record = Record()
        exchange = Exchange(asked(Client(), is_modern=True), {}, record=record)
        answering = asyncio.create_task(exchange.answers(ASK))
        await exchange.asking
        assert exchange.questions == ASK
        exchange.join(asked(Client(), is_modern=True), {"q1": {"action": "accept"}})

        assert await answering == {"q1": {"action": "accept"}}
        assert record.kept == [("elicitation/create", {"action": "accept"})]
        assert exchange.rounds == 1
        assert not exchange.asking.done()

    run(story())


@pytest.mark.requirement("TL-4")
def test_an_answer_that_may_not_be_recorded_is_not_passed_on() -> None:
    async def story() -> None:
        client = Client(answers={"action": "accept"})
        exchange = Exchange(asked(client, is_modern=False), {}, record=Record(refuses=True))

        with pytest.raises(NobodyAsked, match="policy refuses"):
            await exchange.answers(ASK)

    run(story())


@pytest.mark.parametrize("is_modern", [False, True])
@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"method": "sampling/createMessage"}, "does not support sampling"),
        ({"method": "resources/read"}, "not asked `resources/read`"),
        ("nonsense", "not asked `None`"),
    ],
)
def test_what_a_client_cannot_be_asked_it_is_not_asked(is_modern: bool, question: Any, reason: str) -> None:
    async def story() -> None:
        client = Client(answers={})
        exchange = Exchange(asked(client, is_modern=is_modern), {}, record=Record())

        with pytest.raises(NobodyAsked, match=reason):
            await exchange.answers({"q1": question})
        assert not exchange.asking.done()

    run(story())


def test_a_question_ends_when_the_gate_stops() -> None:
    async def story() -> None:
        exchange = Exchange(asked(Client(), is_modern=True), {}, record=Record())
        answering = asyncio.create_task(exchange.answers(ASK))
        await exchange.asking
        exchange.abandon()

        with pytest.raises(NobodyAsked, match="no answer"):
            await answering
        assert exchange.is_over

    run(story())


def test_what_a_server_says_reaches_whoever_asked_last_and_the_gates_own_meta_stays_here() -> None:
    async def story() -> None:
        first, second = Client(), Client()
        request = asked(first, is_modern=True, meta={"progressToken": "t", "answerable/key": "k"})
        exchange = Exchange(request, {}, record=Record())
        exchange.told("notifications/progress", {})
        exchange.join(asked(second, is_modern=True), {})
        exchange.told("notifications/message", {})
        exchange.streams(100)
        exchange.pauses()

        assert exchange.said.meta == {"progressToken": "t"}
        assert first.heard == ["notifications/progress"]
        assert second.heard == ["notifications/message", "prime 100", "pause"]

    run(story())
