"""Rooms are laid out alike, and no file outgrows a sitting."""

import ast
import re

import pytest

from tests.architecture.files import texts

_SOURCE = {name: text for name, text in texts(".py").items() if name.startswith("src/")}
_PACKAGES = [
    name for name in _SOURCE if name.endswith("/__init__.py") and not re.search(r"/_(tests|migrations|drivers)/", name)
]
_NO_NAME_AT_ALL = {"utils.py", "common.py", "helpers.py", "base.py", "manager.py", "misc.py"}


@pytest.mark.parametrize("file", _PACKAGES)
def test_a_packages_face_is_a_docstring_names_and_all(file: str) -> None:
    tree = ast.parse(_SOURCE[file])

    assert ast.get_docstring(tree), "says in a line what the room is for"
    assert any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__" for node in tree.body)
    assert not [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"]


@pytest.mark.parametrize("file", [name for name in _SOURCE if name.endswith("/_ports.py")])
def test_a_port_has_six_methods_at_most(file: str) -> None:
    ports = [node for node in ast.walk(ast.parse(_SOURCE[file])) if isinstance(node, ast.ClassDef)]

    wide = {
        port.name: len(methods)
        for port in ports
        if any(ast.unparse(base) == "Protocol" for base in port.bases)
        and len(methods := [node for node in port.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]) > 6
    }

    assert wide == {}


def test_a_file_of_more_than_five_hundred_lines_says_why_it_is_one() -> None:
    long = {name: text for name, text in texts(".py").items() if text.count("\n") > 500}

    unexplained = [name for name, text in long.items() if "one file" not in (ast.get_docstring(ast.parse(text)) or "")]

    assert unexplained == []
    assert [name for name in long if name.startswith("src/")] == []


def test_no_file_is_named_after_nothing() -> None:
    assert [name for name in _SOURCE if name.rsplit("/", 1)[-1].lstrip("_") in _NO_NAME_AT_ALL] == []


def test_only_the_edge_reads_the_environment() -> None:
    edge = re.compile(r"src/answerable/(cli|app|server)/|/_drivers/|/_tests/")  # drivers pass it on to processes

    readers = [
        name for name, text in _SOURCE.items() if re.search(r"\bos\.(environ|getenv)\b", text) and not edge.search(name)
    ]

    assert readers == []
