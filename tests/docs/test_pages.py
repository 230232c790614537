"""Pages are reachable, links lead somewhere, and what code cites is there."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.architecture.files import ROOT, texts

_PAGES = texts(".md")
_FRONT = [name for name in _PAGES if "/" not in name]
_CITATION = re.compile(r'`?(docs/[\w./-]+\.md)`?(?:,\s+"([^"]+)")?')


def _slugs(page: str) -> set[str]:
    """The anchors of a page's headings, as the site makes them."""
    prose = re.sub(r"^```.*?^```", "", _PAGES[page], flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def _named_in(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for item in (nav.values() if isinstance(nav, dict) else nav) for page in _named_in(item)]


def test_every_page_is_in_the_navigation_once() -> None:
    nav = _named_in(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])

    pages = [name.removeprefix("docs/") for name in _PAGES if name.startswith("docs/")]

    assert sorted(nav) == sorted(pages)


@pytest.mark.parametrize("page", _PAGES)
def test_a_relative_link_leads_to_a_file_and_its_heading(page: str) -> None:
    prose = re.sub(r"^```.*?^```|`[^`\n]+`", "", _PAGES[page], flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        name = file.resolve().relative_to(ROOT).as_posix()
        if not file.exists() or (anchor and name in _PAGES and anchor not in _slugs(name)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("page", _PAGES)
def test_python_on_a_page_parses(page: str) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", _PAGES[page], flags=re.MULTILINE | re.DOTALL):
        if "--8<--" not in block:
            ast.parse(block)


@pytest.mark.parametrize("page", _PAGES)
def test_a_file_shown_on_a_page_exists(page: str) -> None:
    shown = re.findall(r'--8<-- "([^":]+)', _PAGES[page])

    assert [name for name in shown if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("file", [name for name in texts(".py", ".cedar", ".sh") if not name.startswith("tests/")])
def test_code_cites_headings_that_exist(file: str) -> None:
    lost = []
    for page, heading in _CITATION.findall(texts(".py", ".cedar", ".sh")[file]):
        if page not in _PAGES:
            lost.append(page)
        elif heading and not re.search(rf"^#+ {re.escape(heading)}\b", _PAGES[page], flags=re.MULTILINE):
            lost.append(f"{page}, {heading}")

    assert lost == []


def test_front_pages_fit_their_purpose() -> None:
    assert {"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} <= set(_FRONT)
    assert _PAGES["README.md"].count("\n") <= 80, "the first screen, and a tour of two minutes"
    assert _PAGES["ARCHITECTURE.md"].count("\n") <= 80, "one page"


def test_pages_have_one_title() -> None:
    untitled = [
        name
        for name, text in _PAGES.items()
        if name.startswith("docs/") and len(re.findall(r"(?m)^# ", _bare(text))) != 1
    ]

    assert untitled == []


def _bare(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def test_a_decision_says_context_choice_cost_and_when_to_revisit() -> None:
    decisions = {name: text for name, text in _PAGES.items() if re.match(r"docs/decisions/\d{4}-", name)}

    for name, text in decisions.items():
        assert re.findall(r"(?m)^\*\*(Context|Choice|Cost|Revisit)\b", text) == [
            "Context", "Choice", "Cost", "Revisit",
        ], name  # fmt: skip
    numbers = [int(Path(name).name[:4]) for name in decisions]
    assert numbers == sorted(set(numbers)), "one decision a number"
