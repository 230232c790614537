"""A gate, its agents, policies, log and credentials belong to one environment; crossing is refused on the record."""

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from answerable.core import AnswerableError, TenantId
from answerable.identity import AgentDeclaration, Credentials, EnvironmentCrossed, SealedVault
from answerable.ledger import Draft, Ledger, Reader, control_run
from answerable.policy import environment_of_policies
from answerable.runtime import AgentSpec
from answerable.tools import Toolbox

__all__ = ["bind_log", "bound_environment", "reach_servers", "record_refusal"]

_log = logging.getLogger(__name__)
_TENANT = TenantId("default")

Begin = Callable[[], Awaitable[Ledger]]
"""Owns the record and begins to write."""


def check_agents(environment: str, agents: Sequence[AgentDeclaration]) -> None:
    """EnvironmentCrossed where an agent belongs elsewhere; a gate of no environment takes all."""
    for agent in agents:
        if environment and agent.environment != environment:
            raise EnvironmentCrossed(thing=f"agent `{agent.id}`", bound=agent.environment, environment=environment)


def check_policy_folder(environment: str, policy: Path) -> None:
    """EnvironmentCrossed where the policies say that they belong elsewhere."""
    bound = environment_of_policies(policy)
    if bound not in ("", environment):
        raise EnvironmentCrossed(thing=f"the policy in `{policy.name}`", bound=bound, environment=environment or "none")


def bound_environment(reader: Reader) -> str:
    """Where the log belongs; empty while nothing said so."""
    for receipt in reader.receipts(run=control_run(_TENANT)):
        control = receipt.predicate.get("control", {})
        if control.get("do") == "environment" and "refused" not in control:
            return str(control["environment"])
    return ""


async def bind_log(ledger: Ledger, environment: str) -> None:
    """Have the log belong to an environment from now on; refuse, on the record, one that belongs to another.

    Raises:
        EnvironmentCrossed: it does. Nothing but that refusal was written.
    """
    bound = bound_environment(ledger.reader)
    if bound == environment:
        return
    if bound:
        crossed = EnvironmentCrossed(thing="the log", bound=bound, environment=environment or "none")
        await record_refusal(ledger, crossed)
        raise crossed
    await _append(ledger, {"do": "environment", "environment": environment})


async def bind_vault(vault: SealedVault, environment: str, begin: Begin) -> None:
    """Have the secrets that belong nowhere yet belong where the gate does, before one of them is used.

    Raises:
        EnvironmentCrossed: the log beside them belongs to another environment.
    """
    if not environment or all(kept.environment for kept in vault.all().values()):
        return
    ledger = await begin()
    try:
        await bind_log(ledger, environment)
        for name in vault.bind(environment):
            said = {"do": "credential", "credential": name, "state": "bound", "environment": environment}
            await _append(ledger, said)
    finally:
        await ledger.close()


async def reach_servers(
    tools: Toolbox,
    credentials: Credentials,
    data: Path,
    *,
    policy: Path,
    environment: str,
    agents: Sequence[tuple[AgentSpec, AgentDeclaration]],
    begin: Begin,
) -> None:
    """Connect to the tools' servers, once all that the gate is given belongs where it does, credentials too.

    Raises:
        EnvironmentCrossed: policies, an agent or a credential belong elsewhere; that is on the record.
    """
    vault = SealedVault(data)
    async with refusing_on_the_record(begin):
        check_policy_folder(environment, policy)
        check_agents(environment, [declaration for _, declaration in agents])
        await bind_vault(vault, environment, begin)
        groups = {str(spec.agent_id): spec.groups for spec, _ in agents}
        credentials.open(vault, os.environ, environment=environment, groups=groups)
        await tools.start(checks_declared=False)


async def record_refusal(ledger: Ledger, crossed: EnvironmentCrossed) -> None:
    """A receipt that says what was not let into another environment."""
    named = {"environment": crossed.environment, "thing": crossed.thing, "bound": crossed.bound}
    await _append(ledger, {"do": "environment", **named, "refused": True})


@contextlib.asynccontextmanager
async def refusing_on_the_record(begin: Begin) -> AsyncIterator[None]:
    """For this block, in which the record is not open yet: what crosses environments is refused with a receipt."""
    try:
        yield
    except EnvironmentCrossed as crossed:
        if crossed.thing != "the log":  # that has its receipt
            try:
                ledger = await begin()
                try:
                    await record_refusal(ledger, crossed)
                finally:
                    await ledger.close()
            except AnswerableError as error:  # a running gate owns the record, say: it is refused all the same
                _log.warning("a refusal is not on the record (%s): %s", error, crossed)
        raise


async def _append(ledger: Ledger, control: Mapping[str, Any]) -> None:
    run = control_run(_TENANT)
    await ledger.append(Draft(tenant=_TENANT, run=run, phase="control", agent="", members={"control": dict(control)}))
