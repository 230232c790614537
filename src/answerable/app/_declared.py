"""What an application declares, held against itself before anything starts."""

from collections.abc import Sequence

from answerable.identity import AgentDeclaration
from answerable.policy import LabelRules, LabelsInvalid
from answerable.runtime import (
    DEFAULT_TENANT,
    AgentSpec,
    Queue,
    QueueInvalid,
    Schedule,
    ScheduleInvalid,
    Tenant,
    TenantInvalid,
)
from answerable.tools import Toolbox

__all__ = ["check_labels", "check_queues", "check_schedules", "check_tenants"]


def check_schedules(schedules: Sequence[Schedule], agents: Sequence[tuple[AgentSpec, AgentDeclaration]]) -> None:
    names = {spec.name for spec, _ in agents}
    for schedule in schedules:
        if schedule.agent not in names:
            problem = f"it starts `{schedule.agent}`, and there is no such agent"
            raise ScheduleInvalid(name=schedule.name, problem=problem)
    if len({(schedule.tenant, schedule.name) for schedule in schedules}) < len(schedules):
        raise ScheduleInvalid(name=schedules[-1].name, problem="two schedules have the same name")


def check_labels(rules: LabelRules, tools: Toolbox, agents: Sequence[tuple[AgentSpec, AgentDeclaration]]) -> None:
    """Nothing, if all that is declared exists: a sink under a mistyped name would guard nothing."""
    problem = rules.misfit(
        {name: tools.tool(name).schema for name in (*tools.names(), *tools.relayed())},
        agents=[spec.name for spec, _ in agents],
    )
    if problem:
        raise LabelsInvalid(where="the application", problem=problem)


def check_queues(queues: Sequence[Queue], agents: Sequence[tuple[AgentSpec, AgentDeclaration]]) -> None:
    names = {spec.name for spec, _ in agents}
    for queue in queues:
        if queue.agent and queue.agent not in names:
            raise QueueInvalid(scope=queue.scope, problem=f"there is no agent `{queue.agent}`")
    if len({(queue.tenant, queue.scope) for queue in queues}) < len(queues):
        raise QueueInvalid(scope=queues[-1].scope, problem="two queues have the same scope")


def check_tenants(
    tenants: Sequence[Tenant],
    agents: Sequence[tuple[AgentSpec, AgentDeclaration]],
    named: Sequence[str],
    schedules: Sequence[Schedule] = (),
) -> None:
    known = {spec.name for spec, _ in agents}
    names = [each.name for each in tenants]
    if doubled := [name for name in names if names.count(name) > 1 or name == DEFAULT_TENANT]:
        raise TenantInvalid(tenant=doubled[0], problem="the name is taken")
    for each in tenants:
        if unknown := set(each.agents) - known:
            raise TenantInvalid(tenant=each.name, problem=f"there is no agent `{min(unknown)}`")
        for schedule in schedules:
            if schedule.tenant == each.id and not each.may_run(schedule.agent):
                problem = f"the tenant `{each.name}` may not run `{schedule.agent}`"
                raise ScheduleInvalid(name=schedule.name, problem=problem)
    if nobody := {*named, *(each.tenant for each in schedules)} - {"", DEFAULT_TENANT, *names}:
        raise TenantInvalid(tenant=min(nobody), problem="something declared names it, and it is not declared itself")
