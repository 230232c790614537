"""What policy is told of an action's arguments: where they come from, and what they would carry out.

Read from the record when a policy asks, and only for tools that are declared a sink; nothing is kept for others.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import orjson

from answerable.core import Action, RunId
from answerable.ledger import Receipt
from answerable.policy._labels._recognise import Recogniser, find_all, find_links
from answerable.policy._labels._rules import LabelRules, Sink, values_at
from answerable.policy._labels._texts import RunTexts
from answerable.policy._labels._words import texts_in

__all__ = ["NO_FLOW", "Flow", "Flows", "flow_of", "follow"]

_MOST_RUNS = 512
_WEAKEST = ("unknown", "untrusted", "dropped", "named", "trusted", "user")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What the record says of one action's arguments.

    Args:
        is_labelled: the tool is declared a sink.
        untrusted: critical arguments of which some value comes from neither the user nor a source.
        sends: what the content would carry out that the user did not write: `link`, or a kind of personal data.
        provenance: per critical argument where its values come from, as the receipt has it.
        declared: name of the rules that say so, on the record; empty where they are not.
    """

    is_labelled: bool = False
    untrusted: tuple[str, ...] = ()
    sends: tuple[str, ...] = ()
    provenance: tuple[dict[str, Any], ...] = ()
    declared: str = ""


NO_FLOW = Flow()


class Texts(Protocol):
    """A record whose texts can be read."""

    def after(self, run: RunId, seq: int) -> list[Receipt]:
        """The receipts of a run beyond a `seq`, in order; -1 for all."""

    def text(self, receipt: Receipt) -> Any:
        """What its commitments stand for."""


class Flows:
    """Follows the runs whose actions are asked about.

    Args:
        rules: what is declared.
        record: where outcomes are read.
        further: recognisers beside ours.
        settled: returns once every outcome that an agent was given is on the record: it may have one before.
        declared: name of the rules' snapshot on the record; empty where there is none.
    """

    def __init__(
        self,
        rules: LabelRules,
        record: Texts,
        settled: Callable[[], Awaitable[None]],
        *,
        further: Sequence[Recogniser] = (),
        declared: str = "",
    ) -> None:
        self.rules = rules
        self.declared = declared
        self._record = record
        self._settled = settled
        self._further = tuple(further)
        self._runs: OrderedDict[str, RunTexts] = OrderedDict()

    async def of(self, action: Action) -> Flow:
        """What the record says of this action's arguments now."""
        sink = self.rules.sinks.get(action.name) if action.kind == "tool" else None
        if sink is None:
            return replace(NO_FLOW, declared=self.declared)
        if not sink.critical and not sink.content:
            return Flow(is_labelled=True, declared=self.declared)
        await self._settled()
        found = flow_of(sink, orjson.loads(action.arguments), self.texts(action.run), self._further)
        return replace(found, declared=self.declared)

    def texts(self, run: RunId) -> RunTexts:
        """What the run was told so far."""
        texts = self._runs.get(run)
        if texts is None:
            texts = self._runs[run] = RunTexts(self.rules)
            while len(self._runs) > _MOST_RUNS:
                self._runs.popitem(last=False)
        self._runs.move_to_end(run)
        follow(texts, self._record, run)
        return texts


def flow_of(sink: Sink, arguments: Any, texts: RunTexts, further: Sequence[Recogniser]) -> Flow:
    """What the texts of a run say of the arguments of one call."""
    provenance = tuple(_provenance(sink, arguments, texts))
    return Flow(
        is_labelled=True,
        untrusted=tuple(each["argument"] for each in provenance if each["from"] in ("untrusted", "unknown")),
        sends=tuple(sorted(set(_sent(sink, arguments, texts, further)))),
        provenance=provenance,
    )


def follow(texts: RunTexts, record: Texts, run: RunId, *, before: int | None = None) -> None:
    """Take in what the record has gained of a run, up to a `seq` if one is named."""
    for receipt in record.after(run, texts.seen):
        said = receipt.predicate
        if said["seq"] == before:
            return
        phase, texts.seen = said["phase"], said["seq"]
        if phase == "run.open":
            texts.opened(said, record.text(receipt).input)
            _follow_origin(texts, record, said)
        elif phase == "intent":
            texts.called(said, record.text(receipt).input)
        elif phase == "outcome":
            found = record.text(receipt)
            if not said.get("intentRef"):  # a read has no intent: what was asked stands here
                texts.called(said, found.input)
            texts.came(said, found.output, found.input)
        elif phase == "control" and said["control"].get("do") == "declassify":
            texts.dropped(said["id"], orjson.loads(record.text(receipt).input or b"{}").get("values", []))
        elif phase == "approval" and said["control"].get("also"):
            texts.dropped(said["id"], orjson.loads(record.text(receipt).input or b"{}").get("also", []))


def _follow_origin(texts: RunTexts, record: Texts, said: Mapping[str, Any]) -> None:
    """The user of a run that another began is the user of the first: what agents tell each other is nobody's word."""
    control = said["control"]
    while "origin" in control:
        opened = record.after(RunId(control["origin"]["run"]), -1)[0]
        control = opened.predicate["control"]
        if "origin" not in control:
            texts.asked(opened.predicate, record.text(opened).input)


def _provenance(sink: Sink, arguments: Any, texts: RunTexts) -> Iterator[dict[str, Any]]:
    for path, kind in sorted(sink.critical.items()):
        # An object is left to the paths that lead into it; without any it counts whole, and comes from nowhere.
        is_gone_into = any(other.startswith(f"{path}.") for other in sink.critical)
        values = [value for value in values_at(arguments, path) if not (is_gone_into and isinstance(value, dict))]
        origins = [texts.origin(value, kind) for value in values if value not in (None, "")]
        if not origins:
            continue
        weakest = min(origins, key=lambda origin: _WEAKEST.index(origin.by))
        said: dict[str, Any] = {"argument": path, "kind": kind, "from": weakest.by}
        if weakest.receipts:
            said["receipts"] = list(weakest.receipts)
        yield said


def _sent(sink: Sink, arguments: Any, texts: RunTexts, further: Sequence[Recogniser]) -> Iterator[str]:
    for path in sink.content:
        for content in (text for value in values_at(arguments, path) for text in texts_in(value)):
            for link in find_links(content):
                if not texts.origin(link, "link").is_reliable:
                    yield "link"
            for found in find_all(content, further=further):
                if not texts.user.hold(found.value):
                    yield found.kind
            if any(code in content and not texts.user.hold(code) for code in texts.codes()):
                yield "code"
