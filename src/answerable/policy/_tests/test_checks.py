"""Policies checked and tested as files, and the support example's among them."""

from pathlib import Path

import pytest

from answerable.policy import PolicyInvalid, check_policies, run_policy_tests
from answerable.policy._tests.conftest import ALLOW, write_policies
from answerable.policy._tests.test_policies import EXAMPLE


@pytest.mark.requirement("SC-1")
def test_the_support_policies_do_what_their_table_says_and_every_one_is_tried() -> None:
    tests = run_policy_tests(EXAMPLE)

    assert [(test.name, test.problems) for test in tests.tests if not test.is_passed] == []
    assert (tests.is_passed, tests.untried) == (True, ())


def test_a_check_names_the_policies_or_what_is_wrong_with_them(tmp_path: Path) -> None:
    sound = check_policies(write_policies(tmp_path / "a"))
    broken = check_policies(write_policies(tmp_path / "b", "permit("))
    absent = check_policies(tmp_path / "c")

    assert (sound.is_valid, sound.authorize) == (True, ("allow",))
    assert not broken.is_valid
    assert "authorize.cedar" in broken.problem
    assert "no such directory" in absent.problem


def test_a_test_that_fails_says_what_was_expected_and_what_came(tmp_path: Path) -> None:
    write_policies(tmp_path, ALLOW + '@id("never") forbid(principal == Agent::"x", action, resource);')
    (tmp_path / "tests.toml").write_text(
        '[[test]]\nname = "n"\nagent = "a"\naction = "t"\nexpect = "hold"\nrules = ["other"]\n'
        'obligations = ["approve:role=lead"]\nerror = "refused.policy_denied"\n'
    )

    tests = run_policy_tests(tmp_path)

    assert not tests.is_passed
    assert len(tests.tests[0].problems) == 4
    assert tests.untried == ("never",)


@pytest.mark.parametrize(
    "table",
    [
        "",
        "test = 1",
        "[[test]]\nname = 'n'",
        "[[test]]\nname='n'\nagent='a'\naction='t'\nexpect='maybe'",
        "[[test]]\nname='n'\nagent='a'\naction='t'\nexpect='deny'\nverdict='deny'",
        "[[test]]\nname='n'\nagent='a'\naction='t'\nexpect='permit'\nobligations=['dance']",
        "[[test]]\nname='n'\nagent='a'\naction='t'\nexpect='permit'\ncontext={ammount_minor=1}",
        "[[",
    ],
)
def test_a_table_that_tests_nothing_is_refused(tmp_path: Path, table: str) -> None:
    write_policies(tmp_path)
    (tmp_path / "tests.toml").write_text(table)

    with pytest.raises(PolicyInvalid):
        run_policy_tests(tmp_path)
