"""Every error leaf with a sample, and the page of the reference that follows from them."""

import importlib
import inspect
import pkgutil
import types
import typing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import answerable
from answerable.core import AnswerableError, Money

__all__ = ["PAGE", "is_ours", "leaves", "page", "sample"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "errors.md"
_HEAD = """\
# Errors

Every error has a stable code, says what happened, why, and what to do, and keeps its data in fields. They form one
tree: `ConfigError` (what was written down is wrong; nothing started), `Refused` (nothing ran), `ExecutionError` with
`Transient` and `Permanent`, `EvidenceError` (the record does not hold what it should) and `PluginError`. Catch a branch
or a leaf, all from `answerable.errors`. In templates below, `{name}` stands for a field.

<!-- Written by `make regenerate` from the classes. -->
"""
_SAMPLES: dict[Any, Any] = {
    str: "`x` of 3",
    int: 3,
    bool: True,
    float: 0.5,
    Money: Money(1999, "EUR"),
    timedelta: timedelta(seconds=90),
    datetime: datetime(2026, 1, 2, tzinfo=UTC),
    Path: Path("a/b.toml"),
}


def leaves() -> list[type[AnswerableError]]:
    """The error classes that have a code, by code, from every module of the package."""
    for module in pkgutil.walk_packages(answerable.__path__, "answerable."):
        if not {"_tests", "_migrations", "__main__"} & set(module.name.split(".")):
            importlib.import_module(module.name)
    return sorted(_with_code(AnswerableError), key=lambda leaf: leaf.code)


def _with_code(cls: type[AnswerableError]) -> set[type[AnswerableError]]:
    found = {cls} if cls.__dict__.get("code") else set()
    return found.union(*(_with_code(sub) for sub in cls.__subclasses__() if is_ours(sub)))


def is_ours(cls: type) -> bool:
    """Whether the class is the package's, and not one of its tests'."""
    return cls.__module__.startswith("answerable.") and "._tests." not in cls.__module__


def sample(leaf: type[AnswerableError]) -> AnswerableError:
    """One instance, its fields filled by their types."""
    hints = typing.get_type_hints(leaf)
    return leaf(**{field.name: _value(hints[field.name]) for field in fields(leaf)})


def _value(hint: Any) -> Any:
    if isinstance(hint, typing.NewType):
        return _value(hint.__supertype__)
    if hint in _SAMPLES:
        return _SAMPLES[hint]
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    if get_origin(hint) in (typing.Union, types.UnionType):
        return _value(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return (_value(get_args(hint)[0]),)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    raise AssertionError(f"no sample for a field of type {hint}: an error's fields are simple values")


def page() -> str:
    """`docs/reference/errors.md`."""
    parts = [_HEAD]
    for leaf in leaves():
        branch = leaf.__mro__[1].__name__
        rows = [
            f"## {leaf.code}",
            "",
            f"`{leaf.__name__}`, {_article(branch)} `{branch}`. {inspect.cleandoc(leaf.__doc__ or '')}",
            "",
        ]
        rows += [
            f"- **{word}** {_code(text)}"
            for word, text in (("What:", leaf.what), ("Why:", leaf.why), ("Fix:", leaf.fix))
            if text
        ]
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _article(name: str) -> str:
    return "an" if name[0] in "AEIOU" else "a"


def _code(template: str) -> str:
    """The template as prose: fields in code type, and templates that quote already left alone."""
    return template.replace("`{", "{").replace("}`", "}").replace("{", "`{").replace("}", "}`")
