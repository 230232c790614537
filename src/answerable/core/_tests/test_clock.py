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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-21T03:40:00Z",
        "2026-11-21 03:40:00.000000Z",
        "2026-11-21T03:40:00.000000+00:00",
        "2026-11-21T03:40:00.00000+1",
        "2026-13-21T03:40:00.000000Z",
    ],
)
def test_other_shapes_of_time_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


def test_a_time_without_a_zone_cannot_go_on_the_record() -> None:
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2026, 11, 21))  # noqa: DTZ001 - the mistake under test
