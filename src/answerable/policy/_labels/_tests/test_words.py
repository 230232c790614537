"""A value is the user's only if the user wrote it, whole."""

import pytest

from answerable.policy._labels._words import UserWords


def words(*texts: str) -> UserWords:
    said = UserWords()
    for text in texts:
        said.add(text)
    return said


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Write to Sarah.Connor@example.com.", "sarah.connor@example.com"),
        ("Add john@example.com, maria@example.com to it", "maria@example.com"),
        ("set the password to '1j1l-2k3j'", "1j1l-2k3j"),
        ("I moved: 1234 Elm  Street, New York", "1234 Elm Street"),
        ("pay GB29NWBK60161331926819", "GB29NWBK60161331926819"),
    ],
)
def test_what_the_user_wrote_is_the_users(text: str, value: str) -> None:
    assert words("Hello.", text).hold(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Write to mark.black@example.com", "black@example.com"),
        ("Write to black@example.com.evil.org", "black@example.com"),
        ("my new password", "new_password"),
        ("What do we do on June 13?", "13"),
        ("Look at https://example.com/files", "example.com"),
        ("", "anything"),
        ("something", ""),
    ],
)
def test_part_of_what_the_user_wrote_is_not(text: str, value: str) -> None:
    assert not words(text).hold(value)


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("Reschedule my Dental check-up", "Dental check-up"),
        ("add them to the grocery list", "grocery-list.xlsx"),
        ("open feedback.xlsx", "feedback.xlsx"),
        ("the file called 'notes'", "notes"),
    ],
)
def test_a_record_is_named_by_what_it_is_called(text: str, called: str) -> None:
    assert words(text).name(called)


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("Please pay the rent", "Please"),
        ("Please pay the rent", "rent"),
        ("Read the minutes of the meeting", "meeting minutes"),
        ("What do we do on June 13?", "13"),
    ],
)
def test_one_common_word_names_nothing(text: str, called: str) -> None:
    assert not words(text).name(called)
