"""The gate dies by SIGKILL while agents wait for models; they ask again, and the provider's books are looked at.

Eight agents at a time, half of them in streams, each through the vendor's SDK.
"""

import asyncio
import collections
import contextlib
import os
import re
import signal
import socket
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from answerable import Reader
from answerable.app import all_projections
from answerable.ledger import export_bundle, rebuild, write_trust
from tests.conformance.second_opinion import verify
from tests.integration.test_serve import PYTHON, answer_of
from tests.integration.upstream import ScriptedUpstream, chat_stream, chat_whole, serving

APP = """
import os
from pathlib import Path
from answerable import Answerable, Limits, Upstream
app = Answerable(data="data", policy="policy")
app.upstream(Upstream(name="first", dialect="chat", base_url=os.environ["UPSTREAM"], max_tokens=100))
app.route("tiny", "first:tiny")
app.wired("desk", limits=Limits(tokens=100_000, identical_calls=None))
"""
PERMIT = '@id("desk-thinks") permit (principal == Agent::"desk", action in Action::"model", resource);'
CALLERS = 8
USED = 18  # tokens, as the scripted provider counts each answer
_ORDER = re.compile(r"order (\S+)")


@dataclass
class Books(ScriptedUpstream):
    """A provider that writes down what it is asked, and is silent the first time it is asked of an order `…-b`.

    Of a stream it gives the first words before that.
    """

    times: Counter[str] = field(default_factory=collections.Counter)
    all_wait: asyncio.Event = field(default_factory=asyncio.Event)
    _waiting: int = 0

    async def _answer(self, request: Request) -> Response:
        asked = await request.json()
        found = _ORDER.search(asked["messages"][-1]["content"])
        assert found is not None
        order = found.group(1)
        self.times[order] += 1
        is_silent = order.endswith("-b") and self.times[order] == 1
        if asked.get("stream"):
            return StreamingResponse(self._said(order, is_silent=is_silent), media_type="text/event-stream")
        if is_silent:
            await self._wait()
        return Response(chat_whole(f"order {order} is fine"), media_type="application/json")

    async def _said(self, order: str, *, is_silent: bool) -> AsyncIterator[bytes]:
        for place, part in enumerate(chat_stream("order ", order, " is ", "fine")):
            yield part
            if is_silent and place == 1:
                await self._wait()

    async def _wait(self) -> None:
        self._waiting += 1
        if self._waiting == CALLERS:
            self.all_wait.set()
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def gate(folder: Path, upstream: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {**os.environ, "UPSTREAM": upstream}
    words = [*PYTHON, "serve", "elsewhere:app", "--port", str(port)]
    process = await asyncio.create_subprocess_exec(
        *words, cwd=folder, env=environment, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stderr is not None
        line = (await process.stderr.readline()).decode()
        assert "listening at" in line, line + (await process.stderr.read()).decode()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def caller(number: int, url: str, key: str) -> list[str]:
    """An agent that asks three times, one after the other, and lets nothing stop it. Half of them give keys."""
    session = {"answerable-session": f"talk-{number}"} if number % 4 < 2 else {}
    said = []
    # The SDK's own retries are for answers that come whole; in a stream an agent has to begin anew itself.
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0 if number % 2 else 30) as client:
        for part in "abc":
            order = f"{number}-{part}"
            asked: dict[str, Any] = {
                "model": "tiny",
                "messages": [{"role": "user", "content": f"What of order {order}"}],
            }
            named = {**session, "idempotency-key": order} if number % 4 in (1, 2) else session
            if number % 2:
                said.append(await streamed(client, asked, named))
            else:
                answer = await client.chat.completions.create(**asked, extra_headers=named)
                said.append(answer.choices[0].message.content or "")
    return said


async def streamed(client: openai.AsyncOpenAI, asked: dict[str, Any], headers: dict[str, str]) -> str:
    for times in range(1000):
        retry = {"x-stainless-retry-count": str(times)} if times else {}
        try:
            stream = await client.chat.completions.create(**asked, stream=True, extra_headers={**headers, **retry})
            parts = [chunk.choices[0] async for chunk in stream if chunk.choices]
        except (openai.APIError, OSError):
            pass
        except Exception as error:
            # The SDK lets its transport's error through where a stream breaks off.
            if "httpx" not in type(error).__module__:
                raise
        else:
            if parts and parts[-1].finish_reason:
                return "".join(each.delta.content or "" for each in parts)
        await asyncio.sleep(0.1)
    raise AssertionError("never answered")


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.requirement("FW-1", "MD-3", "RT-3")
def test_agents_that_ask_again_after_the_gate_was_killed_are_answered_once_and_no_call_goes_unaccounted(
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere.py").write_text(APP)
    for folder in ("authorize", "obligations"):
        (tmp_path / "policy" / folder).mkdir(parents=True)
    (tmp_path / "policy" / "authorize" / "desk.cedar").write_text(PERMIT)
    books = Books()

    async def story() -> list[list[str]]:
        async with asyncio.timeout(170), serving(books) as upstream:
            key = await answer_of(tmp_path, "agent", "key", "new", "desk", "--data", "data")
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            asking: list[asyncio.Task[list[str]]] = []
            async with gate(tmp_path, upstream.url, port) as process:
                url = f"http://127.0.0.1:{port}/v1"
                asking += [asyncio.create_task(caller(number, url, key)) for number in range(CALLERS)]
                await books.all_wait.wait()
                process.send_signal(signal.SIGKILL)
                await process.wait()
            async with gate(tmp_path, upstream.url, port) as process:
                said = await asyncio.gather(*asking)
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
            return said

    said = asyncio.run(story())

    assert said == [[f"order {number}-{part} is fine" for part in "abc"] for number in range(CALLERS)]
    wanted = {f"{number}-{part}": 2 if part == "b" else 1 for number in range(CALLERS) for part in "abc"}
    assert books.times == wanted

    with contextlib.closing(Reader.open(tmp_path / "data")) as reader:
        steps: dict[str, list[tuple[str, int]]] = {}
        for receipt in reader.receipts():
            if step := receipt.predicate.get("step"):
                steps.setdefault(step, []).append((receipt.phase, receipt.predicate["attempt"]))
        runs = sorted({receipt.predicate["run"] for receipt in reader.receipts() if receipt.phase == "run.open"})
        trust = write_trust(reader, tmp_path / "trust.toml")
        bundle = export_bundle(reader, runs, tmp_path / "sessions.zip")
    # The record and the books agree: one intent for each time the provider was asked, one outcome for each call.
    again, once = [("intent", 1), ("intent", 2), ("outcome", 2)], [("intent", 1), ("outcome", 1)]
    assert Counter(map(str, steps.values())) == {str(again): CALLERS, str(once): 2 * CALLERS}
    assert verify(bundle, trust).findings == ()
    assert all(table.is_equal for table in rebuild(tmp_path / "data", all_projections()))
    with contextlib.closing(sqlite3.connect(next((tmp_path / "data").glob("*.sqlite3")))) as store:
        reserved, spent = store.execute("SELECT sum(reserved), sum(spent) FROM policy_budgets").fetchone()
    assert (reserved, spent) == (0, 3 * CALLERS * USED)
