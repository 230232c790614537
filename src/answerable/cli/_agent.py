"""`answerable agent key`: keys with which agents elsewhere reach the gate."""

import typer

from answerable.cli._access import key_commands

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Agents that exist elsewhere.")
command.add_typer(key_commands("agent"), name="key")
