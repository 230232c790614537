"""One connection to an MCP server, in one of its two ways to talk: after a handshake, or every request by itself.

Requests go out with numbers of ours and answers come back to them; in between the server may report progress, write
to the log, and ask the client that the call came from.

Source: Model Context Protocol 2025-11-25, "Lifecycle", and 2026-07-28, "Multi round-trip requests", "Subscriptions".
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from answerable.tools._drivers._rules import HANDSHAKE, MODERN, envelope, routing_headers, us
from answerable.tools._drivers._wires import Message, NotSent, Outgoing, Wire, WireLost
from answerable.tools._ports import NobodyAsked, Peer

__all__ = ["LeftWaiting", "Link", "RpcError"]

_METHOD_NOT_FOUND, _INTERNAL = -32601, -32603
_UNSUPPORTED_VERSION = -32022
_MOST_ROUNDS = 32
_CAPABILITIES = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": True}}
_CHANGES = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}
_BY_ITSELF = ("notifications/tools/", "notifications/prompts/", "notifications/resources/")
_AGAIN_S = 1.0

News = Callable[[str, Message], None]


class RpcError(Exception):
    """The server's own answer: an error."""

    def __init__(self, said: Any) -> None:
        said = said if isinstance(said, dict) else {}
        self.code: int = said["code"] if isinstance(said.get("code"), int) else _INTERNAL
        self.message = str(said.get("message", ""))
        self.data: Any = said.get("data")
        super().__init__(self.message)


