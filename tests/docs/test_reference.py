"""The reference follows from the code."""

import re

from answerable.cli._main import COMMANDS
from tests.architecture import face
from tests.architecture.files import texts
from tests.docs import cli_page, config_page


def test_the_reference_has_every_command_as_it_is() -> None:
    assert cli_page.PAGE.read_text() == cli_page.page(), "run `make regenerate`"
    assert re.findall(r"(?m)^## answerable ([a-z]+)$", cli_page.page()) == list(COMMANDS)


def test_the_reference_has_every_key_of_the_configuration_file() -> None:
    assert config_page.PAGE.read_text() == config_page.page(), "run `make regenerate`"
    assert config_page.SCHEMA.read_text() == config_page.schema(), "run `make regenerate`"


def test_the_reference_shows_the_public_modules() -> None:
    shown = set(re.findall(r"(?m)^::: ([\w.]+)$", texts(".md")["docs/reference/python.md"]))

    assert {"answerable", "answerable_verify"} <= shown <= {*face.PUBLIC, "answerable"}
