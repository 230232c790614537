"""`answerable costs`."""

from typing import Annotated

import typer

from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import columns, say
from answerable.cli._since import moment_of
from answerable.cli._tenant import tenant
from answerable.ledger import Reader
from answerable.telemetry import Grouping, Metered, metered

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)


@command.command()
def costs(
    by: Annotated[Grouping, typer.Option("--by", help="What makes a row.")] = "agent",
    customers: Annotated[
        list[str] | None,
        typer.Option(
            "--customer",
            metavar="TYPE:ID",
            help="Only runs whose data concern them (`customer:c-7`); may be given more than once.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="From when on: `30d` ago, or a date.")] = "30d",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """See what was used: calls, tokens, cost, money that tools moved, and how long calls took.

    Counted from the receipts, so it says the same as the evidence. Customers are those whom a run was said to concern
    (`answerable run --subject`); the record has a pseudonym of each, and so has this.
    """
    reader = Reader.open(data)
    of, moment = tenant(), moment_of(since)
    wanted = [reader.pseudonym(of, name) for name in customers or ()]
    own = (each.predicate for each in reader.all() if each.predicate["tenant"] == of)
    found = metered(own, by=by, customers=wanted, since=moment)
    head = (by.upper(), "RUNS", "MODEL", "TOOL", "TOKENS IN", "OUT", "USD", "MOVED", "HALF IN", "LONGEST")
    lines = columns(head, map(_row, found)) if found else [f"nothing since {moment[:10]}"]
    value = {
        "by": by,
        "since": moment,
        "rows": [each.to_json() for each in found],
    }
    say(value, lines, as_json=as_json)


def _row(each: Metered) -> tuple[object, ...]:
    took = each.took_ms()
    return (
        each.name,
        len(each.runs),
        each.model_calls,
        each.tool_calls,
        each.usage.input_tokens,
        each.usage.output_tokens,
        f"{each.usage.cost_nano_usd / 1e9:.4f}",
        ", ".join(map(str, each.money)) or "-",
        f"{took[0]} ms" if took else "-",
        f"{took[1]} ms" if took else "-",
    )
