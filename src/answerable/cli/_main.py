"""From words to a command, and from errors to exit codes.

Exit codes: 0 ok, 1 refused or failed check, 2 usage, 3 inconclusive or untrusted, 4 evidence does not verify.
"""

import importlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from answerable.cli._errors import FileUnusable
from answerable.cli._tenant import chosen
from answerable.core import AnswerableError, ConfigError, EvidenceError

__all__ = ["COMMANDS", "run"]

COMMANDS = {
    "init": "Write the files a governed agent starts from.",
    "serve": "Serve agents that exist elsewhere, every call governed.",
    "connect": "Print the lines to change in an agent that exists.",
    "agent": "Keys for agents elsewhere; what agents may do by themselves.",
    "person": "Give people keys to decide over HTTP, and revoke them.",
    "keys": "List the keys that sign, rotate and retire them.",
    "credentials": "Keep the gate's own credentials: set, list, remove.",
    "run": "Run an agent: `answerable run module:app`.",
    "runs": "List, show, signal and control runs: pause, kill, fork, undo.",
    "queues": "See how many runs go on, begin and wait, and the limits.",
    "schedules": "List what starts by the clock; pause and resume it.",
    "budgets": "See what is spent, reserved and left of each budget.",
    "costs": "See what was used: by agent, run, model, mandate, customer.",
    "approvals": "See what waits for a person, and decide it.",
    "labels": "See what labels a run carries, and drop one.",
    "receipts": "Show a receipt in full.",
    "evidence": "Export runs as evidence for others; erase what must go.",
    "log": "Publish the log of all receipts, and prove things from it.",
    "witness": "Witness logs: sign that they only grow.",
    "monitor": "Follow logs elsewhere, and check every receipt.",
    "verify": "Verify an evidence bundle, offline.",
    "why": "From a receipt or order back to who let it happen, and why.",
    "tools": "List an application's tools: effects and arguments.",
    "policy": "Check, test, explain and try policies on past decisions.",
    "spec": "Hold runs against the specifications that govern them.",
    "kill": "Stop a run, an agent, a tool or everything; lift a stop.",
    "store": "Move the record to a database that several gates share.",
    "retention": "Show how long texts are kept, and drop what is due.",
    "backup": "Make a backup of the record, while a gate runs.",
    "restore": "Make a data directory of a backup.",
    "rebuild": "Make every table anew from the receipts, and compare.",
    "doctor": "Look whether everything here is in order.",
    "demo": "See an agent governed, killed, resumed and verified.",
}
"""Each command is `command` in `answerable.cli._<name>`; this line is what the overview says of it."""

_OF_THE_WHOLE = ("install_completion", "show_completion")


class _Commands(TyperGroup):
    """Shows all commands, loads the one that is used."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, said in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=said, rich_markup_mode=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, in place of the line that stood for it."""
        if args and args[0] in COMMANDS:
            module = importlib.import_module(f"answerable.cli._{args[0]}")
            loaded = typer.main.get_command(module.command)
            # Every command by itself would offer to install completion; for the whole, the overview does.
            loaded.params = [one for one in loaded.params if one.name not in _OF_THE_WHOLE]
            self.commands[args[0]] = loaded
        return super().resolve_command(ctx, args)


_answerable = typer.Typer(
    cls=_Commands, name="answerable", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            found = version("answerable")
        except PackageNotFoundError:
            found = "source tree"
        typer.echo(f"answerable {found}")
        raise typer.Exit


@_answerable.callback()
def _options(
    _: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Say which version this is."
    ),
    tenant: str = typer.Option(
        "default", "--tenant", metavar="NAME", envvar="ANSWERABLE_TENANT", help="Whose record the command is about."
    ),
) -> None:
    """One gate for every agent action: decided by policy, survives crashes, provable to outsiders."""
    chosen.set(tenant)


def run(arguments: Sequence[str] | None = None) -> int:
    """Do what the words ask for; the exit code comes back. An error is told, never dumped."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        typer.main.get_command(_answerable)(words, prog_name="answerable")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except AnswerableError as error:
        _tell(error, as_json="--json" in words)
        return _exit_code(error)
    except BrokenPipeError:  # the reader (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.filename is None:
            raise
        _tell(FileUnusable(file=str(error.filename), reason=str(error.strerror)), as_json="--json" in words)
        return 2
    return 0


def _tell(error: AnswerableError, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"error": error.to_json()}), err=True)
        return
    said = {field.name: getattr(error, field.name) for field in fields(error)}
    what, why, fix = (template.format_map(said) for template in (error.what, error.why, error.fix))
    typer.echo(f"answerable: {what}", err=True)
    for label, line in (("why", why), ("fix", fix)):
        if line:
            typer.echo(f"  {label}: {line}", err=True)


def _exit_code(error: AnswerableError) -> int:
    if isinstance(error, ConfigError):
        return 2
    return 4 if isinstance(error, EvidenceError) else 1
