"""Money and usage: whole numbers with units, never floats."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ["Money", "Usage"]

_EXPONENT = {"JPY": 0, "KRW": 0, "CLP": 0, "ISK": 0, "VND": 0, "BHD": 3, "KWD": 3, "TND": 3, "JOD": 3, "OMR": 3}


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in a currency's minor unit (cents), as a whole number.

    Args:
        minor: the amount in minor units: `Money(1999, "EUR")` is 19.99 euro.
        currency: ISO 4217 code.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise TypeError(f"minor units are a whole number, not {self.minor!r}")
        if len(self.currency) != 3 or not self.currency.isascii() or not self.currency.isupper():
            raise ValueError(f"currency is an ISO 4217 code such as EUR, not {self.currency!r}")

    @classmethod
    def parse(cls, text: str, currency: str) -> "Money":
        """`Money.parse("19.99", "EUR")`; more decimals than the currency has are refused."""
        minor = Decimal(text).scaleb(_EXPONENT.get(currency, 2))
        if minor != minor.to_integral_value():
            raise ValueError(f"{text} has more decimals than {currency} has")
        return cls(int(minor), currency)

    def __add__(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise ValueError(f"cannot add {other.currency} to {self.currency}")
        return Money(self.minor + other.minor, self.currency)

    def __str__(self) -> str:
        exponent = _EXPONENT.get(self.currency, 2)
        return f"{Decimal(self.minor).scaleb(-exponent):.{exponent}f} {self.currency}"

    def to_json(self) -> dict[str, Any]:
        return {"minor": self.minor, "currency": self.currency}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one or more actions used; also the ceiling that a budget reserves.

    Args:
        input_tokens: tokens read by the model.
        output_tokens: tokens written by the model.
        cost_nano_usd: price in 10⁻⁹ US dollars, a whole number.
        calls: model and tool calls.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    calls: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_nano_usd=self.cost_nano_usd + other.cost_nano_usd,
            calls=self.calls + other.calls,
        )

    def __bool__(self) -> bool:
        return bool(self.input_tokens or self.output_tokens or self.cost_nano_usd or self.calls)

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.input_tokens + self.output_tokens

    def to_json(self) -> dict[str, int]:
        """Only what is not zero, under the receipt's names."""
        said = {
            "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens,
            "costNanoUsd": self.cost_nano_usd,
            "calls": self.calls,
        }
        return {name: value for name, value in said.items() if value}

    @classmethod
    def from_json(cls, said: dict[str, int]) -> "Usage":
        return cls(
            input_tokens=said.get("inputTokens", 0),
            output_tokens=said.get("outputTokens", 0),
            cost_nano_usd=said.get("costNanoUsd", 0),
            calls=said.get("calls", 0),
        )
