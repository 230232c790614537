"""`answerable log …`: the transparency log behind the receipts."""

import asyncio
import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from answerable.cli._errors import NotOnRecord
from answerable.cli._options import DATA, AsJson, By, Data, Reason
from answerable.cli._say import say
from answerable.core import TenantId
from answerable.ledger import (
    WIDTH,
    Head,
    LogFolder,
    Reader,
    RecordTiles,
    Tree,
    consistency_proof,
    log_folder,
    log_vkey,
    monitor_secret,
    read_head,
    receipt_lines,
    stand_still,
    tile_path,
    tlog_proof,
)
from answerable.witness import publishing, read_log_config

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="The log of all receipts, and proofs from it.")

Tenant = Annotated[str, typer.Option("--tenant", help="Whose log; `_system` is that of the gate's keys.")]


@command.command()
def show(data: Data = DATA, as_json: AsJson = False) -> None:
    """Show every log: its origin, its verifier key, how long it is, and who signed for it."""
    with contextlib.closing(Reader.open(data)) as reader:
        found = [_shown(reader, tenant) for tenant in reader.tenants()]
    say(found, (line for each in found for line in _lines(each)), as_json=as_json)


@command.command()
def publish(data: Data = DATA, as_json: AsJson = False) -> None:
    """Publish the logs once, and ask those whom `log.toml` names to sign. `answerable serve` does it all the time.

    Exit 1: somebody did not sign. Who has seen more than the record holds keeps it from being added to.
    """

    async def once() -> list[dict[str, Any]]:
        async with publishing(data, read_log_config(data)) as publisher:
            await publisher.publish()
            if publisher.behind is not None:
                stand_still(data, publisher.behind)
        with contextlib.closing(Reader.open(data)) as reader:
            return [_shown(reader, tenant) for tenant in reader.tenants()]

    found = asyncio.run(once())
    say(found, (line for each in found for line in _lines(each)), as_json=as_json)
    raise typer.Exit(1 if any(each["published"].get("troubles") for each in found) else 0)


