import pytest

from answerable_verify._der import NotDer, Tag, count, dotted, encoded, only, several, time, values_in, values_in_set


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_what_was_written_is_read_again(length: int) -> None:
    content = bytes(length)

    value = only(encoded(Tag.OCTETS, content), Tag.OCTETS)

    assert (value.content, value.whole) == (content, encoded(Tag.OCTETS, content))


@pytest.mark.parametrize(
    "data",
    [
        "04",
        "0401",
        "048100",
        "04817f" + "00" * 127,
        "0482007f" + "00" * 127,
        "0480000000",
        "0485000000000100",
        "1f0100",
    ],
    ids=["no-length", "cut", "long-0", "long-127", "longer-127", "without-end", "five-digits", "long-tag"],
)
def test_what_is_not_in_its_shortest_form_is_refused(data: str) -> None:
    with pytest.raises(NotDer):
        values_in(bytes.fromhex(data))


def test_a_value_too_many_too_few_or_of_another_type_is_refused() -> None:
    for data in ("", "0500", "04000400"):
        with pytest.raises(NotDer):
            only(bytes.fromhex(data), Tag.OCTETS)
    for data in ("0500", "05000400", "040005000500"):
        with pytest.raises(NotDer):
            several(bytes.fromhex(data), Tag.OCTETS, Tag.NULL)


def test_a_set_is_sorted() -> None:
    assert len(values_in_set(bytes.fromhex("020101020102"))) == 2
    with pytest.raises(NotDer):
        values_in_set(bytes.fromhex("020102020101"))


@pytest.mark.parametrize(
    ("content", "said"),
    [("2a864886f70d010702", "1.2.840.113549.1.7.2"), ("551d0f", "2.5.29.15"), ("00", "0.0"), ("8837", "2.999")],
)
def test_an_object_identifier_is_told_in_decimals(content: str, said: str) -> None:
    assert dotted(only(encoded(Tag.OID, bytes.fromhex(content)), Tag.OID)) == said


@pytest.mark.parametrize("content", ["", "2a80", "2a8001", "80"])
def test_an_object_identifier_that_breaks_off_or_has_leading_zeros_is_refused(content: str) -> None:
    with pytest.raises(NotDer):
        dotted(only(encoded(Tag.OID, bytes.fromhex(content)), Tag.OID))


@pytest.mark.parametrize(("content", "number"), [("00", 0), ("7f", 127), ("0080", 128), ("7fffffffffff", 2**47 - 1)])
def test_a_small_number_is_read(content: str, number: int) -> None:
    assert count(only(encoded(Tag.INTEGER, bytes.fromhex(content)), Tag.INTEGER)) == number


@pytest.mark.parametrize("content", ["", "80", "007f", "00000000000001", "01000000000000"])
def test_a_number_below_zero_too_large_or_with_leading_zeros_is_refused(content: str) -> None:
    with pytest.raises(NotDer):
        count(only(encoded(Tag.INTEGER, bytes.fromhex(content)), Tag.INTEGER))


@pytest.mark.parametrize(
    ("tag", "text", "said"),
    [
        (Tag.UTC_TIME, b"491231235959Z", "2049-12-31T23:59:59+00:00"),
        (Tag.UTC_TIME, b"500101000000Z", "1950-01-01T00:00:00+00:00"),
        (Tag.TIME, b"20261121040100Z", "2026-11-21T04:01:00+00:00"),
    ],
)
def test_a_time_is_read_in_whole_seconds(tag: int, text: bytes, said: str) -> None:
    assert time(only(encoded(tag, text), tag)).isoformat() == said


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        *(
            (Tag.TIME, text)
            for text in (b"20261121040100", b"20261121040100.5Z", b"20261121040100+0100", b"20260230000000Z")
        ),
        *(
            (Tag.TIME, text)
            for text in (b"20261121040160Z", b"00000101000000Z", b"2026112104010\xb2Z", b"261121040100Z")
        ),
        *((tag, b"20261121040100Z") for tag in (Tag.UTC_TIME, Tag.OCTETS)),
    ],
)
def test_a_time_of_another_form_is_refused(tag: int, text: bytes) -> None:
    with pytest.raises(NotDer):
        time(only(encoded(tag, text), tag))
