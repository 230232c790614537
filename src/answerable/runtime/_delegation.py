"""Delegation: an agent has another do part of its work, with no more authority than it has itself.

A delegated run is a run of its own. What it may do is what policy lets its agent do *and* lets every
agent do that delegated to it, within the names that each of them allowed, within the budgets of all of
them, and to a bounded depth. `docs/concepts/runs.md`, "Delegation".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import orjson

from answerable.action import Authorizer, Finding, Step
from answerable.core import (
    Action,
    ActionKind,
    AgentId,
    AnswerableError,
    Decision,
    Description,
    Effect,
    FactScope,
    Outcome,
    RunId,
    mismatch,
    new_run_id,
    stable_json,
)
from answerable.ledger import Draft, Ledger
from answerable.runtime._agents import Agents, AgentSpec
from answerable.runtime._errors import AgentUnknown, DelegationRefused, DelegationTooDeep, InputInvalid, NotDelegated
from answerable.runtime._limits import narrowest
from answerable.runtime._links import find_delegate
from answerable.runtime._typed import from_json, input_type, to_json

__all__ = ["DelegationEffects", "authority_of", "delegated_control", "refusal_of"]

_INHERITED = ("resources", "subjects", "chain", "scope", "family", "priority", "policy", "mandate")


def authority_of(
    inner: Authorizer, control: Mapping[str, Any], *, held_to: Callable[[str], Authorizer] | None
) -> Authorizer:
    """Who decides for a run: the policy in force, for everyone it acts for; and the run's own, if it is held to one."""
    if "policy" in control:
        if held_to is None:  # SECURITY: without it, the run would do what it was forked not to do
            raise RuntimeError("a run that is held to policies of its own needs somebody who reads them")
        inner = _BothAuthorizer(inner, held_to(control["policy"]))
    return _ChainAuthorizer(inner, control["chain"]) if control.get("chain") else inner


def refusal_of(control: Mapping[str, Any], kind: ActionKind, name: str) -> AnswerableError | None:
    """Why a run may not act so, by what was delegated to it."""
    named = name if kind == "tool" else f"{kind}:{name}"
    for allowed in control.get("scope", ()):
        if not any(fnmatchcase(named, pattern) for pattern in allowed):
            return NotDelegated(name=named, allowed=", ".join(allowed) or "nothing")
    if kind == "delegation" and control.get("limits", {}).get("depth", 1) <= 0:
        return DelegationTooDeep(agent=name)
    return None


class _BothAuthorizer:
    """The policy in force, and policies of the run's own: the narrower decides, and is the one on the receipt."""

    def __init__(self, inner: Authorizer, own: Authorizer) -> None:
        self._inner = inner
        self._own = own

    async def authorize(self, action: Action) -> Decision:
        """The narrower of the two decisions: denied if one is, held if one is."""
        decision = await self._inner.authorize(action)
        if decision.verdict == "deny":
            return decision
        return _narrower(decision, await self._own.authorize(action), action)


class _ChainAuthorizer:
    """Policy, asked for the acting agent and for everyone whose authority it acts under."""

    def __init__(self, inner: Authorizer, chain: Sequence[str]) -> None:
        self._inner = inner
        self._chain = tuple(chain)

    async def authorize(self, action: Action) -> Decision:
        """The narrowest of the decisions: denied if any is, held if any is."""
        decision = await self._inner.authorize(action)
        for agent in self._chain:
            if decision.verdict == "deny":
                break
            other = await self._inner.authorize(replace(action, agent=AgentId(agent)))
            decision = _narrower(decision, other, action)
        return decision


def _narrower(own: Decision, other: Decision, action: Action) -> Decision:
    if other.verdict == "deny":
        return other
    if own.verdict == other.verdict == "hold" and own.obligations != other.obligations:
        name = action.name
        problem = (
            f"`{name}` needs two different approvals: by the policy in force, and by its delegator's or the fork's own"
        )
        return replace(own, verdict="deny", error=DelegationRefused(agent=name, problem=problem))
    kept = own if own.verdict == "hold" else other if other.verdict == "hold" else own
    versions: dict[str, int] = {}
    for fact in (*own.facts, *other.facts):
        versions[fact.name] = min(fact.version, versions.get(fact.name, fact.version))
    return replace(kept, facts=tuple(FactScope(scope, version) for scope, version in versions.items()))


