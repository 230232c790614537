"""`answerable policy check|test|explain|simulate|replay`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._application import ConfigFile
from answerable.cli._declared import declared_by
from answerable.cli._explained import explained, simulated
from answerable.cli._ids import RunArgument
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import say
from answerable.cli._since import moment_of
from answerable.cli._tenant import own_receipt, own_run, tenant
from answerable.core import RunId
from answerable.ledger import Reader
from answerable.policy import (
    PolicySet,
    ReplayedDecision,
    check_policies,
    explain,
    recount_facts,
    replay_decisions,
    run_policy_tests,
    simulate,
)
from answerable.standing import ClausesSoFar

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Check, test, explain and try policies.")

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Where the policies are.", file_okay=False)]
POLICIES = Path("policy")


@command.command()
def check(
    directory: Directory = POLICIES,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where something is doubtful, too.")] = False,
    app: Annotated[
        str, typer.Option("--app", metavar="PLACE", help="The application in Python, as `module:attribute`.")
    ] = "",
    config: ConfigFile = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Say whether the policies parse, fit the schema and ask only for what is enforced; and what is doubtful.

    Doubtful is a rule that can never decide anything or repeats another, an obligation for what nothing permits,
    a permit for every agent or every action, and one that is wider than any agent, group, role, mandate or budget
    that is declared: in the application, or in `answerable.toml` if it is here.
    """
    found = check_policies(directory, declared=declared_by(app, config, data))
    if found.is_valid:
        order = f"{len(found.lints)} to look at" if found.lints else "all in order"
        layered = f", layers for {len(found.tenants)} tenants" if found.tenants else ""
        counts = f"{len(found.authorize)} policies, {len(found.obligations)} obligations{layered}"
        lines = [f"{found.where}: {counts}, {order}"]
        lines += [f"  {each.kind:<11} {each.policy}: {each.problem}" for each in found.lints]
    else:
        lines = [f"{found.where}: {found.problem}"]
    say({"isValid": found.is_valid, **asdict(found)}, lines, as_json=as_json)
    raise typer.Exit(1 if not found.is_valid or (strict and found.lints) else 0)


@command.command("test")
def run_tests(
    directory: Directory = POLICIES,
    table: Annotated[Path | None, typer.Option("--table", help="Instead of `tests.toml` in DIR.")] = None,
    tenant: Annotated[
        str, typer.Option("--tenant", help="With this tenant's layers, by the tables in them.")
    ] = "default",
    as_json: AsJson = False,
) -> None:
    """Decide each request of a table, and compare with what should come of it."""
    found = run_policy_tests(directory, table=table, tenant=tenant)
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
    run: RunArgument,
    facts: Annotated[
        bool, typer.Option("--facts", help="Count the facts anew from the receipts before, too, and compare.")
    ] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Decide every action of a run again, from the requests and policies on the record.

    Exit 1: a decision comes out differently. Exit 3: one cannot be replayed, or there is none.
    """
    reader = Reader.open(data)
    own_run(reader, run, data=data)
    found = replay_decisions(reader, RunId(run), tenant=tenant())
    counted = recount_facts(reader, run, tenant=tenant(), clauses=ClausesSoFar(reader)) if facts else []
    moved = [each for each in counted if each.differences]
    same = sum(1 for each in found.decisions if each.is_replayable and not each.difference)
    lines = [_line(each) for each in found.decisions]
    lines.append(f"{same} of {len(found.decisions)} decisions come out the same")
    for each in moved:
        lines += [f"{each.receipt}  {name}: recorded {was}, counted {now}" for name, was, now in each.differences]
    if facts:
        lines.append(f"{len(counted) - len(moved)} of {len(counted)} were decided on the facts that the receipts give")
    if left := sorted({name for each in counted for name in each.as_recorded}):
        lines.append(f"taken as recorded, because no receipt tells: {', '.join(left)}")
    value = {
        "run": run,
        "isSame": found.is_same and not moved,
        "facts": [asdict(each) for each in counted],
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
    if moved or any(each.is_replayable and each.difference for each in found.decisions):
        raise typer.Exit(1)
    raise typer.Exit(0 if found.decisions and found.is_same else 3)


@command.command("explain")
def explain_receipt(
    receipt: Annotated[str, typer.Argument(metavar="RECEIPT", show_default=False)],
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Say why an action was permitted, held or denied, on which facts, and what would have changed it."""
    reader = Reader.open(data)
    own_receipt(reader, receipt, data=data)
    found = explain(reader, receipt, tenant=tenant())
    say(asdict(found), explained(found), as_json=as_json)


@command.command("simulate")
def simulate_policies(
    against: Annotated[Path, typer.Option("--against", metavar="DIR", help="The policies to try.", file_okay=False)],
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="From when on: `30d` ago, or a date.")] = "30d",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Say what other policies would have made of the decisions on record, and where they give more authority.

    Exit 1: something would have come out differently. Exit 3: nothing would, as far as it can be said.
    """
    of = tenant()
    policies, moment = PolicySet.load_all(against), moment_of(since)
    reader = Reader.open(data)
    held = policies.get(of, policies["default"])
    found = simulate(reader, held, against_of={}, tenant=of, since=moment, clauses=ClausesSoFar(reader))
    named = {"against": found.against, "since": moment, "counts": found.counts()}
    say(
        {**named, "decisions": [asdict(each) for each in found.differences]},
        simulated(found, since=moment),
        as_json=as_json,
    )
    told = [each for each in found.differences if each.kind != "same"]
    unsaid = found.count("cannot say")
    raise typer.Exit(1 if len(told) > unsaid else 3 if unsaid or not found.differences else 0)


def _line(each: ReplayedDecision) -> str:
    mark = "same" if each.is_replayable and not each.difference else "DIFFERS" if each.is_replayable else "cannot say"
    because = each.difference or (f"refused by {each.refused_by}" if each.refused_by else ", ".join(each.rules))
    return f"{mark:<10} {each.recorded:<7} {each.action:<28} {each.receipt}  {because}"
