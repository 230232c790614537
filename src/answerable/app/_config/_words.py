"""Values of `answerable.toml` that TOML has no type for: times, dollars, names, templates."""

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from string import Formatter
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from answerable.core import Money
from answerable.policy import parse_duration

__all__ = ["Amount", "Bound", "Count", "Dollars", "Duration", "Name", "Template", "Variable"]

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_NANO_PER_DOLLAR = 10**9


def _duration(said: Any) -> timedelta:
    found = parse_duration(said) if isinstance(said, str) else None
    if found is None:
        raise ValueError('must be a time such as "90s", "15m", "12h" or "3d"')
    return found


def _as_written(said: timedelta) -> str:
    seconds = int(said.total_seconds())
    unit, length = next(each for each in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % each[1] == 0)
    return f"{seconds // length}{unit}"


def _dollars(said: Any) -> int:
    try:
        nano = Decimal(said) * _NANO_PER_DOLLAR if isinstance(said, str) else Decimal("NaN")
    except InvalidOperation:
        nano = Decimal("NaN")
    if not nano.is_finite() or nano < 0 or nano != nano.to_integral_value():
        raise ValueError('must be US dollars in quotes, such as "5.00"')
    return int(nano)


def _money(said: Any) -> Money:
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,3})?) ([A-Z]{3})", said) if isinstance(said, str) else None
    try:
        return Money.parse(match[1], match[2]) if match else _no_money()
    except ValueError:
        return _no_money()


def _no_money() -> Money:
    raise ValueError('must be an amount and its currency in quotes, such as "250.00 EUR"')


def _count(said: Any) -> int:
    if type(said) is not int or not 0 < said < 2**53:
        raise ValueError("must be a whole number above 0")
    return said


def _bound(said: Any) -> int | None:
    if said is False:
        return None
    try:
        return _count(said)
    except ValueError:
        raise ValueError("must be a whole number above 0, or false for no bound") from None


def _template(said: str) -> str:
    try:
        fields = [name for _, name, _, _ in Formatter().parse(said) if name is not None]
    except ValueError as error:
        raise ValueError(f"is no template: {error}") from None
    for name in fields:
        # SECURITY: an attribute or an index would let a template read more than the argument's own text.
        if not re.fullmatch(_VARIABLE, name):
            raise ValueError(f'names `{{{name}}}`, and a template names arguments: "order:{{order_id}}"')
    return said


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(_as_written, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[1-9]\d{0,5}[smhd]$", "examples": ["90s", "15m"]}),
]
"""`90s`, `15m`, `12h` or `3d`."""

Count = Annotated[int, BeforeValidator(_count), WithJsonSchema({"type": "integer", "exclusiveMinimum": 0})]
"""How many, one at least."""

Bound = Annotated[
    int | None,
    BeforeValidator(_bound),
    WithJsonSchema({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"const": False}]}),
]
"""How many at the most; `false` for no bound, where there is one by default."""

Dollars = Annotated[
    int,
    BeforeValidator(_dollars),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d{1,9})?$", "examples": ["5.00"]}),
]
"""US dollars as text, held in 10⁻⁹ dollars."""

Amount = Annotated[
    Money,
    BeforeValidator(_money),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,12}(\.\d{1,3})? [A-Z]{3}$", "examples": ["250.00 EUR"]}),
]
"""Money that a tool moves, as text."""

Name = Annotated[str, Field(pattern=f"^{_NAME}$")]
"""What stands in front of a dot or a colon."""

Variable = Annotated[str, Field(pattern=f"^{_VARIABLE}$")]
"""The name of an environment variable."""

Template = Annotated[str, AfterValidator(_template)]
"""Text with arguments in braces: `order:{order_id}`."""
