from typing import Any

import pytest
import sqlalchemy as sa

from answerable.ledger import Emptiness, Prepared

ANY = Prepared(sa.select(sa.column("run")).select_from(sa.table("slices")).limit(1))


class Table:
    """As much of a transaction as asks: a table with so many rows, and how often it was looked at."""

    def __init__(self, rows: int) -> None:
        self.held = rows
        self.looks = 0

    def rows(self, statement: Prepared, /, **params: Any) -> list[Any]:
        assert statement is ANY
        self.looks += 1
        return [("run_1",)] * self.held


@pytest.mark.parametrize(("held", "is_empty"), [(0, True), (1, False)])
def test_a_table_is_looked_at_once(held: int, is_empty: bool) -> None:
    table, emptiness = Table(held), Emptiness(ANY)

    assert [emptiness.stands(table), emptiness.stands(table)] == [is_empty, is_empty]  # type: ignore[arg-type]
    assert table.looks == 1


def test_a_table_that_something_may_be_in_is_never_taken_for_empty_again() -> None:
    table, emptiness = Table(0), Emptiness(ANY)
    assert emptiness.stands(table)  # type: ignore[arg-type]

    emptiness.end()

    assert not emptiness.stands(table)  # type: ignore[arg-type]
    assert table.looks == 1


def test_what_others_may_have_written_counts_before_the_first_look() -> None:
    table, emptiness = Table(0), Emptiness(ANY)

    emptiness.end()

    assert not emptiness.stands(table)  # type: ignore[arg-type]
    assert table.looks == 0
