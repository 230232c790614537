"""The record with every projection on it, and whether it may be gone on with."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from answerable.core import Clock
from answerable.identity import (
    AccessKeysProjection,
    PeopleProjection,
    SigningKeysProjection,
)
from answerable.ledger import ErasuresProjection, Ledger, Projection, stand_still
from answerable.policy import (
    ApprovalsProjection,
    AutonomyProjection,
    Budget,
    BudgetProjection,
    FactsProjection,
    KeptLabelsProjection,
    StopsProjection,
)
from answerable.runtime import (
    Erasing,
    LinksProjection,
    OrdersProjection,
    QueuesProjection,
    RetentionProjection,
    RunsProjection,
    SchedulesProjection,
    SessionsProjection,
    SharedValuesProjection,
    TimersProjection,
)
from answerable.tools import PinsProjection
from answerable.witness import read_log_config, seen_elsewhere

__all__ = ["all_projections", "start_ledger"]


def all_projections(budgets: Sequence[Budget] = ()) -> tuple[Projection, ...]:
    """Every table that follows from receipts. A stop is looked for first, a budget reserved last."""
    return (
        StopsProjection(),
        AutonomyProjection(),
        OrdersProjection(),
        FactsProjection(),
        KeptLabelsProjection(),
        ApprovalsProjection(),
        BudgetProjection(budgets),
        RunsProjection(),
        LinksProjection(),
        SchedulesProjection(),
        QueuesProjection(),
        SharedValuesProjection(),
        SessionsProjection(),
        TimersProjection(),
        AccessKeysProjection(),
        PeopleProjection(),
        SigningKeysProjection(),
        PinsProjection(),
        ErasuresProjection(),
        RetentionProjection(),
    )


async def start_ledger(
    directory: Path,
    projections: Sequence[Projection],
    *,
    clock: Clock | None = None,
    isolation: str = "same-process",
    store: str = "",
    lease: timedelta = timedelta(seconds=10),
) -> Ledger:
    """Own a record that may be gone on with, and begin to write; what is listed as erased is gone then.

    Raises:
        DirectoryInUse: another process owns it.
        StoreRestored, LogBehind: it may be an old copy; whoever watches its logs is asked.
    """
    ledger = Ledger.open(directory, projections=projections, clock=clock, isolation=isolation, store=store, lease=lease)
    try:
        elsewhere = await seen_elsewhere(directory, read_log_config(directory))
        if elsewhere is not None:
            stand_still(directory, elsewhere)
            raise elsewhere.error(directory)
        await ledger.start()
        await Erasing(ledger).catch_up()
    except BaseException:
        await ledger.close()
        raise
    return ledger
