"""`answerable agent key|autonomy`: keys of agents elsewhere, and what agents may do by themselves."""

import typer

from answerable.cli._access import key_commands
from answerable.cli._autonomy import autonomy

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Keys of agents elsewhere; autonomy of all.")
command.add_typer(key_commands("agent"), name="key")
command.command()(autonomy)
