"""Bounds of several declarations together: the tighter of each holds."""

from datetime import timedelta

import pytest

from answerable.core import Money
from answerable.runtime._limits import Limits, narrowest

EURO, LESS, DOLLARS = Money(5000, "EUR"), Money(2000, "EUR"), Money(3000, "USD")


@pytest.mark.requirement("RT-6")
@pytest.mark.parametrize(
    ("one", "other", "both"),
    [(EURO, None, EURO), (None, LESS, LESS), (EURO, LESS, LESS), (EURO, DOLLARS, Money(0, "EUR")), (None, None, None)],
)
def test_of_two_limits_on_money_the_tighter_holds_and_of_two_currencies_neither_moves(
    one: Money | None, other: Money | None, both: Money | None
) -> None:
    said = [Limits(amount=each).to_json() for each in (one, other)]

    assert Limits(amount=one).within(Limits(amount=other)).amount == both
    together = {name: most for name, most in narrowest(*said).items() if name.startswith("amount:")}
    if one and other and one.currency != other.currency:
        assert together == {"amount:EUR": 0, "amount:USD": 0}
    else:
        assert together == ({f"amount:{both.currency}": both.minor} if both else {})


def test_bounds_that_only_one_declaration_has_hold_for_both() -> None:
    both = Limits(steps=9, wall=timedelta(hours=1)).within(Limits(steps=20, tokens=100))

    assert (both.steps, both.wall, both.tokens) == (9, timedelta(hours=1), 100)
