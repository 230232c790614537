"""A specification is read exactly, or refused with the place where it is wrong."""

import pickle
import re
from pathlib import Path

import pytest

from answerable.core import AnswerableError, ConfigError, Money, error_from_json
from answerable.standing import ArtefactUnknown, SpecInvalid, SpecsMissing
from answerable.standing._checks import (
    ApprovalRequired,
    AtMost,
    Check,
    Every,
    Following,
    Never,
    ObservedBy,
    Preceding,
    RuleCited,
    Selector,
    SumAtMost,
    TargetNamed,
)
from answerable.standing._markdown import parse_document

FRONT = '+++\nid = "money"\ntitle = "Money"\nowner = "cfo"\n[governs]\nagents = ["*"]\n+++\n'
GUIDE = Path(__file__).parents[4] / "docs" / "guides" / "write-a-spec.md"


def with_check(block: str) -> str:
    return f"{FRONT}\n## PAY-1 A clause\n\nProse.\n\n```check\n{block}\n```\n"


def check_of(block: str) -> Check:
    return parse_document(with_check(block), file="money.md").clauses[0].checks[0]


def test_a_document_has_its_front_matter_clauses_and_prose() -> None:
    text = (
        f"{FRONT}# Money\n\nAbout.\n\n## Background\n\nNot a clause.\n\n"
        "## PAY-1 First\n\nWhy.\n\n### Details\n\nMore.\n\n"
        "## PAY-2 Second\n\n```toml\n## NOT-1 in a block\n```\n"
    )

    document = parse_document(text, file="money.md")

    assert (document.id, document.owner, document.governs.agents) == ("money", "cfo", ("*",))
    assert [(clause.id, clause.title, clause.line) for clause in document.clauses] == [
        ("PAY-1", "First", 16),
        ("PAY-2", "Second", 24),
    ]
    assert document.clauses[0].text == "Why.\n\n### Details\n\nMore."


def test_a_clause_may_have_several_checks_or_none() -> None:
    never = '```check\nnever = { phase = "denied" }\n```\n'

    clauses = parse_document(f"{FRONT}## PAY-1 Both\n{never}{never}## PAY-2 None\n", file="m.md").clauses

    assert [len(clause.checks) for clause in clauses] == [2, 0]


@pytest.mark.parametrize(
    ("block", "check"),
    [
        (
            'never = { phase = "outcome", name = ["a.*", "b"], status = "failed", amount_up_to = "5 EUR" }',
            Never(
                Selector(phase="outcome", name=("a.*", "b"), status=("failed",), amount_up_to=Money(500, "EUR")),
            ),
        ),
        (
            'at_most = 3\nof = { phase = "denied" }\nper = "initiator"',
            AtMost(of=Selector(phase="denied"), n=3, per="initiator", within="run"),
        ),
        (
            'sum_at_most = "100 JPY"\nof = { phase = "intent" }\nwithin = "record"',
            SumAtMost(of=Selector(phase="intent"), amount=Money(100, "JPY"), within="record"),
        ),
        (
            'for = { phase = "outcome" }\n[requires]\napproval = { role = "r", n = 2 }\ntarget = "named"\n'
            'rule = "p-*"\nobserved_by = ["gate"]\npreceded_by = { phase = "signal" }\n'
            'followed_by = { phase = "outcome", name = "x", same = "step" }',
            Every(
                Selector(phase="outcome"),
                (
                    ApprovalRequired(role="r", n=2),
                    TargetNamed(),
                    RuleCited(("p-*",)),
                    ObservedBy(("gate",)),
                    Preceding(of=Selector(phase="signal")),
                    Following(of=Selector(phase="outcome", name=("x",)), same="step"),
                ),
            ),
        ),
    ],
)
def test_each_form_is_read(block: str, check: Check) -> None:
    assert check_of(block) == check


