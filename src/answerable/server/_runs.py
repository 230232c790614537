"""`/runs` and `/stops`: runs, what people order of them, and what is stopped, as JSON. All else is a view of it.

SECURITY: only a person's key with the role `operator` opens it (`answerable person key new NAME --role operator`).
Whoever asks is named by the key, never by the request.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from answerable.app import Desk, Gate
from answerable.core import AnswerableError, ExecutionError, NotCanonical, RunId
from answerable.identity import AccessKey
from answerable.policy import StopScopeInvalid, StopUnknown
from answerable.runtime import (
    AgentUnknown,
    ControlRefused,
    InputInvalid,
    QueueFull,
    QueueInvalid,
    RunUnknown,
    find_order,
    links_from,
    list_queues,
    list_runs,
)
from answerable.server._errors import OperatorNeeded, PersonKeyRefused, RequestMalformed
from answerable.server._people import as_json, body_of, holder_of, status_of_key

__all__ = ["OPERATOR", "run_routes"]

OPERATOR = "operator"
_MOST_BYTES = 1 << 20
_MOST_RUNS = 1000

_Said = Mapping[str, Any]
_TAKES: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "pause": {},
    "resume": {},
    "kill": {},
    "fork": {"at": (str,), "changed": (dict,), "key": (str,)},
    "retry": {"key": (str,)},
    "rollback": {"to": (str,), "partial": (bool,)},
    "resolve": {"step": (str,), "happened": (bool,), "result": (object,), "evidence": (list,)},
}
"""What each order takes beside its reason. A signal is no order: it takes a name and a payload."""


def run_routes(gate: Gate) -> list[BaseRoute]:
    """The routes of a running gate's runs."""
    desk = _Desk(gate)
    return [
        Route("/runs", desk.list, methods=["GET"]),
        Route("/runs", desk.start, methods=["POST"]),
        Route("/queues", desk.queues, methods=["GET"]),
        Route("/stops", desk.stops, methods=["GET"]),
        Route("/stops", desk.stop, methods=["POST"]),
        Route("/stops/lift", desk.lift, methods=["POST"]),
        Route("/runs/{run}", desk.show, methods=["GET"]),
        Route("/runs/{run}/signal", desk.signal, methods=["POST"]),
        Route("/runs/{run}/{do}", desk.order, methods=["POST"]),
    ]


