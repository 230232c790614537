"""From a specification file to its clauses: TOML front matter, headings with ids, `check` blocks.

Format: `docs/guides/write-a-spec.md`.
"""

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from answerable.standing._checks import Check
from answerable.standing._errors import SpecInvalid
from answerable.standing._grammar import Misread, parse_check

__all__ = ["Clause", "Document", "Governs", "parse_document"]

_CLAUSE_ID = re.compile(r"[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)+")
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})\s*([^`]*)")
_SPEC_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TOML_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_FRONT = "front matter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Governs:
    """What a specification applies to; patterns, with case. Agents or tools not named mean all of them."""

    agents: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One thing the specification asks, with an id that receipts carry.

    Args:
        line: of its heading, from 1.
        text: its prose, as written.
        checks: all must hold; none means that only a person can judge it.
    """

    id: str
    title: str
    line: int
    text: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A specification file as read."""

    id: str
    title: str
    owner: str
    governs: Governs
    clauses: tuple[Clause, ...]


def parse_document(text: str, *, file: str) -> Document:
    """The specification that a file holds.

    Raises:
        SpecInvalid: names file, line and clause of the first thing that is wrong.
    """
    return _Parser(text.splitlines(), file).document()


class _Parser:
    def __init__(self, lines: list[str], file: str) -> None:
        self.lines = lines
        self.file = file

    def document(self) -> Document:
        front, end = self._front_matter()
        spec_id = self._text(front, "id", end)
        if not _SPEC_ID.fullmatch(spec_id):
            expected = "use lower-case letters, digits, `-`, `_` and `.`"
            raise self._wrong(self._line_of("id", 1, end), _FRONT, f"the id `{spec_id}`", expected)
        title, owner = self._text(front, "title", end), self._text(front, "owner", end)
        governs = self._governs(front.get("governs"), end)
        clauses = self._clauses(end + 1)
        if not clauses:
            expected = "head each clause with `## ID Title`, such as `## REFUND-1 Large refunds are approved`"
            raise self._wrong(len(self.lines), "body", "no clause", expected)
        return Document(id=spec_id, title=title, owner=owner, governs=governs, clauses=tuple(clauses))

    def _front_matter(self) -> tuple[dict[str, Any], int]:
        if not self.lines or self.lines[0].rstrip() != "+++":
            raise self._wrong(1, _FRONT, "no front matter", "start the file with TOML between two `+++` lines")
        end = next((at for at in range(1, len(self.lines)) if self.lines[at].rstrip() == "+++"), 0)
        if not end:
            raise self._wrong(1, _FRONT, "front matter without an end", "close it with a line `+++`")
        front = self._toml(1, end, _FRONT)
        for key in front:
            if key not in ("id", "title", "owner", "governs"):
                raise self._wrong(
                    self._line_of(key, 1, end), _FRONT, f"`{key}`", "use `id`, `title`, `owner`, `governs`"
                )
        return front, end

    def _text(self, front: dict[str, Any], key: str, end: int) -> str:
        value = front.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(self._line_of(key, 1, end), _FRONT, f"no `{key}`", f'write `{key} = "…"`')
        return value

    def _governs(self, table: Any, end: int) -> Governs:
        expected = "write `[governs]` with at least one of `agents`, `tools` and `files`, each a list of patterns"
        line = self._line_of("governs", 1, end)
        if not isinstance(table, dict) or not table:
            raise self._wrong(line, _FRONT, "nothing that the specification governs", expected)
        for key, patterns in table.items():
            if key not in ("agents", "tools", "files"):
                raise self._wrong(self._line_of(key, 1, end), _FRONT, f"`governs.{key}`", expected)
            if not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) and p for p in patterns):
                raise self._wrong(self._line_of(key, 1, end), _FRONT, f"`governs.{key}`", expected)
        return Governs(**{key: tuple(patterns) for key, patterns in table.items()})

    def _clauses(self, start: int) -> list[Clause]:
        clauses: list[Clause] = []
        current: tuple[str, str, int] | None = None
        checks: list[Check] = []
        prose: list[str] = []

        def finish() -> None:
            if current:
                name, title, line = current
                text = "\n".join(prose).strip()
                clauses.append(Clause(id=name, title=title, line=line, text=text, checks=tuple(checks)))

        at = start
        while at < len(self.lines):
            if fence := _FENCE.fullmatch(self.lines[at]):
                end = self._end_of_fence(at, fence[1], current[0] if current else "body")
                if fence[2].strip().lower() == "check":
                    if current is None:
                        expected = "put it under a heading `## ID Title`, the id in capitals with a dash"
                        raise self._wrong(at + 1, "body", "a `check` block outside a clause", expected)
                    checks.append(self._check(at + 1, end, current[0]))
                else:
                    prose += self.lines[at : end + 1]
                at = end + 1
                continue
            if heading := _HEADING.fullmatch(self.lines[at]):
                name, _, title = heading[2].partition(" ")
                is_clause = _CLAUSE_ID.fullmatch(name) is not None
                if is_clause and heading[1] != "##":
                    raise self._wrong(at + 1, name, f"a clause under `{heading[1]}`", "head a clause with `##`")
                if len(heading[1]) <= 2:
                    finish()
                    current, checks, prose = None, [], []
                    if is_clause:
                        current = self._named(name, title.strip(), at + 1, clauses)
                    at += 1
                    continue
            prose.append(self.lines[at])
            at += 1
        finish()
        return clauses

    def _named(self, name: str, title: str, line: int, before: list[Clause]) -> tuple[str, str, int]:
        for clause in before:
            if clause.id == name:
                raise self._wrong(
                    line, name, f"the id of line {clause.line} again", "give each clause an id of its own"
                )
        if not title:
            raise self._wrong(line, name, "no title", f"write `## {name} What it asks`")
        return name, title, line

    def _end_of_fence(self, at: int, fence: str, clause: str) -> int:
        closing = re.compile(rf" {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}\s*")
        for end in range(at + 1, len(self.lines)):
            if closing.fullmatch(self.lines[end]):
                return end
        raise self._wrong(at + 1, clause, "a block that never ends", f"close it with `{fence}`")

    def _check(self, start: int, end: int, clause: str) -> Check:
        block = self._toml(start, end, clause)
        try:
            return parse_check(block)
        except Misread as misread:
            line = self._line_of(misread.key, start, end) if misread.key else start
            raise self._wrong(line, clause, misread.found, misread.expected) from None

    def _toml(self, start: int, end: int, clause: str) -> dict[str, Any]:
        try:
            return tomllib.loads("\n".join(self.lines[start:end]) + "\n")
        except tomllib.TOMLDecodeError as error:
            found = _TOML_LINE.search(str(error))
            line = start + int(found[1]) if found else end
            said = _TOML_LINE.sub("", str(error)).strip()
            raise self._wrong(line, clause, f"not TOML: {said[:1].lower()}{said[1:]}", "correct the TOML") from None

    def _line_of(self, key: str, start: int, end: int) -> int:
        """The first line that has the word as a key, so that the reader is sent to the place."""
        word = re.compile(rf"(?<![\w\"-]){re.escape(key)}(?![\w-])")
        return next((at + 1 for at in range(start, end) if word.search(self.lines[at])), start)

    def _wrong(self, line: int, clause: str, found: str, expected: str) -> SpecInvalid:
        return SpecInvalid(file=self.file, line=line, clause=clause, found=found, expected=expected)
