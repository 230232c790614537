"""Errors are part of the interface: each leaf has a sample, travels, and is in the reference."""

import importlib
import pickle
import re

import orjson
import pytest

from answerable.core import (
    AnswerableError,
    ConfigError,
    EvidenceError,
    ExecutionError,
    Permanent,
    PluginError,
    Refused,
    Transient,
    error_from_json,
)
from tests.architecture.errors import PAGE, is_ours, leaves, page, sample

_BRANCH_OF_CODE = {
    "config": ConfigError,
    "refused": Refused,
    "execution": ExecutionError,
    "evidence": EvidenceError,
    "plugin": PluginError,
}
each_leaf = pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: leaf.code)


@each_leaf
def test_an_error_says_what_happened_in_one_line_without_class_names(leaf: type[AnswerableError]) -> None:
    message = sample(leaf).message

    assert "\n" not in message
    assert not message.endswith(".")
    assert not re.search(r"[{}]", message)
    assert message[0] == message[0].lower() or message.split()[0].isupper(), "starts in lower case"


@each_leaf
def test_an_error_survives_pickling(leaf: type[AnswerableError]) -> None:
    error = sample(leaf)

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is leaf
    assert str(again) == str(error)


@each_leaf
def test_an_error_survives_the_record(leaf: type[AnswerableError]) -> None:
    error = sample(leaf)

    again = error_from_json(orjson.loads(orjson.dumps(error.to_json())))

    assert type(again) is leaf
    assert str(again) == str(error)


@each_leaf
def test_a_code_starts_with_its_branch_of_the_tree(leaf: type[AnswerableError]) -> None:
    branch = _BRANCH_OF_CODE[leaf.code.split(".")[0]]

    assert re.fullmatch(r"[a-z]+(\.[a-z0-9_]+)+", leaf.code)
    assert issubclass(leaf, branch)


def test_no_two_errors_share_a_code() -> None:
    codes = [leaf.code for leaf in leaves()]

    assert len(codes) == len(set(codes))


def test_an_error_class_without_subclasses_has_a_code() -> None:
    tree = {AnswerableError, Transient, Permanent, *_BRANCH_OF_CODE.values()}

    nameless = [cls.__name__ for cls in _all(AnswerableError) - tree if not cls.__subclasses__() and not cls.code]

    assert nameless == []


def test_the_reference_has_every_error() -> None:
    assert PAGE.read_text() == page(), "run `make regenerate`"


def test_the_public_module_of_errors_has_the_whole_tree() -> None:
    errors = importlib.import_module("answerable.errors")

    missing = {cls.__name__ for cls in (*leaves(), *_BRANCH_OF_CODE.values())} - set(errors.__all__)

    assert missing == set()


def _all(cls: type[AnswerableError]) -> set[type[AnswerableError]]:
    return {cls}.union(*(_all(sub) for sub in cls.__subclasses__() if is_ours(sub)))
