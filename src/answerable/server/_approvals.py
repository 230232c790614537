"""`/approvals`: what waits for people, and their answers, as JSON. The page, a console or a chat bot is a view of it.

SECURITY: only a person's own key opens it (`answerable person key new`); the roles are those the person is
registered for (or those on the key, where nobody is registered), never what the request says. An
agent's key decides nothing and sees nothing. Who has a signing key answers with it or not at all.
"""

import base64
import hashlib
from dataclasses import replace
from typing import Any, Literal

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from answerable.app import Gate
from answerable.core import AnswerableError, ConfigError, Refused, stable_json
from answerable.identity import AccessKey
from answerable.policy import (
    Approval,
    ApprovalClosed,
    ApprovalDetail,
    Approvals,
    ApprovalUnknown,
    ApproverAnswered,
    passages_of,
)
from answerable.server._errors import PersonKeyRefused, RequestMalformed
from answerable.server._people import as_json, body_of, holder_of, status_of_key

__all__ = ["approval_routes", "person_of", "refused"]

_MOST_BYTES = 64 << 10
_LONGEST_REASON = 2_000
_WORDS = frozenset({"reason", "scope", "arguments"})
_STATES = ("waiting", "approved", "rejected", "edited", "timed-out", "closed", "all")


def approval_routes(gate: Gate) -> list[BaseRoute]:
    """The routes of a running gate's approvals."""
    desk = _Approvals(gate)
    return [
        Route("/approvals", desk.list, methods=["GET"]),
        Route("/approvals/{approval}", desk.show, methods=["GET"]),
        Route("/approvals/{approval}/statement", desk.statement, methods=["POST"]),
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
            found = self._approvals(person).list(state=None if state == "all" else state, tenant=person.tenant)
        except AnswerableError as error:
            return refused(error)
        return as_json({"approvals": [self._told(each, person) for each in found]})

    async def show(self, request: Request) -> Response:
        """One approval, with exactly what it would let through."""
        try:
            person = self._person(request)
            found = self._approvals(person).show(request.path_params["approval"], tenant=person.tenant)
        except AnswerableError as error:
            return refused(error)
        said = {**self._told(found.approval, person), "action": found.action, "rules": found.rules}
        said["given"] = [self._answer_given(*each) for each in found.given]
        # Whoever may decide must see all of it; whoever could never, has no need to.
        if found.approval.state == "waiting" and found.approval.role in person.roles:
            said["arguments"] = None if found.arguments is None else orjson.loads(found.arguments)
            said["provenance"] = found.provenance
            passages = passages_of(self._gate.reader, found.receipt, found.arguments or b"{}")
            said["passages"] = [each.to_json() for each in passages]
            said["atMost"] = _at_most(self._approvals(person), found)
            said["labels"] = found.receipt.predicate.get("labels", [])
        return as_json(said)

    async def approve(self, request: Request) -> Response:
        """Let the action through."""
        return await self._decide(request, "approve")

    async def reject(self, request: Request) -> Response:
        """Refuse the action; the agent is told why."""
        return await self._decide(request, "reject")

    async def statement(self, request: Request) -> Response:
        """What a person signs to give an answer, and the passkey challenge that stands for it."""
        try:
            person = self._person(request)
            asked = await _answer(request, more=frozenset({"decision", "key"}))
            decision = _decision(asked.pop("decision", "approve"))
            key = str(asked.pop("key", ""))
            approvals, approval = self._approvals(person), request.path_params["approval"]
            said = approvals.statement(approval, decision, key=key, tenant=person.tenant, **asked)
        except AnswerableError as error:
            return refused(error)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(said).digest()).rstrip(b"=").decode()
        return as_json({"statement": said.decode(), "challenge": challenge})

    async def _decide(self, request: Request, decision: Literal["approve", "reject"]) -> Response:
        try:
            person = self._person(request)
            answer = await _answer(request, more=frozenset({"signature", "also"}))
            if decision == "reject" and not answer["reason"].strip():
                raise RequestMalformed(problem="a rejection needs a `reason`, which the agent is told")
            decided = await self._approvals(person).decide(
                request.path_params["approval"],
                decision,
                by=person.holder,
                roles=person.roles,
                tenant=person.tenant,
                **answer,
            )
        except AnswerableError as error:
            return refused(error)
        return as_json({**self._told(decided, person), "receipt": decided.decided})

    def _told(self, approval: Approval, person: AccessKey) -> dict[str, Any]:
        found = self._approvals(person)
        obstacle = found.obstacle(approval.approval, by=person.holder, roles=person.roles, tenant=person.tenant)
        said = {**_said(approval), "mayDecide": obstacle is None, "askedBy": self._asker(approval)}
        if obstacle is not None:
            said["whyNot"] = obstacle.to_json()
        if approval.state == "waiting":
            said["leftSeconds"] = max(0, int((approval.due - found.clock.now()).total_seconds()))
        return said

    def _asker(self, approval: Approval) -> str:
        """Who asked for the run, by name where its texts are still there."""
        opened = self._gate.reader.find(self._gate.reader.opened(approval.run)["id"])
        return _named(self._gate.reader.text(opened).output if opened else None, "onBehalfOf") or approval.initiator

    def _answer_given(self, by: str, decision: str, receipt: str) -> dict[str, str]:
        found = self._gate.reader.find(receipt)
        name = _named(self._gate.reader.text(found).input if found else None, "by")
        return {"by": by, "name": name, "decision": decision, "receipt": receipt}

    def _approvals(self, person: AccessKey) -> Approvals:
        return self._gate.desk.of(person.tenant).approvals

    def _person(self, request: Request) -> AccessKey:
        return person_of(self._gate, request)


