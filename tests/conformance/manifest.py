"""The requirements manifest, and what the tests say they show.

`conformance/requirements.toml` names every requirement with its need. Its status is `open` (a reason, no
tests), `partial` (tests, and a reason that says what is missing) or `shown` (tests). Tests say what they
show with `@pytest.mark.requirement("EV-1")`; the lists in the manifest follow from those marks.
"""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MANIFEST", "ROOT", "Requirement", "marked_tests", "read_manifest", "regenerated", "write_manifest"]

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ROOT / "conformance" / "requirements.toml"
_HEAD = """\
# Every requirement of the project, and the tests that show it.
# status: open (reason) | partial (tests, and a reason: what is missing) | shown (tests)
# `make regenerate` fills the lists of tests from their marks; needs, statuses and reasons are written by people.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One requirement as the manifest has it."""

    id: str
    need: str
    status: str
    reason: str = ""
    tests: tuple[str, ...] = ()


def read_manifest(path: Path = MANIFEST) -> dict[str, Requirement]:
    """The manifest, by id."""
    said = tomllib.loads(path.read_text())
    return {
        name: Requirement(
            id=name,
            need=row["need"],
            status=row["status"],
            reason=row.get("reason", ""),
            tests=tuple(row.get("tests", ())),
        )
        for name, row in said.items()
    }


def write_manifest(requirements: dict[str, Requirement], path: Path = MANIFEST) -> None:
    """Write the manifest in its one layout."""
    parts = [_HEAD]
    for row in requirements.values():
        lines = [f"[{row.id}]", f"need = {_quoted(row.need)}", f"status = {_quoted(row.status)}"]
        if row.reason:
            lines.append(f"reason = {_quoted(row.reason)}")
        if row.tests:
            lines += ["tests = [", *(f"    {_quoted(test)}," for test in row.tests), "]"]
        parts.append("\n".join(lines) + "\n")
    path.write_text("\n".join(parts))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def regenerated(requirements: dict[str, Requirement], shown: dict[str, set[str]]) -> dict[str, Requirement]:
    """The manifest with its lists of tests from the marks; an open row that gained tests becomes partial."""
    rows = {}
    for name, row in requirements.items():
        tests = tuple(sorted(shown.get(name, ())))
        status = {True: "partial" if row.status == "open" else row.status, False: "open"}[bool(tests)]
        reason = row.reason or ("" if status == "shown" else "no test shows it")
        rows[name] = Requirement(id=name, need=row.need, status=status, reason=reason, tests=tests)
    return rows


def marked_tests() -> dict[str, set[str]]:
    """By requirement id, the node ids of the tests marked with it. Read, not run."""
    found: dict[str, set[str]] = {}
    for path in sorted([*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("src/**/_tests/**/test_*.py")]):
        file = path.relative_to(ROOT).as_posix()
        tree = ast.parse(path.read_text(), file)
        for test, ids in _tests_of(tree.body, file, _module_marks(tree)):
            for name in ids:
                found.setdefault(name, set()).add(test)
    return found


def _tests_of(body: list[ast.stmt], prefix: str, outer: set[str]) -> Iterator[tuple[str, set[str]]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            marks = outer | {name for decorator in node.decorator_list for name in _ids(decorator)}
            state_machine = any("TestCase" in ast.unparse(base) for base in node.bases)
            if node.name.startswith("Test") and not state_machine:
                own = list(_tests_of(node.body, f"{prefix}::{node.name}", marks))
                # A class that takes over a contract suite has no tests of its own: the class is what shows it.
                yield from own or [(f"{prefix}::{node.name}", marks)]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            yield (
                f"{prefix}::{node.name}",
                outer | {name for decorator in node.decorator_list for name in _ids(decorator)},
            )


def _module_marks(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
            marks = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            return {name for mark in marks for name in _ids(mark)}
    return set()


def _ids(mark: ast.expr) -> Iterator[str]:
    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.requirement":
        for argument in mark.args:
            requirement = ast.literal_eval(argument)
            assert isinstance(requirement, str)
            yield requirement
