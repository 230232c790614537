"""Times on the record."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from answerable.core import format_time, parse_time


def test_a_time_survives_the_record() -> None:
    for moment in (
        datetime(2026, 11, 21, 3, 40, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 1, 1, 1, 0, 0, 1, tzinfo=timezone(timedelta(hours=2))),
    ):
        assert parse_time(format_time(moment)) == moment


def test_a_time_on_the_record_has_one_shape() -> None:
    assert format_time(datetime(2026, 11, 21, 3, 40, tzinfo=UTC)) == "2026-11-21T03:40:00.000000Z"


def test_a_time_without_a_zone_cannot_go_on_the_record() -> None:
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2026, 11, 21))  # noqa: DTZ001 - the mistake under test
