"""What people do to a run: `answerable runs pause|resume|kill|resolve|fork|retry|rollback`."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from answerable.cli._desk import digest_of, json_value, write
from answerable.cli._ids import RunArgument
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import say

__all__ = ["Name", "Why", "command"]

command = typer.Typer(rich_markup_mode=None)

Name = Annotated[
    str, typer.Option("--as", metavar="NAME", envvar="ANSWERABLE_AS", help="Who you are.", show_default=False)
]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes on the record.", show_default=False)]

Key = Annotated[str, typer.Option("--key", help="The same key gives the same run, however often it is asked for.")]


@command.command()
def pause(run: RunArgument, by: Name, reason: Why, data: Data = DATA, as_json: AsJson = False) -> None:
    """Have a run begin nothing more until it is resumed. Effects already dispatched are recorded."""
    _order("pause", run, by, reason, data, as_json=as_json)


@command.command()
def resume(run: RunArgument, by: Name, reason: Why, data: Data = DATA, as_json: AsJson = False) -> None:
    """Have a paused run go on where it was."""
    _order("resume", run, by, reason, data, as_json=as_json)


@command.command()
def kill(run: RunArgument, by: Name, reason: Why, data: Data = DATA, as_json: AsJson = False) -> None:
    """End a run: nothing more begins, what was dispatched is recorded, and it closes as killed."""
    _order("kill", run, by, reason, data, as_json=as_json)


@command.command()
def fork(
    run: RunArgument,
    by: Name,
    reason: Why,
    at: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="STEP",
            help="First to be done anew: number, step or receipt of `runs show`; else all.",
        ),
    ] = "",
    given: Annotated[
        str | None, typer.Option("--input", metavar="JSON", help="Another input, as JSON, `@FILE` or `-`.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="PROVIDER:ID", help="Another model in place of the agent's own.")
    ] = "",
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="DIR",
            help="Policies of its own, beside those in force: the narrower decides.",
            file_okay=False,
            exists=True,
        ),
    ] = None,
    key: Key = "",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Open a run that shares what had begun before a step of this one, and does the rest anew."""
    changed: dict[str, Any] = {"model": model} if model else {}
    changed.update({} if given is None else {"input": json_value("--input", given)})
    if policy is not None:
        from answerable.policy import PolicySet

        changed["policy"] = json.loads(PolicySet.load(policy).snapshot())
    said = write(data, lambda desk: desk.fork(run=run, at=at, by=by, reason=reason, changed=changed, key=key))
    say(said, [said["run"]], as_json=as_json)


@command.command()
def retry(run: RunArgument, by: Name, reason: Why, key: Key = "", data: Data = DATA, as_json: AsJson = False) -> None:
    """Try a run again that failed or was killed, from the step that it failed with, as a run of its own."""
    said = write(data, lambda desk: desk.retry(run=run, by=by, reason=reason, key=key))
    say(said, [said["run"]], as_json=as_json)


@command.command()
def rollback(
    run: RunArgument,
    by: Name,
    reason: Why,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="STEP",
            help="First to be undone: number, step or receipt of `runs show`; else all.",
        ),
    ] = "",
    partial: Annotated[
        bool, typer.Option("--partial", help="Undo what can be undone, even if something else cannot.")
    ] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Undo what a run did that has ended, the latest first, as a run of its own; each step takes the road."""
    said = write(data, lambda desk: desk.roll_back(run=run, to=to, by=by, reason=reason, partial=partial))
    say(said, [said["run"]], as_json=as_json)


@command.command()
def resolve(
    run: RunArgument,
    step: Annotated[str, typer.Argument(metavar="STEP", help="As `runs show` names it.", show_default=False)],
    happened: Annotated[
        bool,
        typer.Option("--happened/--did-not-happen", help="What you found out about the effect.", show_default=False),
    ],
    by: Name,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="How you know; it goes on the record.")],
    result: Annotated[str, typer.Option("--result", metavar="JSON", help="What the call returned.")] = "null",
    evidence: Annotated[
        list[Path] | None,
        typer.Option("--evidence", metavar="FILE", help="What shows it; its digest goes on the record."),
    ] = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Settle an effect in doubt: what was dispatched and never heard of."""
    value = json_value("--result", result)
    shown = [digest_of(file) for file in evidence or ()]
    said = write(
        data,
        lambda desk: desk.resolve(
            run=run, step=step, happened=happened, result=value, by=by, reason=reason, evidence=shown
        ),
    )
    say(said, [f"{run} {step}: {'happened' if happened else 'did not happen; it may be tried again'}"], as_json=as_json)


def _order(
    do: Literal["pause", "resume", "kill"], run: str, by: str, reason: str, data: Path, *, as_json: bool
) -> None:
    said = write(data, lambda desk: desk.order(do=do, run=run, by=by, reason=reason))
    say(said, [f"{run}: {said['state']}"], as_json=as_json)
