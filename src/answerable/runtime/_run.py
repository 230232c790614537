"""`Run`: what an agent's function is given to act with."""

import logging
import random
import uuid
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from answerable.core import RunId, parse_time, stable_json
from answerable.runtime._calls import SliceFuture
from answerable.runtime._slice import Slice
from answerable.runtime._typed import from_json, json_schema, to_json

__all__ = ["Run"]

log = logging.getLogger("answerable.run")


class Run:
    """The run an agent acts in. Each call is made when the method is called, not when it is awaited.

    Calls may be made side by side with `asyncio.gather` or a task group. What is done here is done
    once, however often the process dies; plain Python around it is done again in every replay, so
    take time and chance from `now`, `random` and `uuid`.
    """

    __slots__ = ("_branch", "_chance", "_slice", "input")

    def __init__(self, slice_: Slice, branch: str, input_: Any) -> None:
        self._slice = slice_
        self._branch = branch
        self._chance: random.Random | None = None
        self.input = input_
        """What the run was started with."""

    @property
    def id(self) -> RunId:
        """The run's id."""
        return self._slice.run

    def tool(self, name: str | Callable[..., Any], /, **arguments: Any) -> Coroutine[Any, Any, Any]:
        """The result of a tool call.

        Raises:
            Refused: the gate did not let it through.
            ExecutionError: it failed.
        """
        called = name if isinstance(name, str) else getattr(name, "tool_name", name.__name__)
        return _result(self._slice.call(self._branch, "tool", called, to_json(arguments)))

    def model(
        self,
        prompt: str | list[dict[str, Any]],
        *,
        model: str | None = None,
        schema: Any = None,
        max_tokens: int = 1024,
    ) -> Coroutine[Any, Any, Any]:
        """A model's reply: its text, or with `schema` (a type) a value of that type.

        Args:
            prompt: what to ask, or messages with `role` and `content`.
            model: `provider:id`; the agent's own by default.
            schema: a type that pydantic knows, or a JSON schema (then the reply comes as plain values).
            max_tokens: the longest reply.
        """
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        said: dict[str, Any] = {"messages": messages, "maxTokens": max_tokens}
        if schema is not None:
            said["schema"] = schema if isinstance(schema, dict) else json_schema(schema)
        asked = model or self._slice.spec.model
        return _reply(self._slice.call(self._branch, "model", asked, to_json(said)), schema)

    def approval(self, question: str, *, role: str, timeout: timedelta | None = None) -> Coroutine[Any, Any, Any]:
        """Returns once a person of this role said yes; what it returns says so.

        Raises:
            Refused: they said no, or nobody answered in time.
        """
        said: dict[str, Any] = {"question": question, "role": role}
        if timeout is not None:
            said["timeout_s"] = int(timeout.total_seconds())
        return _result(self._slice.call(self._branch, "decision", "approval", stable_json(said)))

    def sleep(self, duration: timedelta | float) -> Coroutine[Any, Any, None]:
        """Returns when the time is over, whoever drives the run then; a number is in seconds."""
        wait = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
        return _nothing(self._slice.sleep(self._branch, "sleep", wait))

    def signal(self, name: str, type: Any = None, timeout: timedelta | float | None = None) -> Coroutine[Any, Any, Any]:
        """The payload of the next signal of this name; one that came before is not missed.

        Raises:
            SignalTimedOut: none came within `timeout` (a number is in seconds).
        """
        limit = timedelta(seconds=timeout) if isinstance(timeout, int | float) else timeout
        return _typed(self._slice.signal(self._branch, name, limit), type)

    def version(self, name: str) -> Coroutine[Any, Any, bool]:
        """Whether to take the code behind this marker: False in a run that went past here without it."""
        return _result(self._slice.version(self._branch, name))

    def branch(self, name: str) -> "Run":
        """This run, seen from a branch: the same call in two branches is two calls."""
        if not name or "/" in name:
            raise ValueError(f"a branch has a name without `/`, not {name!r}")
        return Run(self._slice, f"{self._branch}/{name}" if self._branch else name, self.input)

    def now(self) -> datetime:
        """The time on the record of the last outcome handed back: the same in every replay."""
        return parse_time(self._slice.at)

    def random(self) -> random.Random:
        """Chance that repeats itself in every replay: one generator per branch."""
        chances = self._slice.chances
        chance = chances.get(self._branch)
        if chance is None:
            seed = self._slice.run_key.digest(stable_json(["random", self._branch]))
            chance = chances[self._branch] = random.Random(seed)
        return chance

    def uuid(self) -> uuid.UUID:
        """A random UUID, the same in every replay."""
        return uuid.UUID(int=self.random().getrandbits(128), version=4)

    def note(self, text: str) -> None:
        """Say something in the gate's log; it does not go on the record."""
        log.info("%s: %s", self._slice.run, text)


async def _result(future: SliceFuture) -> Any:
    return (await future).result


async def _nothing(future: SliceFuture) -> None:
    await future


async def _typed(future: SliceFuture, wanted: Any) -> Any:
    outcome = await future
    return outcome.result if wanted is None or outcome.status != "ok" else from_json(wanted, outcome.value)


async def _reply(future: SliceFuture, schema: Any) -> Any:
    reply = (await future).result
    if schema is None:
        return reply["text"]
    data = reply["data"]
    return data if isinstance(schema, dict) else from_json(schema, stable_json(data))
