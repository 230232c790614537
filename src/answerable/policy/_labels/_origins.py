"""Where each passage of a held action's arguments comes from, for the person who decides.

A diff against everything the run was told: what stands so in its input, what stands so in a result, and what
stands nowhere, so that the model wrote it.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

from answerable.core import RunId
from answerable.ledger import Receipt
from answerable.policy._labels._flow import Texts, follow
from answerable.policy._labels._rules import LabelRules
from answerable.policy._labels._texts import RunTexts
from answerable.policy._labels._words import UserWords, plain, texts_in

__all__ = ["Passage", "passages_of"]

_SHORTEST = 8
_PASSAGE = re.compile(r"[^\n]+?(?:[.!?]+(?=\s|$)|(?=\n)|$)|\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Part of an argument.

    Args:
        argument: which one.
        text: the passage, as it stands there.
        by: `input` (of the run), `result` (of a tool), or `model`: it stands nowhere on the record.
        tool, receipt: of the result.
        is_untrusted: nobody vouches for that result.
    """

    argument: str
    text: str
    by: Literal["input", "result", "model"]
    tool: str = ""
    receipt: str = ""
    is_untrusted: bool = False

    def to_json(self) -> dict[str, Any]:
        """As the command line and the page have it."""
        return {name: value for name, value in asdict(self).items() if value}


def passages_of(record: Texts, held: Receipt, arguments: bytes) -> list[Passage]:
    """The passages of an action's arguments, in order; neighbours of one origin are one.

    Args:
        held: its receipt; only what came before it counts.
    """
    said = held.predicate
    run = RunId(said["run"])
    texts, given = RunTexts(LabelRules()), UserWords()
    follow(texts, record, run, before=said["seq"])
    opened = record.after(run, -1)[0]
    for text in texts_in(orjson.loads(record.text(opened).input or b"null")):
        given.add(text)
    told: list[Passage] = []
    for argument, value in orjson.loads(arguments).items():
        for text in texts_in(value):
            for piece in _pieces(text):
                found = _found(texts, given, argument, piece)
                if told and text != piece and _same(told[-1], found):
                    last = told.pop()
                    found = Passage(**{**asdict(found), "text": last.text + piece})
                told.append(found)
    return told


def _pieces(text: str) -> Iterator[str]:
    yield from (match[0] for match in _PASSAGE.finditer(text) if match[0])


def _found(texts: RunTexts, given: UserWords, argument: str, piece: str) -> Passage:
    said = plain(piece)
    if given.hold(piece) or given.hold(piece.strip().rstrip(".!?")):
        return Passage(argument=argument, text=piece, by="input")
    result = next(iter(texts.results_with(said)), None) if len(said) >= _SHORTEST else None
    if result is None:
        return Passage(argument=argument, text=piece, by="model")
    return Passage(
        argument=argument,
        text=piece,
        by="result",
        tool=result.name,
        receipt=result.receipt,
        is_untrusted=not result.is_trusted,
    )


def _same(one: Passage, other: Passage) -> bool:
    return (one.argument, one.by, one.receipt) == (other.argument, other.by, other.receipt)