class LeftWaiting(Exception):
    """The server asked for more, and was not told."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Asked:
    """A request that is out."""

    answer: "asyncio.Future[Message]"
    seconds: float
    peer: Peer | None
    timer: asyncio.Timeout | None = None
    token: Any = None
    questions: "set[asyncio.Task[None]]" = field(default_factory=set)


class Link:
    """A connection; it belongs to nobody's task and ends when it is closed or the server has gone.

    Args:
        news: told what the server says by itself.
    """

    def __init__(self, wire: Wire, *, news: News) -> None:
        self.revision = ""
        self.info: Message = {}
        self.capabilities: Message = {}
        self.instructions = ""
        self.streams = False
        self.retry_ms: int | None = None
        self.is_over = False
        self.unreadable = 0
        self._wire = wire
        self._news = news
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Asked] = {}
        self._aside: set[asyncio.Task[None]] = set()

    @property
    def is_modern(self) -> bool:
        """Whether every request stands by itself (2026-07-28)."""
        return self.revision in MODERN

    async def open(self, stderr: IO[bytes], *, era: str = "") -> None:
        """Reach the server, and agree on how to talk.

        Args:
            era: `modern` or `handshake`, where only that will do.

        Raises:
            NotSent, WireLost, RpcError: no such server there.
        """
        await self._wire.open(stderr, self._heard, self._ended)
        if era == "handshake" or not await self._discovers():
            if era == "modern":
                raise NotSent("it does not speak 2026-07-28")
            await self._shake_hands()
        if self.is_modern:
            changes = [
                said for kind, said in _CHANGES.items() if (self.capabilities.get(kind) or {}).get("listChanged")
            ]
            if changes:
                self.begin(self.watch(dict.fromkeys(changes, True)))
        elif self._wire.keeps_sessions:
            self.begin(self._listen())

    async def request(
        self,
        method: str,
        params: Message,
        *,
        seconds: float | None,
        peer: Peer | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """The result, after as many rounds of questions to the peer as the server has.

        Raises:
            TimeoutError: none in time; the time that questions take is not counted.
            RpcError: the server's answer is an error.
            LeftWaiting: it asked for more, and was not told.
            NotSent, WireLost: there is no answer.
        """
        asked = dict(params)
        if peer is not None and peer.said.inputs:
            asked["inputResponses"] = dict(peer.said.inputs)
        for _ in range(_MOST_ROUNDS):
            result = await self._once(method, asked, seconds, peer, headers)
            if result.get("resultType") != "input_required" or not self.is_modern:
                return result
            if peer is None:
                raise LeftWaiting("nobody is there to be asked")
            asked = dict(params)
            if questions := result.get("inputRequests"):
                try:
                    asked["inputResponses"] = await peer.answers(questions)
                except NobodyAsked as error:
                    raise LeftWaiting(error.reason) from None
            else:
                await asyncio.sleep(_AGAIN_S)  # it only wants to be asked again
            if "requestState" in result:
                asked["requestState"] = result["requestState"]
        raise LeftWaiting(f"it asked more than {_MOST_ROUNDS} times")

    async def notify(self, method: str, params: Message | None = None) -> None:
        """Tell the server something."""
        message: Message = {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}
        await self._wire.send(Outgoing(message=message, headers=self._headers(method, params or {})))

    async def watch(self, what: Mapping[str, Any]) -> None:
        """Hear of changes until the link ends or the task is cancelled (2026-07-28, "Subscriptions")."""
        while not self.is_over:
            with contextlib.suppress(RpcError, NotSent, WireLost):
                await self._once("subscriptions/listen", {"notifications": dict(what)})
            await asyncio.sleep(_AGAIN_S)

    async def close(self) -> None:
        """Hang up."""
        self._ended()
        for task in self._aside:
            task.cancel()
        if self._aside:
            await asyncio.wait(self._aside)
        await self._wire.close(self._headers("", {}))

    # -- how to talk --------------------------------------------------------------------------------------------------

    async def _discovers(self) -> bool:
        """Whether the server speaks a revision without handshake."""
        version = MODERN[-1]
        for _ in range(2):
            self.revision = version
            try:
                found = await self._once("server/discover", {})
            except RpcError as error:
                said = error.data.get("supported", []) if isinstance(error.data, dict) else []
                common = [each for each in MODERN if each in said]
                if error.code == _UNSUPPORTED_VERSION and common and common[-1] != version:
                    version = common[-1]
                    continue
                break
            except NotSent as error:
                if not error.reason.startswith("HTTP 4"):
                    raise
                break  # an older server's way to say that it does not know the header
            if version in (found.get("supportedVersions") or ()):
                self._learn(found, (found.get("_meta") or {}).get("io.modelcontextprotocol/serverInfo"))
                return True
            break
        self.revision = ""
        return False

    async def _shake_hands(self) -> None:
        hello = {"protocolVersion": HANDSHAKE[-1], "capabilities": _CAPABILITIES, "clientInfo": us()}
        found = await self._once("initialize", hello)
        version = found.get("protocolVersion")
        if version not in HANDSHAKE:
            raise RpcError({"message": f"it speaks revision `{version}`, which the gate does not"})
        self.revision = str(version)
        self._learn(found, found.get("serverInfo"))
        await self.notify("notifications/initialized")

    def _learn(self, found: Message, info: Any) -> None:
        self.info = info if isinstance(info, dict) else {}
        self.capabilities = found.get("capabilities") or {}
        self.instructions = str(found.get("instructions") or "")

    def _headers(self, method: str, params: Message, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**routing_headers(self.revision, method, params), **(more or {})} if self.revision else {}

    # -- requests -----------------------------------------------------------------------------------------------------

    async def _once(
        self,
        method: str,
        params: Message,
        seconds: float | None = None,
        peer: Peer | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        number = next(self._numbers)
        if self.is_over:
            raise NotSent("it has ended")
        asked = _Asked(answer=asyncio.get_running_loop().create_future(), seconds=seconds or 0, peer=peer)
        meta = dict(peer.said.meta) if peer is not None else {}
        if "progressToken" in meta:
            asked.token, meta["progressToken"] = meta["progressToken"], number
        if self.is_modern:
            meta.update(envelope(self.revision, peer.said.capabilities if peer is not None else {}, us()))
        message: Message = {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params}}
        if meta:
            message["params"]["_meta"] = meta
        outgoing = Outgoing(
            message=message,
            headers=self._headers(method, params, headers),
            on_stream=peer.streams if peer is not None else self._streamed,
            on_pause=peer.pauses if peer is not None else None,
        )
        self._asked[number] = asked
        try:
            async with asyncio.timeout(seconds) as asked.timer:
                await self._wire.send(outgoing)
                return await asked.answer
        except TimeoutError:
            with contextlib.suppress(NotSent, WireLost):
                await self.notify("notifications/cancelled", {"requestId": number, "reason": "no answer in time"})
            raise
        finally:
            del self._asked[number]
            if not asked.answer.cancel() and not asked.answer.cancelled():
                asked.answer.exception()  # whoever left without it has no use for it
            for task in asked.questions:
                task.cancel()

    def _streamed(self, retry_ms: int | None) -> None:
        self.streams, self.retry_ms = True, retry_ms

    def _heard(self, said: Message, outgoing: Outgoing | None) -> None:
        method = said.get("method")
        if method is None:
            asked = self._asked.get(said.get("id"))  # type: ignore[arg-type]
            if asked is None:
                self.unreadable += "jsonrpc" not in said
            elif not asked.answer.done():
                if "error" in said or not isinstance(said.get("result"), dict):
                    asked.answer.set_exception(RpcError(said.get("error")))
                else:
                    asked.answer.set_result(said["result"])
        elif "id" in said:
            self._questioned(said, outgoing)
        else:
            self._noted(str(method), said.get("params") or {}, outgoing)

    def _noted(self, method: str, params: Message, outgoing: Outgoing | None) -> None:
        if method == "notifications/progress":
            asked = self._asked.get(params.get("progressToken"))  # type: ignore[arg-type]
            if asked is not None and asked.peer is not None and asked.token is not None:
                asked.peer.told(method, {**params, "progressToken": asked.token})
            return
        if method == "notifications/cancelled" or method == "notifications/subscriptions/acknowledged":
            return  # a question withdrawn, whose answer goes nowhere; a stream begun
        asked = self._about(outgoing)
        if asked is not None and asked.peer is not None and not method.startswith(_BY_ITSELF):
            asked.peer.told(method, params)
        elif method.startswith(_BY_ITSELF):
            self._news(method, params)

    def _about(self, outgoing: Outgoing | None) -> _Asked | None:
        """The request that the server means: the one on whose answer it speaks, or the only one there is."""
        if outgoing is not None and outgoing.number is not None:
            return self._asked.get(outgoing.number)  # type: ignore[arg-type]
        # SECURITY: among several nobody knows whose it is, and one agent's must not reach another.
        waiting = [asked for asked in self._asked.values() if asked.peer is not None]
        return waiting[0] if len(waiting) == 1 else None

    # -- questions of the server (before 2026-07-28) ------------------------------------------------------------------

    def _questioned(self, said: Message, outgoing: Outgoing | None) -> None:
        asked = self._about(outgoing)
        task = self.begin(self._answered(said, asked))
        if asked is not None:
            asked.questions.add(task)

    async def _answered(self, said: Message, asked: _Asked | None) -> None:
        answer: Message
        timer = asked.timer if asked is not None else None
        try:
            if said["method"] == "ping":
                answer = {"result": {}}
            elif asked is None or asked.peer is None:
                raise NobodyAsked(_METHOD_NOT_FOUND, "the call is nobody's who could be asked")
            else:
                if timer is not None and asked.seconds:
                    timer.reschedule(None)
                question = {"method": said["method"], "params": said.get("params") or {}}
                answer = {"result": (await asked.peer.answers({str(said["id"]): question}))[str(said["id"])]}
        except NobodyAsked as error:
            answer = {"error": {"code": error.code, "message": error.reason}}
        if timer is not None and asked is not None and asked.seconds and not asked.answer.done():
            timer.reschedule(asyncio.get_running_loop().time() + asked.seconds)
        message = {"jsonrpc": "2.0", "id": said["id"], **answer}
        with contextlib.suppress(NotSent, WireLost):
            await self._wire.send(Outgoing(message=message, headers=self._headers("", {})))

    # -- its end ------------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        await self._wire.listen(self._headers("", {}))

    def begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do something aside for as long as the link lasts."""
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
        return task

    def _ended(self) -> None:
        self.is_over = True
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.answer.set_exception(WireLost())
