"""Which witnesses are asked, and how many of them are enough: C2SP tlog-policy.

Source: C2SP tlog-policy, "Policy file syntax and structure".
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from answerable.core import ConfigError
from answerable.witness._notes import VerifierKey, VerifierKeyMalformed, parse_vkey

__all__ = ["Quorum", "QuorumMalformed", "WitnessAt", "parse_quorum"]

_MOST_BYTES = 256 * 1024
_NONE = "none"


@dataclass(eq=False, kw_only=True)
class QuorumMalformed(ConfigError):
    """A witness policy that cannot be read."""

    code = "config.quorum_malformed"
    what = "line {line} of `{file}` cannot be read: {problem}"
    why = "whose cosignatures are enough must be certain, so nothing in it is guessed or passed over"
    fix = "write it as C2SP tlog-policy says; `docs/guides/watch-the-log.md` has one"

    file: str
    line: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessAt:
    """A witness, and where it takes checkpoints; `url` is empty where that is not said."""

    key: VerifierKey
    url: str = ""


@dataclass(slots=True, kw_only=True)
class Quorum:
    """The policy: logs, witnesses by name, groups, and the name that must be satisfied."""

    logs: list[VerifierKey] = field(default_factory=list)
    witnesses: dict[str, WitnessAt] = field(default_factory=dict)
    groups: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    wanted: str = ""

    def is_met(self, cosigned: Collection[str]) -> bool:
        """Whether these witnesses, by name, are enough."""
        return self.wanted == _NONE or self._has(self.wanted, cosigned)

    def _has(self, name: str, cosigned: Collection[str]) -> bool:
        if name in self.witnesses:
            return name in cosigned
        k, members = self.groups[name]
        return sum(self._has(member, cosigned) for member in members) >= k


def parse_quorum(path: Path) -> Quorum:
    """The policy in a file.

    Raises:
        QuorumMalformed: a line is not of the format; the file is too long or cannot be read.
    """

    def bad(line: int, problem: str) -> QuorumMalformed:
        return QuorumMalformed(file=str(path), line=line, problem=problem)

    try:
        raw = path.read_bytes()
    except OSError as error:
        raise bad(0, str(error.strerror)) from None
    if len(raw) > _MOST_BYTES or any((byte < 0x20 and byte not in b"\t\n") or byte == 0x7F for byte in raw):
        raise bad(0, "it is too long, or holds a control character")
    quorum, grouped = Quorum(), set[str]()
    for number, line in enumerate(raw.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            _take(quorum, grouped, words)
        except (ValueError, VerifierKeyMalformed) as error:
            raise bad(number, str(error)) from None
    if not quorum.wanted:
        raise bad(0, "it has no `quorum` line")
    return quorum


def _take(quorum: Quorum, grouped: set[str], words: list[str]) -> None:
    known = quorum.witnesses.keys() | quorum.groups.keys()
    match words:
        case ["log", vkey, *url] if len(url) < 2:
            key = parse_vkey(vkey, role="log")
            if any(key.public == other.public for other in quorum.logs):
                raise ValueError("the log is there twice")
            quorum.logs.append(key)
        case ["witness", name, vkey, *url] if len(url) < 2:
            _is_new(name, known)
            key = parse_vkey(vkey, role="witness")
            if any(key.public == other.key.public for other in quorum.witnesses.values()):
                raise ValueError("the witness's key is there twice")
            quorum.witnesses[name] = WitnessAt(key=key, url=url[0].rstrip("/") if url else "")
        case ["group", name, threshold, *members] if members:
            _is_new(name, known)
            if len(set(members)) != len(members) or not grouped.isdisjoint(members) or not known.issuperset(members):
                raise ValueError("a member is not defined above, or is a member twice")
            k = {"any": 1, "all": len(members)}.get(threshold) or int(threshold if threshold.isdecimal() else "0")
            if not 1 <= k <= len(members):
                raise ValueError(f"{threshold} of {len(members)} members cannot be asked for")
            grouped.update(members)
            quorum.groups[name] = (k, tuple(members))
        case ["quorum", name]:
            if quorum.wanted or (name != _NONE and name not in known):
                raise ValueError("the quorum is stated twice, or is not defined above")
            quorum.wanted = name
        case _:
            raise ValueError("it is no log, witness, group or quorum line")


def _is_new(name: str, known: Collection[str]) -> None:
    if name in known or name == _NONE:
        raise ValueError(f"the name `{name}` is taken")
