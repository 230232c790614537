"""`Run`: what an agent's function is given to act with."""

import logging
import random
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

import orjson

from answerable.core import RunId, TenantId, error_from_json, mismatch, parse_time, stable_json
from answerable.runtime._calls import SliceFuture
from answerable.runtime._errors import RunCancelled, SignalInvalid
from answerable.runtime._gate import Ending
from answerable.runtime._limits import Limits
from answerable.runtime._shared import SharedState
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

    __slots__ = ("_branch", "_chance", "_confidence", "_slice", "input")

    def __init__(self, slice_: Slice, branch: str, input_: Any, confidence: int | None = None) -> None:
        self._slice = slice_
        self._branch = branch
        self._confidence = confidence
        self._chance: random.Random | None = None
        self.input = input_
        """What the run was started with."""

    @property
    def shared(self) -> SharedState:
        """State shared with the runs that this one delegates, goes on as, or came of."""
        return SharedState(self._slice, self._branch)

    @property
    def settings(self) -> dict[str, Any]:
        """What the run's tenant set for its agents, as it was when the run began."""
        name = self._slice.control.get("settings")
        stored = self._slice.gate.ledger.reader.stored(name) if name else None
        said: dict[str, Any] = orjson.loads(stored[0]) if stored is not None else {}
        return said

    @property
    def tenant(self) -> TenantId:
        """Whose run it is."""
        return self._slice.tenant

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
        future = self._slice.call(self._branch, "tool", called, to_json(arguments), self._confidence)
        return _result(future)

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
        body = to_json(said)
        asked = model or _own_model(self._slice, self._branch, body)
        return _reply(self._slice.call(self._branch, "model", asked, body), schema)

    def approval(self, question: str, *, role: str, timeout: timedelta | None = None) -> Coroutine[Any, Any, Any]:
        """Returns once a person of this role said yes; what it returns says so.

        Raises:
            Refused: they said no, or nobody answered in time.
        """
        said: dict[str, Any] = {"question": question, "role": role}
        if timeout is not None:
            said["timeout_s"] = int(timeout.total_seconds())
        return _result(self._slice.call(self._branch, "decision", "approval", stable_json(said)))

    def escalate(
        self,
        reason: str,
        *,
        to: str = "",
        context: Mapping[str, Any] | None = None,
        timeout: timedelta | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Hand a question over to a person, and return once they said to go on.

        Args:
            reason: why the agent does not go on by itself.
            to: the role that is asked; by default the one that the agent is declared to escalate to.
            context: what they need to decide, JSON; they see it, and it stands sealed on the record.

        Raises:
            Refused: they said no, or nobody answered in time.
            ValueError: nobody to turn to is named or declared.
        """
        role = to or self._slice.spec.escalation
        if not role:
            raise ValueError("name a role in `to`, or declare the agent's `escalation`")
        said: dict[str, Any] = {"question": reason, "role": role, "escalated": True, "context": dict(context or {})}
        if timeout is not None:
            said["timeout_s"] = int(timeout.total_seconds())
        return _result(self._slice.call(self._branch, "decision", "approval", to_json(said)))

    def confident(self, confidence: float) -> "Run":
        """This run, for tool calls of which the agent is so sure: 0 to 1.

        Policy may ask for a person below a threshold (`context.confidence`, in percent). Stated or not, however high,
        it never permits anything that would not be permitted without it.
        """
        if not 0 <= confidence <= 1:
            raise ValueError(f"confidence is from 0 to 1, not {confidence}")
        return Run(self._slice, self._branch, self.input, int(confidence * 100))

    def sleep(self, duration: timedelta | float) -> Coroutine[Any, Any, None]:
        """Returns when the time is over, whoever drives the run then; a number is in seconds."""
        wait = duration if isinstance(duration, timedelta) else timedelta(seconds=duration)
        return _nothing(self._slice.sleep(self._branch, "sleep", wait))

    def signal(self, name: str, type: Any = None, timeout: timedelta | float | None = None) -> Coroutine[Any, Any, Any]:
        """The payload of the next signal of this name; one that came before is not missed.

        Raises:
            SignalTimedOut: none came within `timeout` (a number is in seconds).
            SignalInvalid: what came is not of `type`.
        """
        limit = timedelta(seconds=timeout) if isinstance(timeout, int | float) else timeout
        return _typed(self._slice.signal(self._branch, name, limit), name, type)

    def delegate(
        self, agent: str, given: Any = None, *, allow: Sequence[str] | None = None, limits: Limits | None = None
    ) -> Coroutine[Any, Any, Any]:
        """What another agent returned, which did this in a run of its own.

        It may do what policy lets it do and lets this agent do too, and is charged to this run's budgets. It
        ends when this run does.

        Args:
            agent: the other agent's name.
            given: its input.
            allow: names of what it may do, `*` at will: `shop.*`, `model:*`; None for all that this run may do.
            limits: its bounds, within its own and this run's.

        Raises:
            Refused: policy, depth or scope forbid it, or the other was refused.
            ExecutionError: the other failed.
        """
        said: dict[str, Any] = {"input": given}
        said.update({} if allow is None else {"allow": list(allow)})
        said.update({} if limits is None else {"limits": limits.to_json()})
        return _delegated(self._slice, self._branch, self._slice.call(self._branch, "delegation", agent, to_json(said)))

    async def hand_over(self, agent: str, given: Any = None) -> NoReturn:
        """End this run, and have another agent go on in its place; whoever awaits this run awaits that one.

        Raises:
            Refused: policy or depth forbid it; this run goes on then.
        """
        said = to_json({"input": given, "handOver": True})
        (await self._slice.call(self._branch, "delegation", agent, said)).result  # noqa: B018 - raises a refusal
        await self._slice.pass_on(Ending(kind="continued", agent=agent, result=given))
        raise RunCancelled

    async def continue_as_new(self, given: Any = None) -> NoReturn:
        """End this run and go on as a new one with this input, so that a run without end has no endless journal.

        Signals that nobody took go with it, and so do what the run was exposed to and its budgets.
        """
        await self._slice.pass_on(Ending(kind="continued", result=given))
        raise RunCancelled

    def version(self, name: str) -> Coroutine[Any, Any, bool]:
        """Whether to take the code behind this marker: False in a run that went past here without it."""
        return _result(self._slice.version(self._branch, name))

    def branch(self, name: str) -> "Run":
        """This run, seen from a branch: the same call in two branches is two calls."""
        if not name or "/" in name:
            raise ValueError(f"a branch has a name without `/`, not {name!r}")
        return Run(self._slice, f"{self._branch}/{name}" if self._branch else name, self.input, self._confidence)

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


def _own_model(slice_: Slice, branch: str, arguments: bytes) -> str:
    """The model that a call which names none asks: in a fork another one, but for the calls it shares."""
    changed = slice_.control.get("models")
    for earlier in (slice_.spec.model, *changed["before"]) if changed else ():
        if slice_.is_shared((branch, "model", earlier, arguments)):
            return str(earlier)
    return str(changed["now"]) if changed else slice_.spec.model


async def _result(future: SliceFuture) -> Any:
    return (await future).result


async def _nothing(future: SliceFuture) -> None:
    await future


async def _typed(future: SliceFuture, name: str, wanted: Any) -> Any:
    outcome = await future
    if wanted is None or outcome.status != "ok":
        return outcome.result
    try:
        return from_json(wanted, outcome.value)
    except ValueError as error:
        problem = f"what it carries is not what is awaited ({mismatch(error)})"
        raise SignalInvalid(name=name, problem=problem) from None


async def _delegated(slice_: Slice, branch: str, future: SliceFuture) -> Any:
    child = (await future).result["run"]
    said = (await slice_.signal(branch, f"child:{child}", None)).result
    if said["state"] == "done":
        return said["result"]
    raise error_from_json(said["error"])


async def _reply(future: SliceFuture, schema: Any) -> Any:
    reply = (await future).result
    if schema is None:
        return reply["text"]
    data = reply["data"]
    return data if isinstance(schema, dict) else from_json(schema, stable_json(data))