class _Desk:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def list(self, request: Request) -> Response:
        """Runs, the newest first; `?most=` at most so many."""

        async def found(person: AccessKey) -> Any:
            most = request.query_params.get("most", "50")
            if not most.isascii() or not most.isdigit() or not 0 < int(most) <= _MOST_RUNS:
                raise RequestMalformed(problem=f"`most` is a number from 1 to {_MOST_RUNS}")
            return {"runs": [asdict(row) for row in list_runs(self._gate.reader, tenant=person.tenant, most=int(most))]}

        return await self._answer(request, found)

    async def start(self, request: Request) -> Response:
        """Start a run of an agent; where too many wait already, `429` says when to try again."""

        async def started(person: AccessKey) -> Any:
            takes = {
                "agent": (str,),
                "input": (object,),
                "key": (str,),
                "on_behalf_of": (str,),
                "resources": (list,),
                "allow": (list,),
                "priority": (int,),
            }
            said = _checked(await body_of(request, most_bytes=_MOST_BYTES), takes, needs=("agent",))
            for name in ("resources", "allow"):
                if any(not isinstance(each, str) for each in said.get(name, ())):
                    raise RequestMalformed(problem=f"`{name}` is a list of texts")
            return await self._desk(person).start(**{"input": None, **said})

        return await self._answer(request, started)

    async def queues(self, request: Request) -> Response:
        """The queues: their limits, and how many runs they hold."""

        async def found(person: AccessKey) -> Any:
            return {"queues": [asdict(row) for row in list_queues(self._gate.reader.rows, tenant=person.tenant)]}

        return await self._answer(request, found)

    async def show(self, request: Request) -> Response:
        """One run: how it stands, what is ordered of it, and what came of it. Its texts stay on the record."""

        async def found(person: AccessKey) -> Any:
            run = RunId(request.path_params["run"])
            row = self._desk(person).own(run)
            order = find_order(self._gate.reader, run)
            opened = self._gate.reader.opened(run)["control"]
            gave = [asdict(link) for link in links_from(self._gate.reader, run)]
            return {
                **asdict(row),
                "order": asdict(order) if order else None,
                "origin": opened.get("origin"),
                "gave": gave,
            }

        return await self._answer(request, found)

    async def signal(self, request: Request) -> Response:
        """Send a signal: `{"name": …, "payload": …, "key": …}`."""

        async def sent(person: AccessKey) -> Any:
            takes = {"name": (str,), "payload": (object,), "key": (str,)}
            said = _checked(await body_of(request, most_bytes=_MOST_BYTES), takes, needs=("name",))
            run = RunId(request.path_params["run"])
            return await self._desk(person).signal(run=run, **{"payload": None, **said})

        return await self._answer(request, sent)

    async def order(self, request: Request) -> Response:
        """Order something of a run, with a reason."""

        async def ordered(person: AccessKey) -> Any:
            do, run = request.path_params["do"], request.path_params["run"]
            if do not in _TAKES:
                raise RequestMalformed(problem=f"`{do}` is no order; a run takes {', '.join(_TAKES)} and signal")
            needs = ("reason", "step", "happened") if do == "resolve" else ("reason",)
            said = dict(
                _checked(await body_of(request, most_bytes=_MOST_BYTES), {"reason": (str,), **_TAKES[do]}, needs=needs)
            )
            if not said["reason"].strip():
                raise RequestMalformed(problem="it gives no `reason`, which goes on the record")
            return await self._do(self._desk(person), do, run, person.holder, said)

        return await self._answer(request, ordered)

    async def stops(self, request: Request) -> Response:
        """What is stopped now."""

        async def found(person: AccessKey) -> Any:
            standing = self._desk(person).stops.standing(tenant=person.tenant)
            return {"stops": [asdict(stop) for stop in standing]}

        return await self._answer(request, found)

    async def stop(self, request: Request) -> Response:
        """Have nothing more done in a scope; what was dispatched before is told, with what undoes it."""
        return await self._answer(request, lambda person: self._stop_or_lift(request, self._desk(person).stop, person))

    async def lift(self, request: Request) -> Response:
        """End a stop."""
        return await self._answer(request, lambda person: self._stop_or_lift(request, self._desk(person).lift, person))

    async def _stop_or_lift(self, request: Request, do: Callable[..., Awaitable[Any]], person: AccessKey) -> Any:
        takes = {"scope": (str,), "reason": (str,)}
        said = _checked(await body_of(request, most_bytes=_MOST_BYTES), takes, needs=("scope", "reason"))
        if not said["reason"].strip():
            raise RequestMalformed(problem="it gives no `reason`, which goes on the record")
        return await do(scope=said["scope"], reason=said["reason"], by=person.holder)

    def _desk(self, person: AccessKey) -> Desk:
        """SECURITY: whoever asks sees and orders what is their tenant's, by their key, whatever the request says."""
        return self._gate.desk.of(person.tenant)

    async def _do(self, desk: Desk, do: str, run: str, by: str, said: dict[str, Any]) -> Any:
        if do == "fork":
            return await desk.fork(run=run, by=by, at=said.pop("at", ""), **said)
        if do == "retry":
            return await desk.retry(run=run, by=by, **said)
        if do == "rollback":
            return await desk.roll_back(run=run, by=by, **said)
        if do == "resolve":
            return await desk.resolve(run=run, by=by, result=said.pop("result", None), **said)
        return await desk.order(do=do, run=run, by=by, **said)  # type: ignore[arg-type]

    async def _answer(self, request: Request, do: Callable[[AccessKey], Awaitable[Any]]) -> Response:
        try:
            return as_json(await do(self._operator(request)))
        except AnswerableError as error:
            answer = as_json({"error": error.to_json()}, _status_of(error))
            if isinstance(error, QueueFull):
                answer.headers["retry-after"] = str(error.retry_after_s)
            return answer

    def _operator(self, request: Request) -> AccessKey:
        person = holder_of(self._gate, request)
        if OPERATOR not in person.roles:
            raise OperatorNeeded(role=OPERATOR)
        return person


def _checked(said: Any, takes: Mapping[str, tuple[type, ...]], *, needs: tuple[str, ...]) -> _Said:
    if not isinstance(said, dict):
        raise RequestMalformed(problem="its body is not an object")
    if unknown := said.keys() - takes.keys():
        raise RequestMalformed(problem=f"`{min(unknown)}` means nothing here; it may hold {', '.join(takes)}")
    for name in needs:
        if name not in said:
            raise RequestMalformed(problem=f"it lacks `{name}`")
    for name, value in said.items():
        if not isinstance(value, takes[name]):
            raise RequestMalformed(problem=f"`{name}` is of the wrong type")
    return said


def _status_of(error: AnswerableError) -> int:
    if isinstance(error, PersonKeyRefused):
        return status_of_key(error)
    if isinstance(error, RequestMalformed | InputInvalid | QueueInvalid | StopScopeInvalid | NotCanonical):
        return 400
    if isinstance(error, RunUnknown | AgentUnknown | StopUnknown):
        return 404
    if isinstance(error, QueueFull):
        return 429
    if isinstance(error, ControlRefused):
        return 409
    return 500 if isinstance(error, ExecutionError) else 403
