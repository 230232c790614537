"""What does not fit a declared type, in words."""

from typing import Any

__all__ = ["mismatch"]

_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")


def mismatch(error: Exception, *, part: str = "field") -> str:
    """The first thing wrong that pydantic found, without the value: it may hold personal data.

    `part` is what a part of the whole is called: a field, or an argument.

    Anything but pydantic's `ValidationError` comes of a value that JSON does not have.
    """
    find: Any = getattr(error, "errors", None)
    if find is None:
        return "JSON has no such value"
    first = find(include_input=False, include_url=False)[0]
    where, kind = ".".join(str(part) for part in first["loc"]), first["type"]
    if kind == "unexpected_keyword_argument":
        return f"it has no {part} `{where}`"
    if kind in _MISSING:
        return f"{part} `{where}` is missing"
    # A validator of the author's own may quote the value in its message.
    said = kind if kind in ("value_error", "assertion_error") else first["msg"]
    said = said[:1].lower() + said[1:]
    return f"`{where}`: {said}" if where else said
