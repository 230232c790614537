"""What erasure receipts say is gone: that it can be, and that it is.

Format: `docs/formats/journal.md`, "Erasures".
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from answerable_verify._filed import Filed
from answerable_verify._history import Say
from answerable_verify._receipt import Receipt

__all__ = ["check_closed", "check_erasures", "check_gone", "check_told"]

_NUMBER = "(?:0|[1-9][0-9]{0,15})"
_ERASED = re.compile(f"{_NUMBER}(?:-{_NUMBER})?(?:,{_NUMBER}(?:-{_NUMBER})?)*")
_CONTROL = "control:"


def check_erasures(run: Sequence[Receipt], *, say: Say) -> int:
    """Check what the erasures of one run name, in the order of its seq; the number of them that name anything."""
    count = 0
    bare = [receipt for receipt in run if not receipt.texts]
    for receipt in run:
        if receipt.phase == "erasure" and (said := receipt.section("control").get("erased")) is not None:
            count += 1
            if problem := _fault(receipt, said, bare):
                say("erasures", problem, receipt)
    return count


def check_closed(run: Sequence[Receipt], *, say: Say) -> None:
    """Check that a whole run was closed as erased only where something was erased."""
    closed = next((receipt for receipt in run if receipt.phase == "run.close"), None)
    if closed is None or closed.section("control").get("state") != "erased":
        return
    origin = run[0].section("control").get("origin")
    # A fork is closed for what the run that it shares with lost.
    is_fork = isinstance(origin, Mapping) and origin.get("how") == "fork"
    if not is_fork and not any(receipt.phase == "erasure" for receipt in run):
        say("erasures", "closed as erased, and the run has no erasure", closed)


def check_gone(
    members: Mapping[str, bytes], filed: Filed, *, are_all_readable: bool
) -> tuple[int, list[tuple[str, str]]]:
    """How many texts of these receipts are said to be gone, and (member, fault) for those that are here.

    Args:
        are_all_readable: where a receipt was damaged, it may be one that commits to the text too, and nothing is said.
    """
    gone: dict[str, list[tuple[int, int, str]]] = {}
    for receipt in filed.of_phase("erasure"):
        if spans := _ranges(receipt.section("control").get("erased")):
            gone.setdefault(receipt.run, []).extend((span.start, span.stop, receipt.id) for span in spans)
    if not gone:
        return 0, []
    by: dict[bytes, tuple[int, str, str]] = {}
    kept: set[bytes] = set()
    for run, erased_spans in gone.items():
        for receipt, erasure in _each_with_its_erasure(filed.run(run), erased_spans):
            for name in receipt.inputs_and_outputs():
                if not erasure:
                    kept.add(name)
                elif name not in by or (receipt.seq, receipt.member) < by[name]:
                    by[name] = receipt.seq, receipt.member, erasure
    # A receipt that is not named may commit to the same text, and keep it.
    for receipt in filed:
        if receipt.run not in gone:
            kept.update(by.keys() & receipt.inputs_and_outputs())
    erased = by.keys() - kept
    faults = [
        (f"disclosed/{name.hex()}", f"the text is here, and `{by[name][2]}` says that it is erased")
        for name in sorted(erased)
        if are_all_readable and f"disclosed/{name.hex()}" in members
    ]
    return len(erased), faults


def check_told(receipts: Iterable[Receipt], *, say: Say) -> None:
    """Check, where every entry is there, that the control run tells of each erasure what the runs say."""
    wholes: dict[str, list[Receipt]] = {}
    parts: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        control = receipt.section("control")
        if receipt.phase == "erasure" and "kind" not in control:  # a rule of retention is told of in the run alone
            found = wholes if receipt.run.startswith(_CONTROL) else parts
            name = control.get("erasure")
            found.setdefault(name if isinstance(name, str) else "", []).append(receipt)
    for name, of in parts.items():
        if name not in wholes:
            say("erasures", f"the control run tells of no erasure `{name}`", of[0])
    for name, of in wholes.items():
        for again in of[1:]:
            say("erasures", f"`{of[0].id}` told of this erasure before", again)
        if problem := _untold(of[0], parts.get(name, [])):
            say("erasures", problem, of[0])


def _each_with_its_erasure(
    run: Iterable[Receipt], spans: Iterable[tuple[int, int, str]]
) -> Iterator[tuple[Receipt, str]]:
    """Each receipt of a run with one that says its text is gone, empty where none does; in one sweep."""
    waiting = sorted(spans, reverse=True)
    stop, erasure = 0, ""  # how far the spans reach that have begun, and whose that is
    for receipt in sorted(run, key=lambda receipt: receipt.seq):
        while waiting and waiting[-1][0] <= receipt.seq:
            stop, erasure = max((stop, erasure), waiting.pop()[1:])
        yield receipt, erasure if receipt.seq < stop else ""


def _fault(receipt: Receipt, said: object, bare: Sequence[Receipt]) -> str:
    """What is wrong with what an erasure names; empty for nothing.

    Args:
        bare: the receipts of the run that commit to no text.
    """
    spans = _ranges(said)
    if spans is None:
        return "what it erased is not of its form"
    if spans[-1].stop > receipt.seq:
        return "it erased what was not written yet"
    for span in spans:
        at = bisect_left(bare, span.start, key=lambda receipt: receipt.seq)
        if at < len(bare) and bare[at].seq < span.stop:
            return f"it erased a text of `{bare[at].id}`, which commits to none"
    count, texts = sum(map(len, spans)), receipt.section("control").get("texts")
    is_own = not receipt.run.startswith(_CONTROL)  # in a control run, texts of other runs count too
    if type(texts) is not int or (texts != count if is_own else texts < count):
        return f"it counts another number of texts than the {count} it names"
    return ""


def _untold(whole: Receipt, parts: Sequence[Receipt]) -> str:
    """What is wrong between the receipt that tells of an erasure and those of its runs; empty for nothing."""
    control = whole.section("control")
    texts, runs, spans = control.get("texts"), control.get("runs"), _ranges(control.get("erased"))
    if type(texts) is not int or type(runs) is not int:
        return "texts or runs are not counted"
    own, names = texts, set()
    for part in parts:
        count = part.section("control").get("texts")
        own -= count if type(count) is int else 0
        names.add(part.run)
    if own < 0 or runs != len(names) + bool(own) or len(names) < len(parts):
        return "it counts other texts or runs than the runs themselves say"
    if spans is not None and sum(map(len, spans)) != own:
        return "it counts other texts of its own run than it names"
    return ""


def _ranges(said: object) -> list[range] | None:
    """The seqs that a text such as `0-3,7` names, from the lowest; None where it is not of that form.

    SECURITY: never listed one by one: a number is whatever somebody wrote.
    """
    if not isinstance(said, str) or not _ERASED.fullmatch(said):
        return None
    found: list[range] = []
    for part in said.split(","):
        first, dash, last = part.partition("-")
        span = range(int(first), int(last if dash else first) + 1)
        if (dash and len(span) < 2) or (found and span.start <= found[-1].stop):
            return None
        found.append(span)
    return found
