"""Where untrusted words come in (sources) and where they would do harm (sinks), as the operator declares it.

A *source* says which parts of a tool's result nobody outside can write. A *sink* says which arguments of a
tool decide whom or what it touches, and which carry content out. Values have a *kind* (`address`, `file`), so
that the number of a file never passes for that of an event. `docs/guides/contain-prompt-injection.md`.
"""

import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from answerable.core import stable_json
from answerable.policy._labels._errors import LabelsInvalid
from answerable.policy._labels._recognise import KINDS

__all__ = ["LabelRules", "Mode", "PersonalRule", "Sink", "Source", "UserSpeech", "read_labels", "values_at"]

_FORMAT = "answerable-labels-1"
Mode = Literal["block", "redact", "tokenise"]
"""What becomes of personal data at a sink."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What of a tool's result may be relied on.

    Args:
        trusted: the result as a whole may steer the agent and carries no label.
        records: where its records stand, as a path; the result itself by default.
        values: parts of a record, each a path and the kind of value it holds, that nobody outside writes.
        names: parts of a record by which a person would name it (a title, a file name).
        named: like `values`, but only of a record that the user named.
        lookup: arguments that say what is looked for.
        found: like `values`, but only of the one record that came back when the user's own words were looked for.
    """

    trusted: bool = False
    records: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)
    lookup: tuple[str, ...] = ()
    found: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where a tool's arguments matter.

    Args:
        critical: arguments that decide whom or what it touches, each a path and the kind of value.
        content: arguments whose text leaves the house with the call.
        keeps: what it acts on keeps what is written, and gives it back to whoever reads it.
    """

    critical: Mapping[str, str] = field(default_factory=dict)
    content: tuple[str, ...] = ()
    keeps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSpeech:
    """Where an agent's user speaks; nowhere, unless it is declared.

    Args:
        input: parts of a run's input that the user wrote, as paths; `.` for all of it.
        messages: what has the role `user` in model calls over the wire is the user's.
    """

    input: tuple[str, ...] = ()
    messages: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalRule:
    """What becomes of personal data in the arguments of calls.

    Args:
        kinds: which kinds; empty for all.
    """

    mode: Mode
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRules:
    """All that is declared, by the full name of a tool, `provider:model` of a model, the name of an agent."""

    sources: Mapping[str, Source] = field(default_factory=dict)
    sinks: Mapping[str, Sink] = field(default_factory=dict)
    speech: Mapping[str, UserSpeech] = field(default_factory=dict)
    personal: Mapping[str, PersonalRule] = field(default_factory=dict)
    recognisers: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sources or self.sinks or self.personal)

    def misfit(self, tools: Mapping[str, Mapping[str, Any]], *, agents: Collection[str]) -> str:
        """What of it names nothing there is, in words; empty if all of it does.

        Args:
            tools: the argument schema of each tool, by full name.
            agents: their names.
        """
        for name in (*self.sources, *self.sinks, *(each for each in self.personal if not each.startswith("model:"))):
            if name not in tools:
                return f"there is no tool `{name}`"
        for name, sink in self.sinks.items():
            if unknown := _unknown(tools[name], (*sink.critical, *sink.content)):
                return f"`{name}` has no argument `{unknown}`"
        for name, source in self.sources.items():
            if unknown := _unknown(tools[name], source.lookup):
                return f"`{name}` has no argument `{unknown}`"
        for agent in self.speech:
            if agent not in agents:
                return f"there is no agent `{agent}`"
        return ""

    def snapshot(self, *, further: Sequence[str] = ()) -> bytes:
        """Where values come from and what is sent, as stable JSON: what decisions rested on; `from_snapshot` reads it.

        Args:
            further: what recognisers there are beside those, which nobody finds by a name; in a word each.
        """
        return stable_json(
            {
                "format": _FORMAT,
                "sources": {name: asdict(each) for name, each in self.sources.items()},
                "sinks": {name: asdict(each) for name, each in self.sinks.items()},
                "speech": {name: asdict(each) for name, each in self.speech.items()},
                "recognisers": list(self.recognisers),
                "further": list(further),
            }
        )

    @classmethod
    def from_snapshot(cls, snapshot: bytes, *, where: str = "snapshot") -> "tuple[LabelRules, tuple[str, ...]]":
        """The rules that `snapshot` wrote, without those on personal data, and what further recognisers there were.

        Raises:
            LabelsInvalid: not a snapshot this version can read.
        """
        try:
            said = orjson.loads(snapshot)
            if said["format"] != _FORMAT:
                raise LabelsInvalid(where=where, problem=f"unknown format `{said['format']}`")
            rules = cls(
                sources={name: Source(**_tuples(each)) for name, each in said["sources"].items()},
                sinks={name: Sink(**_tuples(each)) for name, each in said["sinks"].items()},
                speech={name: UserSpeech(**_tuples(each)) for name, each in said["speech"].items()},
                recognisers=tuple(said["recognisers"]),
            )
            return rules, tuple(said["further"])
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise LabelsInvalid(where=where, problem=f"not a snapshot of rules ({type(error).__name__})") from None

    def __or__(self, other: "LabelRules") -> "LabelRules":
        """Both; where they declare the same thing, `other` does."""
        return LabelRules(
            sources={**self.sources, **other.sources},
            sinks={**self.sinks, **other.sinks},
            speech={**self.speech, **other.speech},
            personal={**self.personal, **other.personal},
            recognisers=tuple(dict.fromkeys((*self.recognisers, *other.recognisers))),
        )


def read_labels(file: Path) -> LabelRules:
    """What a TOML file declares.

    Raises:
        LabelsInvalid: it cannot be read, or says something that has no meaning.
    """
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LabelsInvalid(where=str(file), problem=f"it cannot be read ({type(error).__name__}: {error})") from None
    reading = _Reading(str(file))
    reading.keys("the file", said, ("recognisers", "tools", "models", "agents"))
    reading.recognisers = reading.list("the file", "recognisers", said)
    sources, sinks, personal = {}, {}, {}
    for name, table in reading.tables(said, "tools"):
        reading.keys(name, table, (*_SOURCE, *_SINK, *_PERSONAL))
        if any(key in table for key in _SOURCE):
            sources[name] = reading.source(name, table)
        if any(key in table for key in _SINK):
            sinks[name] = reading.sink(name, table)
        if "personal" in table or "kinds" in table:
            personal[name] = reading.personal(name, table)
    for name, table in reading.tables(said, "models"):
        reading.keys(name, table, _PERSONAL)
        personal[f"model:{name}"] = reading.personal(name, table)
    speech = {}
    for name, table in reading.tables(said, "agents"):
        reading.keys(name, table, ("input", "messages"))
        speech[name] = reading.speech(name, table)
    return LabelRules(sources=sources, sinks=sinks, speech=speech, personal=personal, recognisers=reading.recognisers)


_SOURCE = ("trusted", "records", "values", "names", "named", "lookup", "found")
_SINK = ("critical", "content", "keeps")
_PERSONAL = ("personal", "kinds")


class _Reading:
    """Reads tables of one file, and says where something is wrong."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.recognisers: tuple[str, ...] = ()

    def wrong(self, problem: str) -> LabelsInvalid:
        return LabelsInvalid(where=self._where, problem=problem)

    def keys(self, name: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                raise self.wrong(f"`{name}` says `{key}`, and may say {', '.join(f'`{each}`' for each in known)}")

    def tables(self, said: Mapping[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
        found = self._table("the file", key, said.get(key, {}))
        for name, table in found.items():
            yield name, self._table(key, name, table)

    def one_of(self, name: str, key: str, said: Any, words: tuple[str, ...]) -> Any:
        if said not in words:
            raise self.wrong(f"`{key}` of `{name}` is none of {', '.join(f'`{each}`' for each in words)}")
        return said

    def source(self, name: str, table: Mapping[str, Any]) -> Source:
        found = Source(
            trusted=self._flag(name, "trusted", table),
            records=self._text(name, "records", table.get("records", "")),
            values=self._kinds(name, "values", table),
            names=self.list(name, "names", table),
            named=self._kinds(name, "named", table),
            lookup=self.list(name, "lookup", table),
            found=self._kinds(name, "found", table),
        )
        if found.named and not found.names:
            raise self.wrong(f"`{name}` has `named` values and no `names` that a record could be named by")
        if found.found and not found.lookup:
            raise self.wrong(f"`{name}` has `found` values and no `lookup` that says what was looked for")
        return found

    def sink(self, name: str, table: Mapping[str, Any]) -> Sink:
        return Sink(
            critical=self._kinds(name, "critical", table),
            content=self.list(name, "content", table),
            keeps=self._flag(name, "keeps", table),
        )

    def speech(self, name: str, table: Mapping[str, Any]) -> UserSpeech:
        return UserSpeech(input=self.list(name, "input", table), messages=self._flag(name, "messages", table))

    def personal(self, name: str, table: Mapping[str, Any]) -> PersonalRule:
        mode: Mode = self.one_of(name, "personal", table.get("personal"), get_args(Mode))
        kinds = frozenset(self.list(name, "kinds", table))
        if (unknown := sorted(kinds - KINDS)) and not self.recognisers:  # others' kinds are theirs to name
            raise self.wrong(f"`{name}` has no kind `{unknown[0]}` to find: {', '.join(sorted(KINDS))}")
        return PersonalRule(mode=mode, kinds=kinds)

    def _table(self, name: str, key: str, said: Any) -> dict[str, Any]:
        if not isinstance(said, dict):
            raise self.wrong(f"`{key}` of `{name}` is no table")
        return said

    def _flag(self, name: str, key: str, table: Mapping[str, Any]) -> bool:
        said = table.get(key, False)
        if not isinstance(said, bool):
            raise self.wrong(f"`{key}` of `{name}` is neither true nor false")
        return said

    def list(self, name: str, key: str, table: Mapping[str, Any]) -> tuple[str, ...]:
        said = table.get(key, [])
        if not isinstance(said, list):
            raise self.wrong(f"`{key}` of `{name}` is no list of texts")
        return tuple(self._text(name, key, each) for each in said)

    def _kinds(self, name: str, key: str, table: Mapping[str, Any]) -> dict[str, str]:
        said = self._table(name, key, table.get(key, {}))
        return {path: self._text(name, f"{key}.{path}", kind) for path, kind in said.items()}

    def _text(self, name: str, key: str, said: Any) -> str:
        if not isinstance(said, str):
            raise self.wrong(f"`{key}` of `{name}` is no text")
        return said


def _tuples(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}


def _unknown(schema: Mapping[str, Any], paths: Iterable[str]) -> str:
    known = schema.get("properties")
    heads = (path.partition(".")[0] for path in paths)
    return next((head for head in heads if known is not None and head not in known), "")


def values_at(value: Any, path: str) -> Iterator[Any]:
    """What stands at a path: names with dots between; lists are gone through; `.` or nothing is the value itself."""
    if isinstance(value, list):
        for each in value:
            yield from values_at(each, path)
    elif path in ("", "."):
        yield value
    elif isinstance(value, dict):
        head, _, rest = path.partition(".")
        if head in value:
            yield from values_at(value[head], rest)
