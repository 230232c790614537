"""One word for one thing, and nothing of the place where the project was written."""

import ast
import re

import pytest

from tests.architecture.files import texts

# The glossary's other half (docs/glossary.md): the word that is said instead of each of these.
_SAID_INSTEAD = {
    "job": "run",
    "jobs": "run",
    "workflow": "run",
    "workflows": "run",
    "activity": "step",
    "activities": "step",
    "gateway": "gate",
    "epoch": "fence, boot or stop generation",
    "taint": "label",
}
_NOT_A_CLASS = ("Event", "Job", "Node", "Operation", "Workflow", "Manager", "Helper", "Utils")
# Prose that speaks of other systems uses their words; requirements are quoted as they were stated.
_MAY_SAY = {
    "conformance/requirements.toml",
    "docs/glossary.md",
    "tests/architecture/test_words.py",
    "src/answerable/runtime/_drivers/_temporal.py",
    "src/answerable/runtime/_drivers/_temporal_run.py",
    "tests/integration/test_temporal.py",
    "LICENSE",
    "src/answerable_verify/LICENSE",
}
_OTHERS_WORDS = re.compile(
    r"(?i)temporal|dbos|langgraph|restate|github|vendor's|epoch seconds|Unix epoch|bad gateway|benchmarks/gateway"
    r"|pg_stat_activity"
)
_HERE = ("work", "farm", "tmp/bash_jobs", "root")
_HOSTS = tuple(
    f"{name}.{top}" for name, top in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("debian", "org"))
)
_NOTES = ("DESIGN.md", "STYLE.md", "REQUIREMENTS.md")


@pytest.mark.parametrize("file", texts(".md", ".py", ".toml", ".cedar", ".html", ".sh"))
def test_a_file_speaks_the_glossarys_words(file: str) -> None:
    if file in _MAY_SAY or file.startswith(("requirements/", "benchmarks/", "docs/decisions/")):
        return
    text = texts(".md", ".py", ".toml", ".cedar", ".html", ".sh")[file]

    said = [
        f"line {number}: `{word}` (say {_SAID_INSTEAD[word.lower()]})"
        for number, line in enumerate(text.splitlines(), 1)
        if not _OTHERS_WORDS.search(line)
        for word in re.findall(r"[A-Za-z]+", line)
        if word.lower() in _SAID_INSTEAD and not word.isupper()  # a constant may bear a format's own name
    ]

    assert said == []


@pytest.mark.parametrize("file", [name for name in texts(".py") if name.startswith("src/")])
def test_a_class_is_named_for_what_it_is_in_the_domain(file: str) -> None:
    classes = [node.name for node in ast.walk(ast.parse(texts(".py")[file])) if isinstance(node, ast.ClassDef)]

    assert [name for name in classes if name.endswith(_NOT_A_CLASS)] == []


def test_no_file_names_the_machine_it_was_written_on() -> None:
    here = re.compile(r"(?<![\w.~])/(?:" + "|".join(_HERE) + r")(?:/|\b(?!\s*[|)\]]))")

    found = [
        f"{name}: {line.strip()}" for name, text in texts().items() for line in text.splitlines() if here.search(line)
    ]

    assert [row for row in found if not row.startswith("tests/architecture/")] == []


def test_no_file_names_a_package_registry() -> None:
    found = [f"{name}: {host}" for name, text in texts().items() for host in _HOSTS if host in text]

    assert [row for row in found if not row.startswith("tests/architecture/")] == []


def test_code_and_docs_cite_the_docs_and_not_somebodys_notes() -> None:
    found = [
        f"{name}: {note}"
        for name, text in texts().items()
        if name != ".ci/run"
        for note in _NOTES
        if re.search(rf"\b{re.escape(note)}", text)
    ]

    assert [row for row in found if not row.startswith("tests/architecture/")] == []


def test_source_holds_no_promises_for_later() -> None:
    later = re.compile(r"#.*\b(?:TODO|FIXME|XXX)\b|raise NotImplementedError")

    source = {name: text for name, text in texts(".py").items() if name.startswith("src/") and "/_tests/" not in name}
    found = [name for name, text in source.items() if later.search(text)]

    assert found == []