class DelegationEffects:
    """The effect of kind `delegation`: a child run is opened, once per step; or, to hand over, nothing yet."""

    def __init__(self, ledger: Ledger, agents: Agents) -> None:
        self._ledger = ledger
        self._agents = agents

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """A write that honours its key: the child's `run.open` is unique by the step.

        Raises:
            DelegationRefused: no such agent here.
            InputInvalid: it takes another input.
        """
        if name not in self._agents:
            raise DelegationRefused(agent=name, problem="no agent of this name is registered here")
        try:
            from_json(input_type(self._agents.get(name).fn), stable_json(orjson.loads(arguments).get("input")))
        except ValueError as error:
            raise InputInvalid(agent=name, problem=mismatch(error)) from None
        return Description(effect=Effect.WRITE, target=f"agent:{name}", honours_key=True)

    async def execute(self, step: Step) -> Outcome:
        """Open the child; its id comes back."""
        action = step.action
        try:
            spec = self._agents.get(action.name, action.tenant)
        except AgentUnknown:
            problem = "this tenant has no such agent"
            return Outcome.of_error("refused", DelegationRefused(agent=action.name, problem=problem))
        said = orjson.loads(action.arguments)
        if spec.environment != action.environment:
            problem = f"it belongs to `{spec.environment}`, and this run to `{action.environment}`"
            return Outcome.of_error("refused", DelegationRefused(agent=action.name, problem=problem))
        if said.get("handOver"):
            return Outcome(status="ok", value=stable_json({"handOver": action.name}))
        reader = self._ledger.reader
        opened = reader.opened(action.run)
        new = new_run_id()
        control = delegated_control(opened, spec, given=said.get("limits", {}), labels=action.labels)
        control.update({"subjects": list(action.subjects)} if action.subjects else {})
        control["chain"] = list(dict.fromkeys((*control.get("chain", ()), opened["agent"]["id"])))
        control["scope"] = [*control.get("scope", ()), *([said["allow"]] if "allow" in said else [])]
        control["ancestors"] = [*opened["control"].get("ancestors", ()), action.run]
        control["origin"] = {"how": "delegate", "run": action.run, "step": action.step}
        control["answers"] = {"run": action.run, "name": f"child:{new}"}
        appended = await self._ledger.open_run(
            Draft(
                tenant=action.tenant,
                run=new,
                phase="run.open",
                agent=spec.agent_id,
                build=spec.build,
                once=f"d:{action.run}:{step.action.step}",
                on_behalf_of=opened.get("onBehalfOf", ""),
                members={"control": control},
                input=to_json(said.get("input")),
                output=stable_json({"onBehalfOf": action.on_behalf_of}) if action.on_behalf_of else None,
                subjects=action.subjects,
            )
        )
        child = new if appended.status == "ok" else find_delegate(reader, action.run, action.step)
        return Outcome(status="ok", value=stable_json({"run": child}))

    async def probe(self, step: Step) -> Finding:
        """Whether the child was opened."""
        child = find_delegate(self._ledger.reader, step.action.run, step.action.step)
        return Outcome(status="ok", value=stable_json({"run": child})) if child else "did not happen"


def delegated_control(
    opened: Mapping[str, Any], spec: AgentSpec, *, given: Mapping[str, int], labels: Sequence[str]
) -> dict[str, Any]:
    """What the `run.open` of a child, or of who takes over, has of the run it comes from: never more than that."""
    above: dict[str, Any] = opened["control"]
    control: dict[str, Any] = {name: above[name] for name in _INHERITED if name in above}
    limits = narrowest(above.get("limits", {}), spec.limits.to_json(), given)
    if "depth" in limits:
        limits["depth"] = min(limits["depth"], above.get("limits", {}).get("depth", limits["depth"]) - 1)
    control.update(agent=spec.name, environment=spec.environment, limits=limits, labels=sorted(labels))
    control.setdefault("family", RunId(opened["run"]))
    control.update(spec.declared)
    return control
