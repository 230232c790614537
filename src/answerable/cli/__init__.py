"""The command line: `answerable COMMAND`. Each command's module is loaded when the command is used."""

from answerable.cli._errors import AppNotFound, FileUnusable, InputNotJson, NotOnRecord, WorkerStuck

__all__ = ["AppNotFound", "FileUnusable", "InputNotJson", "NotOnRecord", "WorkerStuck", "main"]


def main() -> None:
    """Run the command in `sys.argv`; ends the process with its exit code."""
    # Whoever imports this package to look at it, or asks for a completion, should not wait for the rest.
    from answerable.cli._main import run

    raise SystemExit(run())
