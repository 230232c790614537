"""The servers of an application's tools, where no gate is open: to see what they list."""

import contextlib
from collections.abc import AsyncIterator

from answerable.app._app import Answerable
from answerable.app._environment import reach_servers
from answerable.app._ledger import all_projections, start_ledger

__all__ = ["reaching_tools"]


@contextlib.asynccontextmanager
async def reaching_tools(app: Answerable) -> AsyncIterator[None]:
    """For this block, the application's servers are connected, with the credentials that a gate would have there.

    Raises:
        CredentialMissing, EnvironmentCrossed, ToolServerUnavailable: as where a gate starts.
    """
    try:
        await reach_servers(
            app.tools,
            app.credentials,
            app.data,
            policy=app.policy,
            environment=app.environment,
            agents=list(app.agents.values()),
            begin=lambda: start_ledger(app.data, all_projections(app.budgets), isolation="same-user", store=app.store),
        )
        yield
    finally:
        await app.tools.close()
