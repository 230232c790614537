"""Personal data and secrets are recognised by form and check, and lookalikes are left alone."""

import pytest

from answerable.policy._labels._recognise import Found, find_all, find_links


@pytest.mark.requirement("GV-5")
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("card", "4111 1111 1111 1111"),
        ("card", "5500-0000-0000-0004"),
        ("card", "378282246310005"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("iban", "GB29NWBK60161331926819"),
        ("iban", "NO9386011117947"),
        ("email", "a.b+c@mail.example.com"),
        ("phone", "+49 30 901820-0"),
        ("phone", "(415) 555-2671"),
        ("ip", "192.168.1.77"),
        ("ip", "2001:db8::1"),
        ("national-id", "536-22-1234"),
        ("national-id", "AB123456C"),
        ("national-id", "65 929 970 489"),
        ("national-id", "2 55 08 14 168 025 38"),
        ("national-id", "12345678Z"),
        ("national-id", "X1234567L"),
        ("national-id", "RSSMRA85T10A562S"),
        ("national-id", "44051401359"),
        ("national-id", "529.982.247-25"),
        ("key", "sk-proj-abcdefghijklmnopqrstu"),
        ("key", "AKIAIOSFODNN7EXAMPLE"),
        ("key", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ],
)
def test_it_is_recognised_in_the_middle_of_a_text(kind: str, value: str) -> None:
    text = f"before {value}, and after"

    assert find_all(text) == [Found(7, 7 + len(value), kind, value)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("your security code is 463820.", "code", "463820"),
        ("PIN: 4711", "code", "4711"),
        ("password: hunter2222", "key", "hunter2222"),
        ("API_KEY='abcd1234'", "key", "abcd1234"),
        ("BSN: 123456782", "national-id", "123456782"),
    ],
)
def test_what_only_its_surroundings_tell_is_recognised_by_them(text: str, kind: str, value: str) -> None:
    assert [(each.kind, each.value) for each in find_all(text)] == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112",
        "account DE89370400440532013001",
        "order 1001 of 2024-05-15 at 12:30",
        "version 1.2.3.4.5",
        "999.1.1.1",
        "ssn 000-12-3456",
        "tax 65 929 970 480",
        "44051401358",
        "12345678A",
        "the code of conduct has 12 pages",
        "someone@localhost",
    ],
)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert find_all(text) == []


def test_links_are_found_without_what_follows_them() -> None:
    assert find_links("see https://x.example.com/a?b=c. Or bit.ly/sUf7tOJ, or www.example.org!") == [
        "https://x.example.com/a?b=c",
        "www.example.org",
        "bit.ly/sUf7tOJ",
    ]
