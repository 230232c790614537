"""`answerable receipts show RECEIPT`."""

import json
from typing import Annotated, Any

import typer

from answerable.cli._errors import NotOnRecord
from answerable.cli._ids import RunArgument
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import say
from answerable.cli._tenant import own_receipt, tenant
from answerable.core import RunId
from answerable.ledger import ObjectErased, Reader, Receipt

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Receipts as they stand on the record.")


@command.command()
def show(
    receipt: Annotated[str, typer.Argument(metavar="RECEIPT", show_default=False)],
    envelope: Annotated[bool, typer.Option("--envelope", help="The signed envelope, exactly as exported.")] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Show one receipt: what was signed, and the texts behind its commitments."""
    reader = Reader.open(data)
    found = own_receipt(reader, receipt, data=data)
    if envelope:
        typer.echo(found.envelope)
        return
    texts = _texts(reader, found)
    value = {"digest": found.digest, "keyId": found.key_id, "predicate": found.predicate, **texts}
    lines = [
        f"{found.predicate['id']}  {found.phase}  {found.predicate['at']}",
        f"digest {found.digest}, signed by {found.key_id[:16]}…",
        json.dumps(found.predicate, indent=2, ensure_ascii=False),
    ]
    lines += [f"{name}: {json.dumps(text, ensure_ascii=False)}" for name, text in texts.items()]
    say(value, lines, as_json=as_json)


@command.command("list")
def list_receipts(
    run: RunArgument,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """List the receipts of a run, in order."""
    receipts = [each for each in Reader.open(data).receipts(run=RunId(run)) if each.predicate["tenant"] == tenant()]
    if not receipts:
        raise NotOnRecord(thing="run", name=run, data=str(data))
    said = [receipt.predicate for receipt in receipts]
    say(said, (_line(each) for each in said), as_json=as_json)


def _line(said: dict[str, Any]) -> str:
    action = said.get("action", {})
    what = " ".join(filter(None, [action.get("name", ""), action.get("target", "")]))
    status = said.get("effect", {}).get("status", "") or said.get("authority", {}).get("decision", "")
    return f"{said['seq']:>4}  {said['at'][:19]}  {said['phase']:<12} {status:<8} {what:<36} {said['id']}".rstrip()


def _texts(reader: Reader, receipt: Receipt) -> dict[str, Any]:
    try:
        texts = reader.text(receipt)
    except ObjectErased:
        return {"input": "erased", "output": "erased"}
    pairs = (("input", texts.input), ("output", texts.output))
    return {name: json.loads(text) for name, text in pairs if text is not None}
