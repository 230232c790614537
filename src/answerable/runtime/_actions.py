"""From a call to an action: what the run, its agent and the effect's declaration add to it."""

import hmac
from dataclasses import replace
from typing import Any

from answerable.action import Effects
from answerable.core import Action, ActionKind, Description, Effect, Refused, RunId
from answerable.runtime._agents import AgentSpec
from answerable.runtime._calls import Call
from answerable.runtime._delegation import refusal_of
from answerable.runtime._gate import Gate

__all__ = ["ActionMaker", "names_of"]

_READ = Description(effect=Effect.READ)


class ActionMaker:
    """Makes the actions of one run."""

    def __init__(self, gate: Gate, spec: AgentSpec, run: RunId, control: dict[str, Any], on_behalf_of: str) -> None:
        self._gate = gate
        self._spec = spec
        self._agent = spec.agent_id
        self._run = run
        self._on_behalf_of = on_behalf_of
        self._environment: str = control.get("environment", "")
        self._ancestors = tuple(RunId(run) for run in control.get("ancestors", ()))
        self._mandate: str = control.get("mandate", "")
        self._control = control
        self._has_scope = "scope" in control
        self._resources: tuple[str, ...] = tuple(control.get("resources", ()))
        # A fork's steps are named like those it shares; what it does anew must not pass for what they did.
        self._own_key = gate.ledger.run_key(spec.tenant, run) if control.get("names", run) != run else b""

    def make(
        self,
        call: Call,
        kind: ActionKind,
        *,
        labels: tuple[str, ...],
        subjects: tuple[str, ...],
        effects: Effects | None = None,
    ) -> Action:
        """The action; where the effect refuses to describe it, the call carries the refusal down the road."""
        branch, _, name, arguments = call.signature
        described = self._describe(call, kind, name, arguments, effects or self._gate.effects)
        if call.denial is None and (self._has_scope or kind == "delegation"):
            call.denial = refusal_of(self._control, kind, name)
        if described.subjects:
            subjects = tuple(sorted({*subjects, *described.subjects}))
        return Action(
            tenant=self._spec.tenant,
            run=self._run,
            agent=self._agent,
            step=call.step,
            branch=branch,
            kind=kind,
            name=name,
            arguments=arguments,
            described=described,
            environment=self._environment,
            on_behalf_of=self._on_behalf_of,
            idempotency_key=self._idempotency_key(call),
            resources=self._resources,
            ancestors=self._ancestors,
            mandate=self._mandate,
            confidence=call.confidence,
            labels=labels,
            subjects=subjects,
            build=self._spec.build,
        )

    def edited(self, action: Action, call: Call, arguments: bytes | None) -> Action:
        """The action with other arguments, described anew: another amount or target is another thing to decide on."""
        if arguments is None or action.arguments == arguments:
            return action
        described = self._describe(call, action.kind, action.name, arguments, self._gate.effects)
        subjects = tuple(sorted({*action.subjects, *described.subjects}))
        return replace(action, arguments=arguments, described=described, subjects=subjects)

    def _idempotency_key(self, call: Call) -> str:
        if not self._own_key:
            return call.step
        return hmac.digest(self._own_key, call.step.encode(), "sha256").hex()[:32]

    def _describe(self, call: Call, kind: ActionKind, name: str, arguments: bytes, effects: Effects) -> Description:
        try:
            described = effects.describe(kind, name, arguments)
        except Refused as error:
            call.denial = error
            return _READ
        if self._gate.governing is not None and (clauses := self._gate.governing(self._agent, name)):
            return replace(described, specs=tuple(sorted({*described.specs, *clauses})))
        return described


def names_of(opened: dict[str, Any]) -> RunId:
    """The run under whose key the steps of this one are named: itself, or the first it was forked from."""
    return RunId(opened["control"].get("names", opened["run"]))
