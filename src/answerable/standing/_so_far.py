"""How clauses stand in a run that goes on: what its record says of them up to now, for policy to read."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from answerable.core import RunId
from answerable.ledger import Receipt
from answerable.standing._conformance import check_run, recorded_specs
from answerable.standing._ports import Record
from answerable.standing._run_record import run_records
from answerable.standing._specs import Specs

__all__ = ["ClausesSoFar"]

_MOST_RUNS = 128
_UNJUDGED = "undetermined"


class _Growing(Record, Protocol):
    """A record that is read on."""

    def after(self, run: RunId, seq: int) -> list[Receipt]:
        """The receipts of a run beyond a `seq`, in order; -1 for all."""


class ClausesSoFar:
    """The standing of clauses in single runs, each by the specifications that it was opened under.

    What `answerable spec check RUN` would say at the moment. A clause that none of these specifications has is
    undetermined, and so is one that counts beyond the run: that is what facts about history are for.

    Args:
        record: where runs are read.
        settled: returns once every outcome that an agent was given is on the record: it may have one before.
    """

    def __init__(self, record: _Growing, settled: Callable[[], Awaitable[None]] | None = None) -> None:
        self._record = record
        self._settled = settled
        self._runs: OrderedDict[RunId, list[Receipt]] = OrderedDict()
        self._specs: dict[tuple[tuple[str, str], ...], Specs] = {}

    async def now(self, run: RunId, names: frozenset[str]) -> tuple[Mapping[str, str], int]:
        """The standing of these clauses by all that is on the record of the run, and the `seq` up to which."""
        if self._settled is not None:
            await self._settled()
        receipts = self._runs.setdefault(run, [])
        self._runs.move_to_end(run)
        while len(self._runs) > _MOST_RUNS:
            self._runs.popitem(last=False)
        last = receipts[-1].predicate["seq"] if receipts else -1
        receipts += self._record.after(run, last)
        return self.by(receipts, names), receipts[-1].predicate["seq"] if receipts else -1

    def by(self, receipts: Sequence[Receipt], names: frozenset[str]) -> Mapping[str, str]:
        """The standing of these clauses by these receipts of one run."""
        standing = dict.fromkeys(sorted(names), _UNJUDGED)
        opened = run_records(receipts[:1])
        if opened and opened[0].specs:
            specs = self._named(self._under(opened[0].specs, receipts[0]), names)
            standing |= {each.clause: each.verdict for each in check_run(specs, receipts)}
        return standing

    def _under(self, digests: Mapping[str, str], opened: Receipt) -> Specs:
        name = tuple(sorted(digests.items()))
        found = self._specs.get(name)
        if found is None:
            (run,) = run_records([opened])
            found = self._specs[name] = recorded_specs(self._record, run) or Specs(())
        return found

    def _named(self, specs: Specs, names: frozenset[str]) -> Specs:
        """The specifications with these clauses alone."""
        return Specs(
            tuple(
                replace(spec, document=replace(spec.document, clauses=kept))
                for spec in specs
                if (kept := tuple(clause for clause in spec.clauses if clause.id in names))
            )
        )