def person_of(gate: Gate, request: Request) -> AccessKey:
    """The person whose key a request carries, in the roles they may act in now.

    Raises:
        PersonKeyRefused: it is nobody's.
        PersonUnknown: others are registered here, and they are not.
    """
    found = holder_of(gate, request)
    people = gate.desk.of(found.tenant).people
    roles = people.roles_of(people.called(found.holder), found.roles, gate.approvals.clock.now())
    return replace(found, roles=tuple(sorted(roles)))


def _named(text: bytes | None, member: str) -> str:
    """Who a sealed text names; empty where it is erased or names nobody."""
    said = orjson.loads(text or b"null")
    name = said.get(member) if isinstance(said, dict) else ""
    return name if isinstance(name, str) else ""


def _at_most(approvals: Approvals, found: ApprovalDetail) -> str | None:
    """What would be reserved for it, in words; None for what uses nothing that is counted."""
    action = found.approval
    if approvals.describe is None or found.arguments is None:
        return None
    try:
        most = approvals.describe(found.action["kind"], action.name, found.arguments).ceiling
    except Refused:
        return None
    tokens = most.input_tokens + most.output_tokens
    cost = f", {most.cost_nano_usd / 1e9:.4f} USD" if most.cost_nano_usd else ""
    return f"{tokens} tokens{cost}" if tokens else None


def _said(approval: Approval) -> dict[str, Any]:
    later = approval.terms.escalates_to[approval.stage :]
    amount = approval.amount
    return {
        "approval": approval.approval,
        "state": approval.state,
        "kind": approval.kind,
        "name": approval.name,
        "target": approval.target,
        "amount": {**amount.to_json(), "text": str(amount)} if amount else None,
        "agent": approval.agent,
        "run": approval.run,
        "role": approval.role,
        "terms": str(approval.terms),
        "needs": approval.terms.n,
        "votes": approval.votes,
        "notInitiator": approval.not_initiator,
        "mayEdit": approval.terms.may_edit,
        "mayRepeat": approval.terms.may_repeat,
        "signed": approval.terms.is_signed,
        "asked": approval.asked.isoformat(),
        "due": approval.due.isoformat(),
        "digest": approval.digest,
        "thenAsks": later[0] if later else None,
        "reason": approval.reason,
    }


async def _answer(request: Request, *, more: frozenset[str]) -> dict[str, Any]:
    """What the body says of the answer, checked: `reason`, `scope`, `arguments`, and what else is `more`."""
    said = await body_of(request, most_bytes=_MOST_BYTES)
    known = _WORDS | more
    if not isinstance(said, dict) or said.keys() - known:
        raise RequestMalformed(problem=f"its body may hold {', '.join(f'`{word}`' for word in sorted(known))}")
    reason = said.get("reason", "")
    if not isinstance(reason, str) or len(reason) > _LONGEST_REASON:
        raise RequestMalformed(problem=f"its `reason` is not text of at most {_LONGEST_REASON} characters")
    if said.get("scope", "action") not in ("action", "run"):
        raise RequestMalformed(problem="its `scope` is neither `action` nor `run`")
    signature = said.get("signature")
    if signature is not None and not _is_flat(signature):
        raise RequestMalformed(problem="its `signature` is not an object of texts")
    also = said.get("also", [])
    if not isinstance(also, list) or not all(isinstance(each, str) for each in also):
        raise RequestMalformed(problem="its `also` is not a list of texts")
    arguments = said.get("arguments")
    answer: dict[str, Any] = {
        "reason": reason,
        "scope": said.get("scope", "action"),
        "arguments": None if arguments is None else stable_json(arguments),
    }
    return answer | {word: said[word] for word in more if word in said}


def _decision(said: Any) -> Literal["approve", "reject"]:
    # SECURITY: what is neither is refused: read as a yes, a slip would be signed as one.
    if said == "approve":
        return "approve"
    if said == "reject":
        return "reject"
    raise RequestMalformed(problem="its `decision` is neither `approve` nor `reject`")


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def refused(error: AnswerableError) -> Response:
    if isinstance(error, PersonKeyRefused):
        status = status_of_key(error)
    elif isinstance(error, RequestMalformed | ConfigError):
        status = 400
    elif isinstance(error, ApprovalUnknown):
        status = 404
    elif isinstance(error, ApprovalClosed | ApproverAnswered):
        status = 409
    else:
        status = 403 if isinstance(error, Refused) else 500
    return as_json({"error": error.to_json()}, status)
