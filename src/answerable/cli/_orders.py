"""What people do to a run: `answerable runs pause|resume|kill|resolve`. Each with a name and a reason."""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import typer

from answerable.cli._desk import json_value, write
from answerable.cli._errors import FileUnusable
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import say

__all__ = ["RunArgument", "command"]

command = typer.Typer(rich_markup_mode=None)

RunArgument = Annotated[str, typer.Argument(metavar="RUN", show_default=False)]
Name = Annotated[
    str, typer.Option("--as", metavar="NAME", envvar="ANSWERABLE_AS", help="Who you are.", show_default=False)
]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes on the record.", show_default=False)]


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
    shown = [_digest_of(file) for file in evidence or ()]
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


def _digest_of(file: Path) -> dict[str, str]:
    try:
        return {"kind": "file", "digest": "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()}
    except OSError as error:
        raise FileUnusable(file=str(file), reason=str(error.strerror)) from None
