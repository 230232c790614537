"""`answerable store show|copy|join`."""

from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import say
from answerable.ledger import Reader, copy_store, join_store, store_of

__all__ = ["command"]

command = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Where the record is kept: in a file, or in a shared database."
)
_URL = Annotated[str, typer.Argument(metavar="URL", show_default=False, help="`postgresql://host/database`.")]


@command.command()
def show(data: Data = DATA, as_json: AsJson = False) -> None:
    """Say where the record of the data directory is, and how much of it is in the log."""
    store, reader = store_of(data), Reader.open(data)
    logs = {tenant: reader.log_size(tenant) for tenant in reader.tenants()}
    value = {"store": store.address, "isShared": store.is_shared, "logs": logs}
    lines = [f"{store.address}{' (shared)' if store.is_shared else ''}"]
    say(value, [*lines, *(f"log of {tenant}: {size} entries" for tenant, size in logs.items())], as_json=as_json)


@command.command()
def copy(
    directory: Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="The data directory.")],
    url: _URL,
    as_json: AsJson = False,
) -> None:
    """Copy a record to an empty Postgres database, and go on there.

    Every receipt, text, proof and checkpoint comes along; the keys stay in the directory. No gate may run on it.
    """
    count = copy_store(directory, url)
    store = store_of(directory)
    say(
        {"receipts": count, "store": store.address},
        [f"{count} receipts copied to {store.address}; every log leads to its checkpoints",
         f"gates on {directory} go on there; the file in it is not looked at any more"],
        as_json=as_json,
    )  # fmt: skip


@command.command()
def join(
    directory: Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="A new data directory.")],
    like: Annotated[Path, typer.Option("--like", metavar="DIR", help="The data directory of another worker.")],
    log_key: Annotated[
        bool, typer.Option("--log-key", help="Copy the log's key too: this worker can then enter receipts in the log.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prepare the data directory of one more worker of a shared record.

    It gets the store's address and the master key, and a gate key of its own; move it to its machine.
    """
    join_store(directory, like, enters_log=log_key)
    store = store_of(directory)
    say(
        {"directory": str(directory), "store": store.address, "logKey": log_key},
        [f"{directory} is a worker's of {store.address}", "its `keys` are secrets: move them as such"],
        as_json=as_json,
    )
