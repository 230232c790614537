"""Mappings from a framework's controls to receipts: data, each with its source (`_frameworks/*.toml`).

A mapping says what receipts support of a control, and what they leave beyond. It never says that anything is fulfilled.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from answerable.core import ConfigError

__all__ = ["FRAMEWORKS", "Control", "EvidenceItem", "FrameworkMapping", "MappingInvalid", "read_mapping"]

_FOLDER = Path(__file__).with_name("_frameworks")
FRAMEWORKS = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))
_PHASES = frozenset(
    {"run.open", "intent", "held", "denied", "approval", "outcome", "compensation", "observation"}
    | {"signal", "timer", "version", "control", "erasure", "key", "run.close"}
)


@dataclass(eq=False, kw_only=True)
class MappingInvalid(ConfigError):
    """A mapping of controls cannot be read."""

    code = "config.mapping_invalid"
    what = "the mapping `{file}` cannot be used: {problem}"
    why = "a control that is misspelt would silently have no evidence"
    fix = "`docs/guides/audit-packs.md` says what a mapping holds; those that come with Answerable are examples"

    file: str
    problem: str


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Lacking(_Table):
    """Receipts that another receipt should answer, and none does."""

    phase: str = Field(description="Of the receipt that is missing.")
    by: str = Field(description="The member that both have: `step`, `run`, `control.approval`.")


class EvidenceItem(_Table):
    """Receipts that support a control, or that speak against it."""

    what: str
    phases: list[str] = Field(min_length=1)
    where: Mapping[str, list[str]] = Field(default={}, description="Members by path, each with values; `*` for any.")
    without: list[str] = Field(default=[], description="Members, by path, that are not there.")
    lacks: Lacking | None = None
    expect: Literal["some", "none", "any"] = Field(
        default="any", description="`some`: a gap where there is none; `none`: each is an exception."
    )


class Control(_Table):
    """One control, criterion or article."""

    id: str
    title: str
    supports: str
    beyond: str
    evidence: list[EvidenceItem] = Field(min_length=1)


class FrameworkMapping(_Table):
    """A framework, as far as receipts support it."""

    framework: str
    title: str
    source: str = Field(min_length=10)
    reviewed: str
    controls: list[Control] = Field(min_length=1)


def read_mapping(framework: str, file: Path | None = None) -> tuple[FrameworkMapping, bytes]:
    """The mapping of a framework that comes with Answerable, or the one in a file; and its exact text.

    Raises:
        MappingInvalid: there is no such framework, or the file is no mapping.
    """
    path = file or _FOLDER / f"{framework}.toml"
    if file is None and framework not in FRAMEWORKS:
        raise MappingInvalid(file=framework, problem=f"there are mappings of {', '.join(FRAMEWORKS)}")
    try:
        body = path.read_bytes()
        mapping = FrameworkMapping.model_validate(tomllib.loads(body.decode("utf-8")))
    except OSError as error:
        raise MappingInvalid(file=str(path), problem=str(error.strerror)) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise MappingInvalid(file=str(path), problem=f"`{where}`: {first['msg'].lower()}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise MappingInvalid(file=str(path), problem=f"it is not TOML: {error}") from None
    if problem := _problem(mapping):
        raise MappingInvalid(file=str(path), problem=problem)
    return mapping, body


def _problem(mapping: FrameworkMapping) -> str:
    ids = [control.id for control in mapping.controls]
    if len(set(ids)) < len(ids):
        return "two controls have the same id"
    for control in mapping.controls:
        for item in control.evidence:
            asked = [*item.phases, *([item.lacks.phase] if item.lacks else [])]
            if unknown := sorted(set(asked) - _PHASES):
                return f"`{control.id}` asks for the phase `{unknown[0]}`, which there is not"
    return ""
