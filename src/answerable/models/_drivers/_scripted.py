"""Models that are functions: for demos and tests. The name says so wherever it appears.

Usage follows a stated rule, so that budgets and reports have something to count: a token is four
bytes of text, begun ones included. It costs nothing.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from answerable.core import stable_json
from answerable.models._errors import ModelUnknown, ScriptFailed
from answerable.models._ports import Message, ModelReply, ModelRequest, ProviderFacts

__all__ = ["Script", "ScriptedProvider"]

Script = Callable[[tuple[Message, ...]], str | Mapping[str, Any]]
"""From the messages to the reply: text, or an object that is written as JSON."""

_BYTES_PER_TOKEN = 4


class ScriptedProvider:
    """The provider `scripted`: each model is a deterministic function of its messages."""

    name = "scripted"

    def __init__(self, scripts: Mapping[str, Script] | None = None) -> None:
        self._scripts: dict[str, Script] = dict(scripts or {})

    def add(self, model: str, script: Script) -> None:
        """Serve `script` as `scripted:<model>`."""
        self._scripts[model] = script

    def describe(self, model: str) -> ProviderFacts:
        if model not in self._scripts:
            known = ", ".join(f"`scripted:{name}`" for name in sorted(self._scripts)) or "none"
            raise ModelUnknown(model=f"scripted:{model}", advice=f"scripts there are: {known}")
        return ProviderFacts()

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.describe(request.model)
        try:
            said = self._scripts[request.model](request.messages)
            # A script may be a coroutine function in a test that must wait for something.
            said = await said if inspect.isawaitable(said) else said
            text = said if isinstance(said, str) else stable_json(dict(said)).decode()
        except Exception as error:  # the script's edge: whatever it raises is an answer
            raise ScriptFailed(model=f"scripted:{request.model}", error=type(error).__name__) from error
        whole = text.encode()
        cut = whole[: request.max_tokens * _BYTES_PER_TOKEN]
        return ModelReply(
            text=cut.decode("utf-8", "ignore"),
            model=request.model,
            input_tokens=sum(_tokens(message["content"].encode()) for message in request.messages),
            output_tokens=_tokens(cut),
            finish="stop" if len(cut) == len(whole) else "length",
        )

    async def close(self) -> None:
        """Nothing is held."""


def _tokens(text: bytes) -> int:
    return -(-len(text) // _BYTES_PER_TOKEN)
