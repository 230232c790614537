"""Answerable: one gate for every agent action.

Names are loaded when they are first used, so that `import answerable` costs milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from answerable.app import Answerable, Gate
    from answerable.core import Effect, Money, Usage
    from answerable.ledger import Reader
    from answerable.models import (
        AnthropicProvider,
        LocalConfig,
        LocalProvider,
        OpenAIProvider,
        ScriptedProvider,
        Upstream,
    )
    from answerable.policy import Budget, Sink, Source
    from answerable.runtime import Limits, Retention, RetryPolicy, Run, Temporal
    from answerable.tools import NOT_DONE, ToolDeclaration

__all__ = [
    "NOT_DONE",
    "Answerable",
    "AnthropicProvider",
    "Budget",
    "Effect",
    "Gate",
    "Limits",
    "LocalConfig",
    "LocalProvider",
    "Money",
    "OpenAIProvider",
    "Reader",
    "Retention",
    "RetryPolicy",
    "Run",
    "ScriptedProvider",
    "Sink",
    "Source",
    "Temporal",
    "ToolDeclaration",
    "Upstream",
    "Usage",
]

_HOMES = {
    "NOT_DONE": "tools",
    "Answerable": "app",
    "AnthropicProvider": "models",
    "Budget": "policy",
    "Effect": "core",
    "Gate": "app",
    "Limits": "runtime",
    "LocalConfig": "models",
    "LocalProvider": "models",
    "Money": "core",
    "OpenAIProvider": "models",
    "Reader": "ledger",
    "Retention": "runtime",
    "RetryPolicy": "runtime",
    "Run": "runtime",
    "ScriptedProvider": "models",
    "Sink": "policy",
    "Source": "policy",
    "Temporal": "runtime",
    "ToolDeclaration": "tools",
    "Upstream": "models",
    "Usage": "core",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module `answerable` has no attribute {name!r}")
    return getattr(import_module(f"answerable.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
