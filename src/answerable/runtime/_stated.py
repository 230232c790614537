"""How sure an agent elsewhere says it is of each call that is still open: its lowest word counts."""

import orjson

from answerable.core import RunId, StepKey, TenantId
from answerable.ledger import Draft, History, Ledger

__all__ = ["Stated"]


class Stated:
    """What was stated of one session's open steps, in percent.

    Nothing here is in memory alone: a decision has it in its request, and what is said lower of a step that was
    decided already is a receipt of its own. So a restart of the gate loosens nothing.
    """

    def __init__(self, ledger: Ledger, tenant: TenantId, agent: str, history: History) -> None:
        self._ledger = ledger
        self._tenant = tenant
        self._agent = agent
        self._history = history
        self._lowest: dict[StepKey, int] = {}
        self._unwritten: dict[StepKey, int] = {}
        if any(step not in history.finals for step in (*history.held, *history.intents)):
            self._recall(history.run)

    def of(self, step: StepKey) -> int | None:
        """The lowest that was stated of a step; None while nobody said anything."""
        return self._lowest.get(step)

    def hear(self, step: StepKey, percent: int | None) -> int | None:
        """Take in what a call says, and tell what counts."""
        lowest = self._lowest.get(step)
        if percent is None or (lowest is not None and lowest <= percent):
            return lowest
        self._lowest[step] = percent
        if step in self._history.held or step in self._history.intents:
            self._unwritten[step] = percent
        return percent

    async def write(self) -> None:
        """Have what was said of steps on the record be on the record, too."""
        while self._unwritten:
            step, percent = next(iter(self._unwritten.items()))
            await self._ledger.append(
                Draft(
                    tenant=self._tenant,
                    run=self._history.run,
                    phase="control",
                    agent=self._agent,
                    members={"control": {"do": "confidence", "of": step, "percent": percent}},
                )
            )
            if self._unwritten.get(step) == percent:
                del self._unwritten[step]

    def forget(self, step: StepKey) -> None:
        """The step has its outcome."""
        self._lowest.pop(step, None)

    def _recall(self, run: RunId) -> None:
        for receipt in self._ledger.reader.receipts(run=run, tenant=self._tenant):
            said = receipt.predicate
            if receipt.phase in ("held", "intent"):
                step, percent = StepKey(said["step"]), self._decided_on(said["authority"].get("request", ""))
            elif receipt.phase == "control" and said["control"]["do"] == "confidence":
                step, percent = StepKey(said["control"]["of"]), said["control"]["percent"]
            else:
                continue
            if percent is not None and step not in self._history.finals:
                self._lowest[step] = min(percent, self._lowest.get(step, percent))

    def _decided_on(self, request: str) -> int | None:
        stored = self._ledger.reader.stored(request) if request else None
        found = orjson.loads(stored[0]).get("context", {}).get("confidence") if stored else None
        return int(found) if found is not None else None
