import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import IO, Any, cast

import pytest

from answerable.tools import ClientSaid, NobodyAsked
from answerable.tools._drivers._link import LeftWaiting, Link, RpcError
from answerable.tools._drivers._wires import Heard, Message, NotSent, Outgoing, WireLost

HANDSHAKE = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "far"}}
DISCOVERED = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, "resultType": "complete"}


class Far:
    """A server: how it answers each method, and all that reached it."""

    keeps_sessions = False

    def __init__(self, **answers: Any) -> None:
        self.heard: list[Outgoing] = []
        self.answers: dict[str, Any] = {
            "server/discover": {"error": {"code": -32601, "message": "no such method"}},
            "initialize": {"result": HANDSHAKE},
            **{name.replace("_", "/"): answer for name, answer in answers.items()},
        }
        self._say: Heard = lambda message, outgoing: None
        self.end: Callable[[], None] = lambda: None

    async def open(self, stderr: IO[bytes], heard: Heard, ended: Callable[[], None]) -> None:
        self._say, self.end = heard, ended

    async def send(self, outgoing: Outgoing) -> None:
        self.heard.append(outgoing)
        answer = self.answers.get(outgoing.message.get("method", ""))
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            self.say({"jsonrpc": "2.0", "id": outgoing.number, **answer}, outgoing)

    def say(self, message: Message, outgoing: Outgoing | None = None) -> None:
        self._say(message, outgoing)

    async def listen(self, headers: Mapping[str, str]) -> None:
        """It says nothing by itself."""

    async def close(self, headers: Mapping[str, str]) -> None:
        """Nothing to hang up."""

    def last(self, method: str) -> Outgoing:
        return [each for each in self.heard if each.message.get("method") == method][-1]


class Peer:
    """A call's client."""

    said = ClientSaid(is_modern=True, meta={"progressToken": "mine"}, capabilities={"elicitation": {}})

    def __init__(self, **answers: Any) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._answers = answers

    def told(self, method: str, params: dict[str, Any]) -> None:
        self.heard.append((method, params))

    async def answers(self, questions: Mapping[str, Any]) -> dict[str, Any]:
        if not self._answers:
            raise NobodyAsked(-32601, "nobody is at home")
        return {name: self._answers for name in questions}

    def streams(self, retry_ms: int | None) -> None:
        """It has no streams."""

    def pauses(self) -> None:
        """It has no streams."""


def with_link(far: Far, story: Callable[[Link], Coroutine[Any, Any, Any]], news: Any = None) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(10):
            link = Link(far, news=news or (lambda method, params: None))
            await link.open(cast("IO[bytes]", None))
            try:
                return await story(link)
            finally:
                await link.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("far", "revision"),
    [
        (Far(server_discover={"result": DISCOVERED}), "2026-07-28"),
        (Far(), "2025-11-25"),
        (Far(server_discover=NotSent("HTTP 400")), "2025-11-25"),
        (Far(server_discover={"result": {"supportedVersions": ["2025-11-25"]}}), "2025-11-25"),
    ],
)
def test_a_link_speaks_the_newest_that_both_know(far: Far, revision: str) -> None:
    async def story(link: Link) -> str:
        return link.revision

    assert with_link(far, story) == revision


def test_a_request_of_the_new_revision_says_everything_of_itself() -> None:
    far = Far(server_discover={"result": DISCOVERED}, tools_call={"result": {"content": []}})

    async def story(link: Link) -> Any:
        return await link.request("tools/call", {"name": "pay", "arguments": {}}, seconds=5, peer=Peer())

    with_link(far, story)

    sent = far.last("tools/call")
    meta = sent.message["params"]["_meta"]
    assert sent.headers == {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "pay"}
    assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {"elicitation": {}}
    assert meta["progressToken"] == sent.number


