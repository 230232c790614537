"""The runs an engine has yet to dispatch: tenants take turns, and within a tenant priority decides, then age."""

import heapq
from collections import Counter
from collections.abc import Callable
from itertools import count

from answerable.core import RunId

__all__ = ["Line"]


class Line:
    """Runs that wait for a free slot of this process.

    Next is a run of the tenant that has the fewest slots now; of several, of the one that was served the
    longest ago. So a tenant with thousands waiting leaves every other its share.

    Args:
        place: a run's tenant and priority.
    """

    def __init__(self, place: Callable[[RunId], tuple[str, int]]) -> None:
        self._place = place
        self._waiting: dict[str, list[tuple[int, int, RunId]]] = {}
        self._runs: set[RunId] = set()
        self._tenant_of: dict[RunId, str] = {}
        self._slots: Counter[str] = Counter()
        self._served: dict[str, int] = {}
        self._count = count()

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, run: RunId) -> bool:
        return run in self._runs

    def add(self, run: RunId) -> None:
        """Have it wait for its turn."""
        tenant, priority = self._place(run)
        self._runs.add(run)
        heapq.heappush(self._waiting.setdefault(tenant, []), (priority, next(self._count), run))

    def take(self) -> RunId:
        """The run whose turn it is; it holds a slot until `leave`."""
        tenant = min(self._waiting, key=lambda name: (self._slots[name], self._served.get(name, -1)))
        _, _, run = heapq.heappop(self._waiting[tenant])
        if not self._waiting[tenant]:
            del self._waiting[tenant]
        self._runs.discard(run)
        self._tenant_of[run] = tenant
        self._slots[tenant] += 1
        self._served[tenant] = next(self._count)
        return run

    def leave(self, run: RunId) -> None:
        """It gave its slot back."""
        tenant = self._tenant_of.pop(run)
        self._slots[tenant] -= 1
        if not self._slots[tenant]:
            del self._slots[tenant]
            if tenant not in self._waiting:
                self._served.pop(tenant, None)
