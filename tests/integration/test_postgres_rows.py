"""Many rows at once into a real Postgres: they come back as they were, and all of them go in or none."""

import pytest
import sqlalchemy as sa

from answerable.ledger import Prepared, metadata
from answerable.ledger._drivers._failures import TakenError
from answerable.ledger._drivers._postgres import PostgresConnection, PostgresStore
from answerable.ledger._drivers._postgres_columns import in_columns
from answerable.policy import FactsProjection
from tests.postgres import Databases

pytestmark = pytest.mark.requirement("RT-3")

_RECEIPTS = metadata.tables["receipts"]
_PUT = Prepared(sa.insert(_RECEIPTS))
_EFFECTS = next(table for table in FactsProjection().tables if table.name == "policy_open_effects")
_PUT_EFFECT = Prepared(_EFFECTS.insert())
_HOW_STORED = Prepared(sa.text("SELECT reloptions::text FROM pg_class WHERE relname = 'receipts'"))
_ODD = ["", "ä€😀", "a,b{}\"'\\", "NULL", " "]


def _receipt(position: int, *, once: str | None = None, body: bytes = b"{}") -> tuple[object, ...]:
    said = _ODD[position % len(_ODD)]
    place = (position, "default", position, f"run_{position}", position, f"rcpt_{position}", once)
    return (*place, b"\x00" * 32, body, bytes(range(64)), 1, None if position % 2 else b"", said or None)


@pytest.fixture
def connection(postgres: Databases) -> PostgresConnection:
    return PostgresStore(postgres.new()).connect(writable=True)


def _stored(connection: PostgresConnection) -> list[tuple[object, ...]]:
    return list(connection.rows(Prepared(sa.select(_RECEIPTS).order_by(_RECEIPTS.c.position))))


def test_rows_that_go_in_together_come_back_as_they_were(connection: PostgresConnection) -> None:
    rows = [_receipt(position, once=f"o:{position}" if position % 3 else None) for position in range(1, 60)]

    with connection.transaction():
        connection.insert(_PUT, rows)

    assert _stored(connection) == rows


def test_truth_values_and_whole_numbers_of_64_bits_go_in_as_columns(connection: PostgresConnection) -> None:
    rows = [("run", f"step-{n}", "default", "", "day", amount, n == 1) for n, amount in enumerate((-(2**53), 2**53))]

    connection.insert(_PUT_EFFECT, rows)

    stored = connection.rows(Prepared(sa.select(_EFFECTS).order_by(_EFFECTS.c.step)))
    assert list(stored) == rows


def test_one_row_whose_name_is_taken_keeps_all_of_them_out(connection: PostgresConnection) -> None:
    with connection.transaction():
        connection.insert(_PUT, [_receipt(1, once="o:1")])

    with pytest.raises(TakenError), connection.transaction():
        connection.insert(_PUT, [_receipt(2), _receipt(3, once="o:1")])

    assert [row[0] for row in _stored(connection)] == [1]


def test_no_rows_at_all_are_no_statement(connection: PostgresConnection) -> None:
    connection.insert(_PUT, [])

    assert _stored(connection) == []


def test_a_receipt_a_little_over_two_kilobytes_lies_in_its_row_as_it_is(connection: PostgresConnection) -> None:
    with connection.transaction():
        connection.insert(_PUT, [_receipt(1, body=b'{"a":"b"}' * 300)])

    size = Prepared(sa.text("SELECT pg_column_size(body) FROM receipts"))
    assert connection.rows(size)[0][0] >= 2_700
    assert "toast_tuple_target=8160" in connection.rows(_HOW_STORED)[0][0]


def test_a_statement_with_a_column_that_has_no_array_goes_row_by_row() -> None:
    odd = sa.Table("odd", sa.MetaData(), sa.Column("at", sa.Float))

    assert in_columns(Prepared(sa.insert(odd))) is None
    assert in_columns(_PUT) is not None
