"""A model call that a person must agree to, end to end: held, decided at the command line, made again by its agent."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from answerable import Reader
from tests.integration.test_serve import PYTHON, answer_of
from tests.integration.upstream import ScriptedUpstream, chat_stream, chat_whole, serving

APP = """
import os
from answerable import Answerable, Upstream
app = Answerable(data="data", policy="policy")
app.upstream(Upstream(name="first", dialect="chat", base_url=os.environ["UPSTREAM"]))
app.route("costly", "first:costly")
app.wired("desk")
"""
PERMIT = '@id("desk-thinks") permit (principal == Agent::"desk", action in Action::"model", resource);'
HOLD = """@id("costly-models-need-a-lead")
@obligation("approve:role=lead,timeout=1h,on_timeout=deny")
permit (principal, action == Action::"model:first:costly", resource);"""
LEAD = ("--as", "user:lee", "--role", "lead", "--data", "data")


@contextlib.asynccontextmanager
async def gate(folder: Path, upstream: str) -> AsyncIterator[str]:
    (folder / "elsewhere.py").write_text(APP)
    for kind, rule in (("authorize", PERMIT), ("obligations", HOLD)):
        (folder / "policy" / kind).mkdir(parents=True, exist_ok=True)
        (folder / "policy" / kind / "models.cedar").write_text(rule)
    words = [*PYTHON, "serve", "elsewhere:app", "--port", "0"]
    environment = {**os.environ, "UPSTREAM": upstream}
    process = await asyncio.create_subprocess_exec(
        *words, cwd=folder, env=environment, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stderr is not None
        line = (await process.stderr.readline()).decode()
        assert "listening at" in line, line + (await process.stderr.read()).decode()
        yield line.split()[-1] + "/v1"
    finally:
        process.kill()
        await process.wait()


async def asked(client: openai.AsyncOpenAI, text: str, **more: Any) -> Any:
    said: list[Any] = [{"role": "user", "content": text}]
    return await client.chat.completions.create(**{"model": "costly", "messages": said, **more})


async def waiting(folder: Path) -> str:
    """The approval that waits now."""
    while True:
        found = json.loads(await answer_of(folder, "approvals", "list", "--data", "data", "--json"))
        if found:
            return str(found[0]["approval"])


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.requirement("FW-1", "GV-2")
def test_a_held_model_call_goes_on_when_a_person_agreed_and_not_when_one_refused(tmp_path: Path) -> None:
    books = ScriptedUpstream(answers=[(200, chat_whole("Whole.")), (200, chat_stream("In ", "parts.")), (500, b"{}")])

    async def story() -> None:
        async with asyncio.timeout(110), serving(books) as upstream:
            key = await answer_of(tmp_path, "agent", "key", "new", "desk", "--data", "data")
            async with (
                gate(tmp_path, upstream.url) as url,
                openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client,
            ):
                # The agent gives up, and a person agrees behind its back: nothing is done until it asks again.
                with pytest.raises(openai.APITimeoutError):
                    await asked(client, "One?", timeout=0.5)
                await answer_of(tmp_path, "approvals", "approve", await waiting(tmp_path), *LEAD)
                assert books.asked == []
                answer = await asked(client, "One?")
                assert answer.choices[0].message.content == "Whole."

                # The agent waits, and its stream begins once a person agrees.
                stream = asyncio.create_task(asked(client, "Two?", stream=True))
                await answer_of(tmp_path, "approvals", "approve", await waiting(tmp_path), *LEAD)
                parts = [part.choices[0].delta.content or "" async for part in await stream if part.choices]
                assert "".join(parts) == "In parts."

                # A person refuses.
                refused = asyncio.create_task(asked(client, "Three?"))
                await answer_of(
                    tmp_path, "approvals", "reject", await waiting(tmp_path), *LEAD, "--reason", "too costly"
                )
                with pytest.raises(openai.PermissionDeniedError, match="too costly"):
                    await refused

    asyncio.run(story())

    assert [each["messages"][0]["content"] for each in books.asked] == ["One?", "Two?"]
    with contextlib.closing(Reader.open(tmp_path / "data")) as reader:
        steps: dict[str, list[str]] = {}
        for receipt in reader.receipts():
            if step := receipt.predicate.get("step"):
                steps.setdefault(step, []).append(receipt.phase)
    assert list(steps.values()) == [
        ["held", "approval", "intent", "outcome"],
        ["held", "approval", "intent", "outcome"],
        ["held", "approval", "denied"],
    ]
