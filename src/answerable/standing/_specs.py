"""The specifications in force: read from a folder, named by commit, blob and digest, kept on the record."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from answerable.core import canonical_json, parse_canonical, sha256_name
from answerable.standing._drivers._git import committed
from answerable.standing._errors import SpecInvalid, SpecsMissing
from answerable.standing._markdown import Clause, Document, Governs, parse_document

__all__ = ["SNAPSHOT_FORMAT", "Spec", "Specs", "load_specs", "parse_snapshot"]

SNAPSHOT_FORMAT = "urn:answerable:specs:v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One specification in one version.

    Args:
        path: of the file, relative to the folder it was read from.
        digest: `sha256:` name of the file's bytes; always there, with git or without.
        commit: the git commit that last changed the file; empty if these bytes are not committed.
        blob: the git blob that these bytes are; empty with `commit`.
    """

    document: Document
    path: str
    text: str
    digest: str
    commit: str = ""
    blob: str = ""

    @property
    def id(self) -> str:
        return self.document.id

    @property
    def title(self) -> str:
        return self.document.title

    @property
    def owner(self) -> str:
        return self.document.owner

    @property
    def governs(self) -> Governs:
        return self.document.governs

    @property
    def clauses(self) -> tuple[Clause, ...]:
        return self.document.clauses

    @property
    def version(self) -> str:
        """The version as people say it: `refunds@3f2a1b0c9d8e`, or by digest where it is not committed."""
        if self.commit:
            return f"{self.id}@{self.commit[:12]}"
        return f"{self.id}@{self.digest[:19]} (uncommitted)"

    def applies_to_agent(self, agent: str) -> bool:
        """Whether runs of this agent are judged by it."""
        governs = self.governs
        return _matches(agent, governs.agents) if governs.agents else bool(governs.tools)

    def snapshot(self) -> bytes:
        """This version as bytes to keep on the record; `parse_snapshot` reads them."""
        return canonical_json({"format": SNAPSHOT_FORMAT, "specs": [self.to_json()]})

    def to_json(self) -> dict[str, Any]:
        said = {"id": self.id, "path": self.path, "digest": self.digest, "text": self.text}
        return said | ({"commit": self.commit, "blob": self.blob} if self.commit else {})


@dataclass(frozen=True, slots=True)
class Specs:
    """Every specification of a project, in the order of their ids."""

    specs: tuple[Spec, ...] = ()
    _governing: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)

    def __iter__(self) -> Iterator[Spec]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def governing(self, *, agent: str, tool: str) -> tuple[str, ...]:
        """The ids of the clauses that govern this agent's use of this tool (or model), sorted.

        Called for every action, so what was answered once is kept.
        """
        known = self._governing.get((agent, tool))
        if known is None:
            known = tuple(
                sorted(
                    clause.id
                    for spec in self.specs
                    if spec.applies_to_agent(agent) and (not spec.governs.tools or _matches(tool, spec.governs.tools))
                    for clause in spec.clauses
                )
            )
            self._governing[agent, tool] = known
        return known

    def governing_file(self, path: str) -> tuple[str, ...]:
        """The ids of the clauses that govern a file, by its path in the repository with `/`, sorted."""
        specs = (spec for spec in self.specs if _matches(path, spec.governs.files))
        return tuple(sorted(clause.id for spec in specs for clause in spec.clauses))

    def ids(self) -> tuple[str, ...]:
        """The ids of all clauses."""
        return tuple(clause.id for spec in self.specs for clause in spec.clauses)

    def clause(self, clause_id: str) -> tuple[Spec, Clause] | None:
        """A clause and the specification that has it."""
        for spec in self.specs:
            for clause in spec.clauses:
                if clause.id == clause_id:
                    return spec, clause
        return None

    def snapshot(self) -> bytes:
        """All of them as bytes to keep on the record, the same for the same versions."""
        return canonical_json({"format": SNAPSHOT_FORMAT, "specs": [spec.to_json() for spec in self.specs]})


def load_specs(directory: Path) -> Specs:
    """The specifications of a folder: each `*.md` file in it, with the git commit and blob of its bytes.

    Raises:
        SpecsMissing: there is no such folder.
        SpecInvalid: a file is not in the format, or an id is used twice.
    """
    if not directory.is_dir():
        raise SpecsMissing(directory=str(directory))
    specs = []
    for path in sorted(directory.glob("*.md")):
        body = path.read_bytes()
        spec = _read(body, path=path.name, file=str(path))
        ids = committed(path.absolute(), body)
        if ids:
            spec = replace(spec, commit=ids.commit, blob=ids.blob)
        specs.append(spec)
    return _collected(specs)


def parse_snapshot(body: bytes) -> Specs:
    """The specifications that `snapshot` wrote. A text that does not have its digest is refused.

    Raises:
        SpecInvalid: the bytes are a snapshot of something else, or were altered.
        NotCanonical: the bytes are not canonical JSON.
    """
    said = parse_canonical(body)
    if not isinstance(said, dict) or said.get("format") != SNAPSHOT_FORMAT:
        raise SpecInvalid(
            file="snapshot", line=1, clause="format", found="another format", expected=f"expected {SNAPSHOT_FORMAT}"
        )
    specs = []
    for each in said["specs"]:
        text = each["text"].encode()
        if sha256_name(text) != each["digest"]:
            found = f"text of `{each['id']}` without its digest"
            raise SpecInvalid(
                file=each["path"], line=1, clause="snapshot", found=found, expected="read it from the record"
            )
        read = _read(text, path=each["path"], file=each["path"])
        specs.append(replace(read, commit=each.get("commit", ""), blob=each.get("blob", "")))
    return _collected(specs)


def _read(body: bytes, *, path: str, file: str) -> Spec:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body[: error.start].count(b"\n") + 1
        raise SpecInvalid(
            file=file, line=line, clause="encoding", found="bytes that are not UTF-8", expected="save the file as UTF-8"
        ) from None
    return Spec(document=parse_document(text, file=file), path=path, text=text, digest=sha256_name(body))


def _collected(specs: list[Spec]) -> Specs:
    """The set, once no two specifications or clauses share an id: receipts name clauses by id alone."""
    holders: dict[str, Spec] = {}
    for spec in specs:
        names = [(spec.id, 1, "front matter"), *((clause.id, clause.line, clause.id) for clause in spec.clauses)]
        for name, line, clause in names:
            other = holders.setdefault(name, spec)
            if other is not spec:
                found, expected = f"the id `{name}`, which `{other.path}` has", "give it an id of its own"
                raise SpecInvalid(file=spec.path, line=line, clause=clause, found=found, expected=expected)
    return Specs(tuple(sorted(specs, key=lambda spec: spec.id)))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