@pytest.mark.parametrize(
    ("block", "line", "found"),
    [
        ("", 13, "no form"),
        ('never = { phase = "denied" }\nat_most = 1', 13, "2 forms"),
        ("always = true", 13, "no form"),
        ('never = { phase = "denied" }\nper = "target"', 15, "`per` does not apply"),
        ('never = { phase = "sometimes" }', 14, "phase 'sometimes'"),
        ('never = { name = "x" }', 14, "without a phase"),
        ('never = { phase = "intent", status = "ok" }', 14, "`status` does not apply to `intent` receipts"),
        ('never = { phase = "signal", name = "x" }', 14, "`name` does not apply to `signal` receipts"),
        ('never = { phase = "intent", tool = "x" }', 14, "`tool` does not apply"),
        ('never = { phase = "intent", effect = "writes" }', 14, "effect 'writes'"),
        ('never = { phase = "intent", name = [] }', 14, "name []"),
        ('never = { phase = "intent", name = "" }', 14, "name ''"),
        ('never = { phase = "intent", amount_over = 200.0 }', 14, "the amount 200.0"),
        ('never = { phase = "intent", amount_over = "200" }', 14, "the amount '200'"),
        ('never = { phase = "intent", amount_over = "1.001 EUR" }', 14, "the amount '1.001 EUR'"),
        ('never = { phase = "intent", amount_over = "NaN EUR" }', 14, "the amount 'NaN EUR'"),
        ('never = { phase = "intent", amount_over = "Infinity EUR" }', 14, "the amount 'Infinity EUR'"),
        ('never = { phase = "intent", amount_over = "-1 EUR" }', 14, "negative"),
        ("at_most = 1", 14, "`at_most` without `of`"),
        ('at_most = true\nof = { phase = "intent" }', 14, "at_most True"),
        ('at_most = -1\nof = { phase = "intent" }', 14, "at_most -1"),
        ('at_most = 1\nof = { phase = "intent" }\nwithin = "week"', 16, "within 'week'"),
        ('sum_at_most = "1 EUR"\nof = { phase = "signal" }', 15, "a sum over `signal` receipts"),
        ('for = { phase = "intent" }', 13, "`requires` is missing"),
        ('for = { phase = "intent" }\nrequires = {}', 15, "nothing required"),
        ('for = { phase = "intent" }\nrequires.luck = 1', 15, "the requirement `luck`"),
        ('for = { phase = "intent" }\nrequires.approval = {}', 15, "an approval without a role"),
        ('for = { phase = "intent" }\nrequires.approval = { role = "r", n = 0 }', 15, "n 0"),
        (
            'for = { phase = "intent" }\nrequires.approval = { role = "r", after = "intent" }',
            15,
            "`after` does not apply",
        ),
        ('for = { phase = "intent" }\nrequires.approval = { role = "r", other_than = "me" }', 15, "other_than 'me'"),
        ('for = { phase = "intent" }\nrequires.target = "order:1"', 15, "target 'order:1'"),
        ('for = { phase = "intent" }\nrequires.observed_by = "gate"', 15, "`observed_by` required of `intent`"),
        ('for = { phase = "outcome" }\nrequires.observed_by = "the agent"', 15, "observer 'the agent'"),
        ('for = { phase = "signal" }\nrequires.target = "named"', 15, "`target` required of `signal`"),
        ('for = { phase = "intent" }\nrequires.followed_by = { phase = "outcome", same = "day" }', 15, "same 'day'"),
        ('never = { phase = "denied" }\nnever = 1', 15, "not TOML"),
        ("never = {", 14, "not TOML"),
    ],
)
def test_what_is_not_in_the_grammar_is_refused_with_its_line(block: str, line: int, found: str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        check_of(block)

    assert (refused.value.file, refused.value.clause) == ("money.md", "PAY-1")
    assert found in refused.value.found
    assert refused.value.line == line


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("", 1, "no front matter"),
        ("# Money\n", 1, "no front matter"),
        ('+++\nid = "x"\n', 1, "without an end"),
        (FRONT.replace('owner = "cfo"\n', ""), 1, "no `owner`"),
        (FRONT.replace('"money"', '"My Money"'), 2, "the id `My Money`"),
        (FRONT.replace('title = "Money"', "title = "), 3, "not TOML"),
        (FRONT.replace("agents", "people"), 6, "`governs.people`"),
        (FRONT.replace('["*"]', '"*"'), 6, "`governs.agents`"),
        (FRONT.replace('owner = "cfo"', 'owner = "cfo"\nstatus = "draft"'), 5, "`status`"),
        (FRONT + "# Only prose\n", 8, "no clause"),
        (FRONT + "## PAY-1\n", 8, "no title"),
        (FRONT + "### PAY-1 Too deep\n", 8, "a clause under `###`"),
        (FRONT + "## PAY-1 One\n## PAY-1 Again\n", 9, "the id of line 8 again"),
        (FRONT + "## Pay-1 Typo\n```check\n```\n", 9, "outside a clause"),
        (FRONT + "## PAY-1 One\n```check\nat_most = 1\n", 9, "a block that never ends"),
    ],
)
def test_a_document_that_is_not_one_is_refused_with_its_line(text: str, line: int, found: str) -> None:
    with pytest.raises(SpecInvalid, match=re.escape(f"line {line} ")) as refused:
        parse_document(text, file="money.md")

    assert found in refused.value.found


def test_every_check_in_the_guide_is_in_the_grammar() -> None:
    blocks = re.findall(r"^```check\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)

    assert len(blocks) >= 6
    for block in blocks:
        check_of(block)


@pytest.mark.parametrize(
    "error",
    [
        SpecInvalid(file="a.md", line=3, clause="A-1", found="no form", expected="write one"),
        SpecsMissing(directory="specs"),
        ArtefactUnknown(tenant="default", asked="order:1", near="nothing comes near it"),
    ],
)
def test_errors_say_what_to_do_and_survive_the_journey(error: AnswerableError) -> None:
    assert error_from_json(error.to_json()).message == error.message
    assert pickle.loads(pickle.dumps(error)).message == error.message
    assert error.code in ("config.spec_invalid", "config.specs_missing", "evidence.artefact_unknown")


def test_a_misread_specification_is_a_configuration_error() -> None:
    assert issubclass(SpecInvalid, ConfigError)
    assert issubclass(SpecsMissing, ConfigError)
