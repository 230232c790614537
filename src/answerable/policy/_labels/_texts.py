"""What a run was told, by whom: its user's words, values from sources, and everything else.

Followed from the record, receipt by receipt, so that runs, sessions and a command line see the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from answerable.policy._labels._recognise import hidden_codes
from answerable.policy._labels._rules import LabelRules, Source, UserSpeech, values_at
from answerable.policy._labels._words import UserWords, plain, texts_in

__all__ = ["Origin", "Result", "RunTexts"]

_OWN_WORD = ("trusted", "named", "dropped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value comes from.

    Args:
        by: `user` (wrote it), `trusted` (a source's own value), `named` (of a record that the user named),
            `dropped` (a person took the label off it), `untrusted` (a result that nobody vouches for),
            or `unknown`: nothing on the record holds it, so the model made it up.
        receipts: of the results it stands in.
    """

    by: str
    receipts: tuple[str, ...] = ()

    @property
    def is_reliable(self) -> bool:
        return self.by == "user" or self.by in _OWN_WORD


@dataclass(frozen=True, slots=True)
class _Value:
    receipt: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool returned: its texts as they were, and as they are compared."""

    receipt: str
    name: str
    raw: str
    text: str
    is_trusted: bool


class RunTexts:
    """The texts of one run, as far as its record was followed.

    Attributes:
        user: what the user said.
        seen: the last `seq` that was followed.
    """

    def __init__(self, rules: LabelRules) -> None:
        self.user = UserWords()
        self.seen = -1
        self._rules = rules
        self._speech = UserSpeech()
        self._values: dict[tuple[str, str], list[_Value]] = {}
        self._dropped: dict[str, str] = {}
        self._results: list[Result] = []
        self._codes: frozenset[str] | None = None

    def opened(self, said: dict[str, Any], given: bytes | None) -> None:
        """The run was opened with this input."""
        control = said["control"]
        self._speech = self._rules.speech.get(control.get("agent", ""), UserSpeech())
        if "origin" not in control:  # what another run gave it, is not the user's word
            self.asked(said, given)

    def asked(self, said: dict[str, Any], given: bytes | None) -> None:
        """A run that nobody began but its user was opened with this input."""
        speech = self._rules.speech.get(said["control"].get("agent", ""), UserSpeech())
        value = orjson.loads(given or b"null") if speech.input else None
        for text in (text for path in speech.input for each in values_at(value, path) for text in texts_in(each)):
            self.user.add(text)

    def called(self, said: dict[str, Any], arguments: bytes | None) -> None:
        """A call was made; a model call over the wire may repeat what the user said."""
        if self._speech.messages and said["action"]["kind"] == "model":
            for text in _user_messages(orjson.loads(arguments or b"{}")):
                self.user.add(text)

    def came(self, said: dict[str, Any], value: bytes | None, arguments: bytes | None) -> None:
        """A call had this result; of a write, the arguments are not looked at."""
        action = said["action"]
        if said.get("effect", {}).get("status") != "ok" or action["kind"] not in ("tool", "memory"):
            return
        result = _result_of(orjson.loads(value or b"null"))
        source = self._rules.sources.get(action["name"])
        is_trusted = not said.get("labels")
        raw = "\n".join(texts_in(result))
        self._results.append(Result(said["id"], action["name"], raw, plain(raw), is_trusted))
        self._codes = None
        if source is not None:
            for kind, held, names in _reliable(source, result, orjson.loads(arguments or b"{}")):
                self._values.setdefault((kind, held), []).append(_Value(said["id"], names))

    def dropped(self, receipt: str, values: list[str]) -> None:
        """A person took the label off these values."""
        for value in values:
            self._dropped[plain(value)] = receipt

    def origin(self, value: Any, kind: str) -> Origin:
        """Where a value of this kind comes from."""
        if self.user.hold(value):
            return Origin(by="user")
        said = plain(value)
        if said in self._dropped:
            return Origin(by="dropped", receipts=(self._dropped[said],))
        found = self._values.get((kind, said), ())
        for by, each in (("named" if each.names else "trusted", each) for each in found):
            if by == "trusted" or any(self.user.name(name) for name in each.names):
                return Origin(by=by, receipts=(each.receipt,))
        receipts = tuple(each.receipt for each in self.results_with(said))
        return Origin(by="untrusted" if receipts else "unknown", receipts=receipts[:3])

    def results_with(self, text: str) -> list[Result]:
        """The results that hold this text, as it is compared (`plain`); untrusted ones first."""
        found = [each for each in self._results if text and text in each.text]
        return sorted(found, key=lambda each: each.is_trusted)

    def codes(self) -> frozenset[str]:
        """Secrets that stand in results: what a mailbox or a file told the agent, and nobody else should hear."""
        if self._codes is None:
            self._codes = frozenset(code for each in self._results for code in hidden_codes(each.raw))
        return self._codes


def _reliable(source: Source, result: Any, arguments: Any) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Kind and value of what a source vouches for, and the names or words it then depends on."""
    records = list(values_at(result, source.records))
    if source.found and len(records) == 1:
        sought = tuple(str(words) for path in source.lookup for words in values_at(arguments, path) if words)
        for path, kind in source.found.items() if sought else ():
            for value in values_at(records[0], path):
                yield kind, plain(value), sought
    for record in records:
        for path, kind in source.values.items():
            for value in values_at(record, path):
                yield kind, plain(value), ()
        names = tuple(str(name) for path in source.names for name in values_at(record, path)) if source.named else ()
        for path, kind in source.named.items() if names else ():
            for value in values_at(record, path):
                yield kind, plain(value), names


def _result_of(value: Any) -> Any:
    """A tool's own result, where the outcome holds it as MCP has it."""
    if isinstance(value, dict) and isinstance(value.get("content"), list) and value.keys() <= _MCP_RESULT:
        if "structuredContent" in value:
            return value["structuredContent"]
        texts = [block.get("text", "") for block in value["content"] if isinstance(block, dict)]
        try:
            return orjson.loads("\n".join(texts))
        except orjson.JSONDecodeError:
            return "\n".join(texts)
    return value


_MCP_RESULT = {"content", "structuredContent", "isError", "_meta", "resultType"}


def _user_messages(body: Any) -> Iterator[str]:
    """The texts of `user` messages; results of tools that a dialect puts among them are not the user's words."""
    messages = body.get("messages") if isinstance(body, dict) else None
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            yield content
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str):
                yield block["text"]
