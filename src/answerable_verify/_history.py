"""A run's chain, the gate's clock and the gate's counters.

Format: `docs/formats/journal.md`, "Chain and time" and "Order".
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from answerable_verify._receipt import Receipt, name_of

__all__ = ["Say", "check_chain", "check_counters"]

Say = Callable[[str, str, Receipt | None], None]
"""Takes a fault: the check, what is wrong, and the receipt at fault where one can be named."""

_MAY_FOLLOW_CLOSE = frozenset({"observation", "erasure"})


def check_chain(
    run: Sequence[Receipt], *, damaged: set[str], say: Say, may_begin_late: bool = False, is_closed: bool = False
) -> None:
    """Check seq, prev, time and the closing count of one run.

    Args:
        run: its receipts in the order of their seq.
        damaged: ids of receipts already found wrong: a link to one of them is not counted again, so
            that the receipts around it are not blamed.
        say: is told each fault.
        may_begin_late: its beginning may lie before what there is of the log.
        is_closed: its run.close stands before these.
    """
    name = run[0].run
    if run[0].seq != 0 and may_begin_late:
        pass
    elif run[0].seq != 0:
        say("chain", f"`{name}` has no receipt at seq {_span(0, run[0].seq)}", None)
    elif not name.startswith("control:") and run[0].phase != "run.open":
        say("chain", "the first receipt of a run is not its run.open", run[0])
    for before, after in pairwise(run):
        is_closed = is_closed or before.phase == "run.close"
        if after.seq == before.seq:
            say("chain", f"seq {after.seq} of `{name}` is taken twice: `{before.id}` has it too", after)
            continue
        if after.seq != before.seq + 1:
            say("chain", f"`{name}` has no receipt at seq {_span(before.seq + 1, after.seq)}", None)
        elif after.prev != before.digest and not {before.id, after.id} & damaged:
            say("chain", f"`prev` does not name the receipt before it, `{before.id}`", after)
        if after.at < before.at and not {before.id, after.id} & damaged:
            say("time", f"written before `{before.id}`, which it follows", after)
        if is_closed and after.phase not in _MAY_FOLLOW_CLOSE:
            say("chain", f"a receipt of phase `{after.phase}` follows the run.close", after)
    for receipt in run:
        if receipt.phase == "run.close":
            control = receipt.section("control")
            last = name_of(receipt.prev) if receipt.prev else None
            if control.get("count") != receipt.seq or control.get("last") != last:
                say("chain", "run.close does not state its own seq as count and its prev as last", receipt)


def check_counters(rows: Iterable[tuple[int, int, int, int]], *, at: Callable[[int], Receipt], say: Say) -> None:
    """Check `boundary.n` per gate and boot against the places in the log.

    Other runs of the tenant share the counter, so a bundle of one run has gaps. A gap in `n` wider
    than the gap in the log means that a number was given out and never logged.

    Args:
        rows: of one tenant, in the order of the log: place, gate and boot (a number), `n`, which receipt.
        at: gives the receipt that is meant.
        say: is told each fault.
    """
    boots: dict[int, tuple[int, int, int]] = {}
    faults: list[tuple[int, str, int, int]] = []
    for place, boot, n, which in rows:
        known, boots[boot] = boots.get(boot), (place, n, which)
        if known is None:
            if n > place:
                faults.append((boot, "boundary.n is larger than the number of entries logged before it", which, which))
            continue
        step, room, before = n - known[1], place - known[0], known[2]
        if step == 0:
            faults.append((boot, "boundary.n is the same as that of `{}`", which, before))
        elif step < 0:
            what = "boundary.n falls below that of `{}`, which stands before it in the log"
            faults.append((boot, what, which, before))
        elif step > room:
            what = "boundary.n skips a number that has no entry in the log since `{}`"
            faults.append((boot, what, which, before))
    for _, what, which, before in sorted(faults, key=lambda fault: fault[0]):
        say("counters", what.format(at(before).id), at(which))


def _span(first: int, end: int) -> str:
    return str(first) if end == first + 1 else f"{first} to {end - 1}"
