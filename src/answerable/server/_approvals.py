"""`/approvals`: what waits for a person, and the person's answer, as JSON. A console or a chat bot is a view of it.

SECURITY: only a person's own key opens it (`answerable person key new`); the roles are those on the key,
never what the request says. An agent's key decides nothing and sees nothing.
"""

from typing import Any, Literal

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from answerable.app import Gate
from answerable.core import AnswerableError, Refused
from answerable.identity import PersonKey
from answerable.policy import Approval, ApprovalClosed, ApprovalUnknown
from answerable.server._errors import PersonKeyRefused, RequestMalformed
from answerable.server._front import secret_of

__all__ = ["approval_routes"]

_MOST_BYTES = 64 << 10
_LONGEST_REASON = 2_000
_STATES = ("waiting", "approved", "rejected", "timed-out", "closed", "all")


def approval_routes(gate: Gate) -> list[BaseRoute]:
    """The routes of a running gate's approvals."""
    desk = _Approvals(gate)
    return [
        Route("/approvals", desk.list, methods=["GET"]),
        Route("/approvals/{approval}", desk.show, methods=["GET"]),
        Route("/approvals/{approval}/approve", desk.approve, methods=["POST"]),
        Route("/approvals/{approval}/reject", desk.reject, methods=["POST"]),
    ]


class _Approvals:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def list(self, request: Request) -> Response:
        """What waits, or with `?state=all` what ever waited; oldest first."""
        try:
            person = self._person(request)
            state = request.query_params.get("state", "waiting")
            if state not in _STATES:
                raise RequestMalformed(problem=f"`state` is one of {', '.join(_STATES)}")
            found = self._gate.approvals.list(state=None if state == "all" else state)
        except AnswerableError as error:
            return _refused(error)
        return _json({"approvals": [_said(each, person) for each in found]})

    async def show(self, request: Request) -> Response:
        """One approval, with exactly what it would let through."""
        try:
            person = self._person(request)
            found = self._gate.approvals.show(request.path_params["approval"])
        except AnswerableError as error:
            return _refused(error)
        said = {**_said(found.approval, person), "action": found.action, "rules": found.rules}
        # Whoever may decide must see all of it; whoever may not, has no need to.
        if said["mayDecide"]:
            said["arguments"] = None if found.arguments is None else orjson.loads(found.arguments)
        return _json(said)

    async def approve(self, request: Request) -> Response:
        """Let the action through."""
        return await self._decide(request, "approve")

    async def reject(self, request: Request) -> Response:
        """Refuse the action; the agent is told why."""
        return await self._decide(request, "reject")

    async def _decide(self, request: Request, decision: Literal["approve", "reject"]) -> Response:
        try:
            person = self._person(request)
            decided = await self._gate.approvals.decide(
                request.path_params["approval"],
                decision,
                by=person.person,
                roles=person.roles,
                reason=await _reason(request, is_needed=decision == "reject"),
            )
        except AnswerableError as error:
            return _refused(error)
        return _json({**_said(decided, person), "receipt": decided.decided})

    def _person(self, request: Request) -> PersonKey:
        secret = secret_of(request.headers)
        person = self._gate.person_keys.find(secret)
        if person is None:
            raise PersonKeyRefused(is_agent=self._gate.agent_keys.find(secret) is not None)
        return person


def _said(approval: Approval, person: PersonKey) -> dict[str, Any]:
    return {
        "approval": approval.approval,
        "state": approval.state,
        "name": approval.name,
        "agent": approval.agent,
        "run": approval.run,
        "role": approval.role,
        "notInitiator": approval.not_initiator,
        "asked": approval.asked.isoformat(),
        "due": approval.due.isoformat(),
        "digest": approval.digest,
        "reason": approval.reason,
        "mayDecide": approval.state == "waiting" and approval.role in person.roles,
    }


async def _reason(request: Request, *, is_needed: bool) -> str:
    body = await request.body()
    if len(body) > _MOST_BYTES:
        raise RequestMalformed(problem=f"its body is larger than {_MOST_BYTES} bytes")
    try:
        said = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        raise RequestMalformed(problem="its body is not JSON") from None
    if not isinstance(said, dict) or said.keys() - {"reason"}:
        raise RequestMalformed(problem='its body may hold a `reason` and nothing else: `{"reason": "…"}`')
    reason = said.get("reason", "")
    if not isinstance(reason, str) or len(reason) > _LONGEST_REASON:
        raise RequestMalformed(problem=f"its `reason` is not text of at most {_LONGEST_REASON} characters")
    if is_needed and not reason.strip():
        raise RequestMalformed(problem="a rejection needs a `reason`, which the agent is told")
    return reason


def _refused(error: AnswerableError) -> Response:
    if isinstance(error, PersonKeyRefused):
        status = 403 if error.is_agent else 401
    elif isinstance(error, RequestMalformed):
        status = 400
    elif isinstance(error, ApprovalUnknown):
        status = 404
    elif isinstance(error, ApprovalClosed):
        status = 409
    else:
        status = 403 if isinstance(error, Refused) else 500
    return _json({"error": error.to_json()}, status)


def _json(said: Any, status: int = 200) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(said), status, headers, media_type="application/json")
