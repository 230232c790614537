"""Ids on the command line, and what the shell offers behind TAB: what is on the record, or nothing."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._desk import approvals_of
from answerable.cli._options import DATA
from answerable.cli._say import ago
from answerable.core import AnswerableError, TenantId, parse_time
from answerable.ledger import Reader
from answerable.runtime import list_runs

__all__ = ["ApprovalArgument", "RunArgument", "kept_runs"]

Offers = Iterable[tuple[str, str]]


def kept_runs(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The newest runs whose ids begin so, each with its agent, state and age."""

    def offers(reader: Reader, tenant: TenantId) -> Offers:
        now = datetime.now(UTC)
        for run in list_runs(reader, tenant=tenant, most=50):
            yield run.run, f"{run.agent}, {run.state}, {ago(parse_time(run.started), now)}"

    return _beginning_with(incomplete, offers, context)


def _waiting_approvals(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    def offers(reader: Reader, tenant: TenantId) -> Offers:
        for asked in approvals_of(reader).list(state="waiting", tenant=tenant):
            yield asked.approval, f"{asked.agent} asks {asked.role}"

    return _beginning_with(incomplete, offers, context)


def _beginning_with(
    incomplete: str, offers: Callable[[Reader, TenantId], Offers], context: typer.Context
) -> list[tuple[str, str]]:
    data = Path(context.params.get("data") or DATA())
    tenant = TenantId(context.find_root().params.get("tenant") or "default")
    try:
        return [each for each in offers(Reader.open(data), tenant) if each[0].startswith(incomplete)]
    except AnswerableError:
        return []


RunArgument = Annotated[str, typer.Argument(metavar="RUN", autocompletion=kept_runs, show_default=False)]
ApprovalArgument = Annotated[
    str, typer.Argument(metavar="APPROVAL", autocompletion=_waiting_approvals, show_default=False)
]
