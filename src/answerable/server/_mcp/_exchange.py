"""One call under way, and the client it came from: what its server says meanwhile finds its way, and answers back.

A client of 2026-07-28 is asked by an answer, and answers by asking again: the call waits in between, as one step.

Source: Model Context Protocol 2026-07-28, "Multi round-trip requests"; 2025-11-25, "Sampling", "Elicitation", "Roots".
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from answerable.server._mcp._ports import INTERNAL, METHOD_NOT_FOUND, Asked
from answerable.tools import ClientSaid, NobodyAsked

__all__ = ["Exchange"]

_OURS = "answerable/"
_LONGEST_WAIT_S = 600.0
_NEEDS = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}

Record = Callable[[str, Mapping[str, Any]], Awaitable[None]]


class Exchange:
    """A call's client, as its server sees it.

    Args:
        inputs: what the client answered before it was asked.
        record: puts a question and its answer on the record; raises `NobodyAsked` if the answer may not be given.
    """

    def __init__(self, asked: Asked, inputs: Mapping[str, Any], *, record: Record) -> None:
        self.said = ClientSaid(
            is_modern=asked.is_modern,
            meta={name: said for name, said in asked.meta.items() if not name.startswith(_OURS)},
            capabilities=asked.capabilities,
            inputs=inputs,
        )
        self.questions: Mapping[str, Any] = {}
        self.asking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_over = False
        self.rounds = 0
        self._voice = asked.voice
        self._record = record
        self._timer: asyncio.Timeout | None = None
        self._given: asyncio.Future[Mapping[str, Any]] | None = None

    def join(self, asked: Asked, inputs: Mapping[str, Any]) -> None:
        """The client asks again while the call is under way: with its answers, or because it lost the connection."""
        self._voice = asked.voice
        if inputs and self._given is not None and not self._given.done():
            self.asking = asyncio.get_running_loop().create_future()
            self._given.set_result(inputs)

    # -- what the server's driver calls (`answerable.tools.Peer`) ----------------------------------------------------

    def told(self, method: str, params: dict[str, Any]) -> None:
        self._voice.note(method, params)

    def streams(self, retry_ms: int | None) -> None:
        self._voice.prime(retry_ms)

    def pauses(self) -> None:
        self._voice.pause()

    async def answers(self, questions: Mapping[str, Any]) -> dict[str, Any]:
        for question in questions.values():
            self._check(question)
        try:
            async with asyncio.timeout(0 if self.is_over else _LONGEST_WAIT_S) as self._timer:
                given = await (self._by_asking_back(questions) if self.said.is_modern else self._by_voice(questions))
        except TimeoutError:
            self.is_over = True
            raise NobodyAsked(INTERNAL, "no answer came from the client") from None
        finally:
            self._timer = None
        for name, question in questions.items():
            if name in given:
                said = {"question": question.get("params") or {}, "answer": given[name]}
                await self._record(question["method"], said)
        return given

    def abandon(self) -> None:
        """Nobody will answer any more."""
        self.is_over = True
        if self._timer is not None:
            self._timer.reschedule(asyncio.get_running_loop().time())

    def _check(self, question: Any) -> None:
        method = question.get("method") if isinstance(question, dict) else None
        needed = _NEEDS.get(str(method))
        if needed is None:
            raise NobodyAsked(METHOD_NOT_FOUND, f"clients are not asked `{method}`")
        if needed not in self.said.capabilities:
            raise NobodyAsked(METHOD_NOT_FOUND, f"the client does not support {needed}")

    async def _by_voice(self, questions: Mapping[str, Any]) -> dict[str, Any]:
        asking = (self._voice.ask(each["method"], each.get("params") or {}) for each in questions.values())
        return dict(zip(questions, await asyncio.gather(*asking), strict=True))

    async def _by_asking_back(self, questions: Mapping[str, Any]) -> dict[str, Any]:
        self._given = asyncio.get_running_loop().create_future()
        self.questions = questions
        self.rounds += 1
        if not self.asking.done():
            self.asking.set_result(None)
        try:
            return dict(await self._given)
        finally:
            self._given = None
            if self.asking.done():
                self.asking = asyncio.get_running_loop().create_future()
