"""The call that undoes a call, from what the operator declared."""

from collections.abc import Mapping
from typing import Any

from answerable.tools._errors import CompensationUnfit
from answerable.tools._ports import Tool

__all__ = ["undoing_arguments"]


def undoing_arguments(tool: str, by: Tool, arguments: Mapping[str, Any], result: Any) -> dict[str, Any]:
    """What the undoing tool is called with: per parameter what the call was given, else what it returned.

    `result` as a parameter takes the whole result.

    Raises:
        CompensationUnfit: a parameter that it needs is in neither.
    """
    returned = result if isinstance(result, dict) else {}
    # SECURITY: arguments before results, so that a tool's answer cannot point its undoing at something else.
    known = {"result": result, **returned, **arguments}
    parameters = by.schema.get("properties", {})
    for name in by.schema.get("required", ()):
        if name not in known:
            raise CompensationUnfit(tool=tool, by=by.name, parameter=str(name))
    return {name: known[name] for name in parameters if name in known}
