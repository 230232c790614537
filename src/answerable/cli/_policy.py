"""`answerable policy check|test|replay`."""

from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import say
from answerable.core import RunId
from answerable.ledger import Reader
from answerable.policy import ReplayedDecision, check_policies, replay_decisions, run_policy_tests

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Check, test and replay policies.")

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Where the policies are.", file_okay=False)]
POLICIES = Path("policy")


@command.command()
def check(directory: Directory = POLICIES, as_json: AsJson = False) -> None:
    """Say whether the policies parse, fit the schema and ask only for what is enforced."""
    found = check_policies(directory)
    if found.is_valid:
        lines = [f"{found.where}: {len(found.authorize)} policies, {len(found.obligations)} obligations, all in order"]
    else:
        lines = [f"{found.where}: {found.problem}"]
    say({"isValid": found.is_valid, **_fields(found)}, lines, as_json=as_json)
    raise typer.Exit(0 if found.is_valid else 1)


@command.command("test")
def run_tests(
    directory: Directory = POLICIES,
    table: Annotated[Path | None, typer.Option("--table", help="Instead of `tests.toml` in DIR.")] = None,
    as_json: AsJson = False,
) -> None:
    """Decide each request of a table, and compare with what should come of it."""
    found = run_policy_tests(directory, table=table)
    lines = []
    for each in found.tests:
        lines.append(f"{'ok    ' if each.is_passed else 'FAILED'}  {each.name}")
        lines += [f"          {problem}" for problem in each.problems]
    failed = sum(not each.is_passed for each in found.tests)
    lines.append(f"{len(found.tests)} tests, {failed} failed")
    if found.untried:
        lines.append(f"no test touches: {', '.join(found.untried)}")
    value = {
        "digest": found.digest,
        "tests": [{"name": each.name, "passed": each.is_passed, "problems": each.problems} for each in found.tests],
        "untried": found.untried,
    }
    say(value, lines, as_json=as_json)
    raise typer.Exit(0 if found.is_passed else 1)


@command.command()
def replay(
    run: Annotated[str, typer.Argument(metavar="RUN", show_default=False)],
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Decide every action of a run again, from the requests and policies on the record.

    Exit 1: a decision comes out differently. Exit 3: one cannot be replayed, or there is none.
    """
    found = replay_decisions(Reader.open(data), RunId(run))
    same = sum(1 for each in found.decisions if each.is_replayable and not each.difference)
    lines = [_line(each) for each in found.decisions]
    lines.append(f"{same} of {len(found.decisions)} decisions come out the same")
    value = {
        "run": run,
        "isSame": found.is_same,
        "decisions": [
            {
                "receipt": each.receipt,
                "action": each.action,
                "recorded": each.recorded,
                "rules": each.rules,
                "refusedBy": each.refused_by,
                "difference": each.difference,
                "isReplayable": each.is_replayable,
            }
            for each in found.decisions
        ],
    }
    say(value, lines, as_json=as_json)
    if any(each.is_replayable and each.difference for each in found.decisions):
        raise typer.Exit(1)
    raise typer.Exit(0 if found.decisions and found.is_same else 3)


def _line(each: ReplayedDecision) -> str:
    mark = "same" if each.is_replayable and not each.difference else "DIFFERS" if each.is_replayable else "cannot say"
    because = each.difference or (f"refused by {each.refused_by}" if each.refused_by else ", ".join(each.rules))
    return f"{mark:<10} {each.recorded:<7} {each.action:<28} {each.receipt}  {because}"


def _fields(found: object) -> dict[str, object]:
    return {name: getattr(found, name) for name in ("where", "digest", "authorize", "obligations", "problem")}