def test_a_question_is_put_to_the_peer_and_the_request_made_again_with_its_answer_and_the_servers_state() -> None:
    wanted = {"resultType": "input_required", "inputRequests": {"who": {}}, "requestState": "s1"}
    rounds = [{"result": wanted}, {"result": {"content": [], "resultType": "complete"}}]
    far = Far(server_discover={"result": DISCOVERED}, tools_call=rounds)

    async def story(link: Link) -> Any:
        return await link.request("tools/call", {"name": "pay"}, seconds=5, peer=Peer(action="accept"))

    result = with_link(far, story)

    said = far.last("tools/call").message["params"]
    assert result["resultType"] == "complete"
    assert (said["inputResponses"], said["requestState"]) == ({"who": {"action": "accept"}}, "s1")


@pytest.mark.parametrize("peer", [None, Peer()])
def test_a_question_that_nobody_answers_leaves_the_call_in_doubt(peer: Peer | None) -> None:
    wanted = {"result": {"resultType": "input_required", "inputRequests": {"who": {}}}}
    far = Far(server_discover={"result": DISCOVERED}, tools_call=wanted)

    async def story(link: Link) -> None:
        with pytest.raises(LeftWaiting):
            await link.request("tools/call", {"name": "pay"}, seconds=5, peer=peer)

    with_link(far, story)


@pytest.mark.requirement("TL-4")
def test_a_server_that_says_something_in_the_midst_of_several_calls_is_not_heard_by_the_wrong_client() -> None:
    far = Far()
    peers = [Peer(action="accept"), Peer(action="accept")]

    async def story(link: Link) -> None:
        calls = [asyncio.create_task(link.request("tools/call", {}, seconds=5, peer=peer)) for peer in peers]
        await asyncio.sleep(0)
        far.say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "whose?"}})
        far.say({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {}})
        for sent in [each for each in far.heard if each.message.get("method") == "tools/call"]:
            progress = {"progressToken": sent.number, "progress": 1}
            far.say({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
        while "error" not in far.heard[-1].message:  # noqa: ASYNC110 - the loop must turn for the link to answer
            await asyncio.sleep(0)
        for task in calls:
            task.cancel()
        await asyncio.wait(calls)

    with_link(far, story)

    assert [peer.heard for peer in peers] == [
        [("notifications/progress", {"progressToken": "mine", "progress": 1})]
    ] * 2
    assert far.heard[-1].message["id"] == "q"


def test_time_for_an_answer_does_not_run_while_the_client_is_asked() -> None:
    far = Far()

    class Slow(Peer):
        async def answers(self, questions: Mapping[str, Any]) -> dict[str, Any]:
            limit = next(iter(link_of[0]._asked.values())).timer
            assert limit is not None
            assert limit.when() is None
            return {name: {"action": "accept"} for name in questions}

    link_of: list[Link] = []

    async def story(link: Link) -> Any:
        link_of.append(link)
        call = asyncio.create_task(link.request("tools/call", {}, seconds=5, peer=Slow()))
        await asyncio.sleep(0)
        number = far.last("tools/call").number
        far.say({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {}})
        while far.heard[-1].message.get("id") != "q":  # noqa: ASYNC110 - the loop must turn for the link to answer
            await asyncio.sleep(0)
        far.say({"jsonrpc": "2.0", "id": number, "result": {"content": []}})
        return await call

    assert with_link(far, story) == {"content": []}


def test_an_error_keeps_its_data_and_a_server_that_goes_takes_its_calls_with_it() -> None:
    far = Far(prompts_get={"error": {"code": -32021, "message": "no", "data": {"needs": "sampling"}}})

    async def story(link: Link) -> None:
        with pytest.raises(RpcError) as failed:
            await link.request("prompts/get", {}, seconds=5)
        assert failed.value.data == {"needs": "sampling"}
        call = asyncio.create_task(link.request("tools/call", {}, seconds=5))
        await asyncio.sleep(0)
        far.end()
        with pytest.raises(WireLost):
            await call
        with pytest.raises(NotSent):
            await link.request("tools/call", {}, seconds=5)

    with_link(far, story)


def test_changes_are_news_and_not_a_calls() -> None:
    seen: list[str] = []
    far = Far()

    async def story(link: Link) -> None:
        far.say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})

    with_link(far, story, news=lambda method, params: seen.append(method))

    assert seen == ["notifications/tools/list_changed"]
