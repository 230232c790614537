"""`docs/reference/cli.md`, from the commands themselves."""

import importlib
from typing import Any

import typer.main

from answerable.cli._main import COMMANDS
from tests.architecture.files import ROOT

__all__ = ["PAGE", "page"]

PAGE = ROOT / "docs" / "reference" / "cli.md"
_HEAD = """\
# Command line

`answerable COMMAND`. Every command has `--help`, and nearly all have `--json`. `--data DIR` (or `ANSWERABLE_DATA`)
names the data directory, `.answerable/data` by default. While a process owns the directory, commands that write reach
it through its socket, which only the same user can open; otherwise they take the free lock for a moment.

| exit code | meaning |
|---|---|
| 0 | done, or the check holds |
| 1 | refused, or the check failed |
| 2 | called wrongly, or what was written down is wrong |
| 3 | inconclusive, or not trusted |
| 4 | evidence does not verify, or the record does not hold what it should |

Errors go to standard error: what happened, why, and what to do. Their codes are in [Errors](errors.md). Names and roles
given with `--as` and `--role` (`ANSWERABLE_AS`, `ANSWERABLE_ROLES`) are believed: see [Limits](../limits.md).

<!-- Written by `make regenerate` from the commands. -->
"""
_COMMON = {"data", "as_json", "help", "install_completion", "show_completion"}


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name, said in COMMANDS.items():
        module = importlib.import_module(f"answerable.cli._{name}")
        command = typer.main.get_command(module.command)
        if hasattr(command, "commands"):
            parts.append(f"## answerable {name}\n\n{said}\n")
            parts += [_of(f"answerable {name} {sub}", each, "###") for sub, each in _subcommands(command).items()]
        else:
            parts.append(_of(f"answerable {name}", command, "##"))
    return "\n".join(parts)


def _subcommands(command: Any) -> dict[str, Any]:
    found: dict[str, Any] = command.commands
    return found


def _of(words: str, command: Any, level: str) -> str:
    shown = [parameter for parameter in command.params if parameter.name not in _COMMON and not _is_hidden(parameter)]
    arguments = [parameter for parameter in shown if parameter.param_type_name == "argument"]
    options = [parameter for parameter in shown if parameter.param_type_name == "option"]
    usage = " ".join([words, *(_metavar(each) for each in arguments)]) + (" [OPTIONS]" if options else "")
    lines = [f"{level} {words}", "", "```text", usage, "```", "", " ".join((command.help or "").split())]
    rows = [f"| `{_names(each)}` | {_cell(each)} |" for each in [*arguments, *options] if _cell(each)]
    if rows:
        lines += ["", "| | |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _is_hidden(parameter: Any) -> bool:
    return bool(getattr(parameter, "hidden", False))


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _metavar(parameter)
    names = "/".join([*parameter.opts, *parameter.secondary_opts])
    return names if parameter.is_flag else f"{names} {_metavar(parameter)}"


def _cell(parameter: Any) -> str:
    said = str(getattr(parameter, "help", "") or "").replace("|", "\\|")
    return f"{said} Required." if parameter.required and parameter.param_type_name == "option" else said
