"""The root of the error tree.

AnswerableError
├── ConfigError        what was written down is wrong; nothing started
├── Refused            nothing ran
├── ExecutionError
│   ├── Transient      the same call may succeed later
│   └── Permanent      it will not
├── EvidenceError      the record does not hold what it should
└── PluginError        an installed extension is missing, doubled or broken

Leaves live with the packages that raise them and are re-exported by `answerable.errors`.
Cancellation is control flow, not an error: `RunCancelled` derives from `BaseException`.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

__all__ = [
    "AnswerableError",
    "ConfigError",
    "EvidenceError",
    "ExecutionError",
    "Permanent",
    "PluginError",
    "RecordedError",
    "Refused",
    "Transient",
    "error_from_json",
]

_by_code: dict[str, type["AnswerableError"]] = {}


@dataclass(eq=False, kw_only=True)
class AnswerableError(Exception):
    """Something Answerable noticed, said so that the reader knows what to do.

    A leaf is a dataclass with `code` (stable, dotted), and `what`, `why` and `fix` templates over
    its fields. Fields go to the log and the console: never a secret, a prompt or personal data.
    """

    code: ClassVar[str] = ""
    what: ClassVar[str] = ""
    why: ClassVar[str] = ""
    fix: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        if code := cls.__dict__.get("code", ""):
            _by_code[code] = cls

    def __post_init__(self) -> None:
        self.args = (self.message,)

    @property
    def message(self) -> str:
        """What happened, why and what to do, in one line."""
        parts = [part.format_map(self._said()) for part in (self.what, self.why, self.fix) if part]
        return "; ".join(parts)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._said())

    def _said(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to_json(self) -> dict[str, Any]:
        """The error as JSON: its code, its message and its fields."""
        said = {name: value if isinstance(value, int) else str(value) for name, value in self._said().items()}
        return {"code": self.code, "message": self.message, "fields": said}


def _rebuild(cls: type[AnswerableError], said: dict[str, Any]) -> AnswerableError:
    return cls(**said)


class ConfigError(AnswerableError):
    """What was written down is wrong; nothing started."""


class Refused(AnswerableError):
    """The gate did not let the action through; nothing ran."""


class ExecutionError(AnswerableError):
    """The action was let through and did not succeed."""


class Transient(ExecutionError):
    """The same call may succeed later."""


class Permanent(ExecutionError):
    """The same call will not succeed."""


class EvidenceError(AnswerableError):
    """The record does not hold what it should."""


class PluginError(AnswerableError):
    """An installed extension is missing, doubled or broken."""


@dataclass(eq=False, kw_only=True)
class RecordedError(ExecutionError):
    """An outcome on the record whose error class this version does not know."""

    code = "execution.recorded"
    what = "{message_then}"

    code_then: str
    message_then: str


def error_from_json(said: dict[str, Any]) -> AnswerableError:
    """The error that `to_json` wrote, so that replay raises what the first run raised.

    Source: `docs/formats/receipt.md`, "Errors".
    """
    cls = _by_code.get(said["code"])
    if cls is not None:
        try:
            return cls(**said["fields"])
        except TypeError:
            pass  # the class changed its fields since: fall through to what was said then
    return RecordedError(code_then=said["code"], message_then=said["message"])
