"""One suite of AgentDojo behind a gate: its tools, its environment, and an agent that does as it is told."""

import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from agentdojo.functions_runtime import FunctionsRuntime
from agentdojo.task_suite.load_suites import get_suites
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from answerable import Answerable, Run
from answerable.core import ExecutionError, Refused

__all__ = ["VERSION", "World", "application", "replaced"]

HERE = Path(__file__).parent
VERSION = "v1.2.2"
READS = ("get_", "search_", "list_", "read_", "check_")
DESTROYS = ("delete_", "cancel_", "remove_")
Call = tuple[str, dict[str, Any]]


class World:
    """The environment of the run under way, and what was done in it.

    Attributes:
        calls: what the agent is to call.
        done: what was carried out.
    """

    def __init__(self, name: str) -> None:
        self.suites = get_suites(VERSION)
        self.suite = self.suites[name]
        self.environment: Any = None
        self.calls: list[Call] = []
        self.done: list[Call] = []
        self._runtime = FunctionsRuntime(self.suite.tools)
        self._vectors = self.suite.get_injection_vector_defaults()
        # Pickled: AgentDojo's own way of copying them takes ten times as long, and would be most of what is measured.
        self._with: dict[str | None, bytes] = {}

    def begin(self, task: Any, *, planted: str | None = None) -> Any:
        """A fresh environment for a user's task, with a text planted wherever outsiders can; a copy comes back."""
        self.environment, self.done = self.fresh(task, planted=planted), []
        return self.fresh(task, planted=planted)

    def fresh(self, task: Any, *, planted: str | None = None) -> Any:
        """The environment as it is when a task begins."""
        if planted not in self._with:
            canaries = {name: f"CANARY-{name}-END" for name in self._vectors}
            said = {canaries[name]: default if planted is None else planted for name, default in self._vectors.items()}
            made = replaced(self.suite.load_and_inject_default_environment(canaries), said)
            self._with[planted] = pickle.dumps(made)
        return task.init_environment(pickle.loads(self._with[planted]))

    def carry_out(self, function: str, arguments: dict[str, Any]) -> Any:
        """What the tool returns, as JSON."""
        result, error = self._runtime.run_function(self.environment, function, arguments)
        if error:
            raise RuntimeError(error)
        self.done.append((function, arguments))
        return to_jsonable_python(result)


def application(world: World, data: Path, *, guarded: bool) -> Answerable:
    """The gate's application: the tools of all suites, and one agent a suite that may use its own."""
    app = Answerable(
        data=data, policy=HERE / ("guarded" if guarded else "open"), labels=HERE / "labels.toml" if guarded else None
    )
    for name, suite in world.suites.items():
        for function in suite.tools:
            app.tools.add(
                _tool(world, function),
                name=f"{name}.{function.name}",
                effect="read" if function.name.startswith(READS) else "irreversible",
                attributes={"destroys": function.name.startswith(DESTROYS)},
            )

        async def assistant(run: Run, given: dict[str, str], *, suite: str = name) -> None:
            for function, arguments in world.calls:
                try:
                    await run.tool(f"{suite}.{function}", **arguments)
                except (Refused, ExecutionError):  # a hijacked agent tries the next thing
                    continue

        app.agent(name=name)(assistant)
    return app


def _tool(world: World, function: Any) -> Callable[..., Any]:
    hints = get_type_hints(function.run)
    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints.get(name, Any))
        for name, each in inspect.signature(function.run).parameters.items()
        if name not in function.dependencies
    ]

    async def call(**arguments: Any) -> Any:
        return world.carry_out(function.name, to_jsonable_python(arguments))

    call.__doc__ = function.description
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


def replaced(value: Any, said: dict[str, str]) -> Any:
    """The value itself, with texts replaced in all of it."""
    if isinstance(value, str):
        for canary, text in said.items():
            value = value.replace(canary, text)
        return value
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            object.__setattr__(value, name, replaced(getattr(value, name), said))
        return value
    if isinstance(value, list):
        return [replaced(each, said) for each in value]
    if isinstance(value, dict):
        return {key: replaced(each, said) for key, each in value.items()}
    return value
