"""Stored runs against an application's code: what would become of them if it were deployed now."""

from collections.abc import Sequence

from answerable.app._app import Answerable
from answerable.core import ActionKind, AnswerableError, Description, Effect, RunId, TenantId
from answerable.ledger import Reader
from answerable.runtime import DEFAULT_TENANT, Agents, Rehearsed, RunUnknown, find_run, list_runs, rehearse

__all__ = ["check_runs"]


async def check_runs(
    app: Answerable,
    reader: Reader,
    runs: Sequence[RunId] = (),
    *,
    tenant: TenantId = DEFAULT_TENANT,
    ended: bool = False,
    most: int = 1000,
) -> list[Rehearsed]:
    """Replay runs by the application's code, and do nothing: no tool, no model, no write.

    Args:
        runs: which; all that are open, if none are named. Sessions and roll-backs have no code to replay.
        tenant: whose, if none are named.
        ended: those that are over, too.
        most: the newest so many.

    Raises:
        RunUnknown: one that is named is not on the record.
    """
    for run in runs:
        if find_run(reader, run) is None:
            raise RunUnknown(run=run, problem="there is no such run")
    found = list(runs) or [
        row.run for row in list_runs(reader, tenant=tenant, most=most) if ended or row.state == "open"
    ]
    agents = Agents(app.tenants)
    for spec, _ in app.agents.values():
        agents.add(spec)

    def describe(kind: ActionKind, name: str, arguments: bytes) -> Description:
        if kind == "tool":
            try:
                return app.tools.describe(kind, name, arguments)
            except AnswerableError:
                return Description(effect=Effect.WRITE)  # of a server that is not asked now: taken for the worst
        is_read = kind == "model" or name == "shared.get"
        return Description(effect=Effect.READ if is_read else Effect.WRITE)

    return [await rehearse(reader, agents, run, describe=describe) for run in found if _has_code(reader, run)]


def _has_code(reader: Reader, run: RunId) -> bool:
    control = reader.opened(run)["control"]
    return "session" not in control and control.get("origin", {}).get("how") != "rollback"