@command.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, show_default=False)],
    receipts: Annotated[bool, typer.Option("--receipts", help="With the receipts, for a monitor.")] = False,
    tenant: Tenant = "default",
    data: Data = DATA,
) -> None:
    """Write a log as a folder of files that any web server can serve; done again, it continues."""
    with contextlib.closing(Reader.open(data)) as reader:
        folder, name = LogFolder(out), TenantId(tenant)
        head = folder.publish(reader, name)
        if head is None:
            raise NotOnRecord(thing="log", name=tenant, data=str(data))
        if cosigned := log_folder(data, name).checkpoint:
            folder.show(cosigned)
        if receipts:
            for index in range(-(-head.size // WIDTH)):
                width = min(WIDTH, head.size - index * WIDTH)
                path = tile_path("entries", index, width).replace("tile/entries", "receipts")
                folder.put(path, receipt_lines(reader, name, index, width))
    typer.echo(f"{out}: {head.origin}, {head.size} entries")


@command.command()
def proof(
    receipt: Annotated[str, typer.Argument(metavar="RECEIPT", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", help="Instead of standard output.")] = None,
    data: Data = DATA,
) -> None:
    """Prove that one receipt is in the log: a C2SP tlog-proof, which carries the receipt.

    `answerable verify FILE.tlog-proof --trust trust.toml` checks it.
    """
    with contextlib.closing(Reader.open(data)) as reader:
        found = reader.find(receipt)
        if found is None:
            raise NotOnRecord(thing="receipt", name=receipt, data=str(data))
        tenant, leaf = TenantId(found.predicate["tenant"]), reader.leaf(found)
        note = log_folder(data, tenant).best(leaf + 1) or reader.checkpoint(tenant)
        tree = Tree(RecordTiles(reader, tenant, log_folder(data, tenant)), read_head(note).size)
        text = tlog_proof(tree, leaf, note, extra=found.envelope)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, "utf-8")
    typer.echo(str(out))


@command.command()
def consistency(
    old: Annotated[int, typer.Argument(metavar="OLD", min=0, help="The older tree's size.", show_default=False)],
    new: Annotated[int | None, typer.Argument(metavar="NEW", min=0, help="The newer one's; the latest.")] = None,
    tenant: Tenant = "default",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Prove that the log of an earlier size is the beginning of a later one (RFC 6962 §2.1.2), a hash a line."""
    with contextlib.closing(Reader.open(data)) as reader:
        size = reader.log_size(TenantId(tenant))
        end = size if new is None else new
        if not old <= end <= size:
            raise NotOnRecord(thing="log of size", name=str(max(old, end)), data=str(data))
        tree = Tree(RecordTiles(reader, TenantId(tenant), log_folder(data, TenantId(tenant))), end)
        hashes = [base64.b64encode(node).decode() for node in consistency_proof(tree, old)]
        roots = {name: base64.b64encode(tree.range_hash(0, at)).decode() for name, at in (("old", old), ("new", end))}
    say({"old": old, "new": end, "roots": roots, "proof": hashes}, hashes, as_json=as_json)


@command.command("continue")
def go_on(
    nothing_lost: Annotated[
        bool,
        typer.Option("--nothing-lost", help="No receipt was written after what is here: the logs go on as they are."),
    ] = False,
    after_gap: Annotated[
        bool,
        typer.Option(
            "--after-gap", help="Some may be lost: the logs go on under new origins, and open runs are paused."
        ),
    ] = False,
    by: By = "",
    reason: Reason = "",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Say how a record goes on that was restored, or of which somebody has seen more than it holds.

    Until then nothing is written to it. Whoever watches its logs is asked before `--nothing-lost` is believed.
    """
    if nothing_lost == after_gap or not by or not reason:
        raise typer.BadParameter("say either `--nothing-lost` or `--after-gap`, who you are (`--as`) and a reason")
    # Only this needs the whole application: the other commands should answer at once.
    from answerable.app import continue_log

    done = asyncio.run(continue_log(data, is_after_gap=after_gap, by=by, reason=reason))
    lines = [f"goes on as {origin}" for origin in done.origins]
    if done.paused:
        lines.append(f"{len(done.paused)} open runs are paused, because they may have done more than is on the record:")
        lines += [f"  answerable runs resume {run}" for run in done.paused]
    said = {"afterGap": done.is_after_gap, "origins": list(done.origins), "paused": list(done.paused)}
    say(said, lines, as_json=as_json)


@command.command()
def secret(data: Data = DATA) -> None:
    """Print the secret that lets a monitor read receipts from `answerable serve`; made on first use."""
    Reader.open(data).close()
    typer.echo(monitor_secret(data))


def _shown(reader: Reader, tenant: TenantId) -> dict[str, Any]:
    origin, public = reader.log_key(tenant)
    head: Head = reader.head(tenant)
    status = log_folder(reader.directory, tenant).path / "status.json"
    return {
        "tenant": tenant,
        "origin": origin,
        "vkey": log_vkey(origin, public),
        "size": head.size,
        "root": base64.b64encode(head.root).decode(),
        "published": json.loads(status.read_text("utf-8")) if status.exists() else {},
    }


def _lines(said: dict[str, Any]) -> Iterator[str]:
    yield f"{said['tenant']}: {said['size']} entries, root hash {said['root']}"
    yield f"  verifier key {said['vkey']}"
    published = said["published"]
    if not published:
        yield "  not published yet: `answerable serve` or `answerable log publish` does"
        return
    yield f"  published {published['size']} entries at {published['at'][:19]}"
    for who in published["cosigned"]:
        yield f"  cosigned by {who}"
    for who in published["stamped"]:
        yield f"  stamped by {who}"
    for who, problem in published["troubles"].items():
        yield f"  NOT signed by {who}: {problem}"
