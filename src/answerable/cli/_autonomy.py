"""`answerable agent autonomy [AGENT TIER]`."""

from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._desk import autonomy_of, digest_of, write
from answerable.cli._options import DATA, AsJson, By, Data, Reason
from answerable.cli._say import columns, say
from answerable.ledger import Reader

__all__ = ["autonomy"]

_EFFECTS = ("write", "irreversible")


def autonomy(
    agent: Annotated[str, typer.Argument(metavar="[AGENT]", help="By its name.", show_default=False)] = "",
    tier: Annotated[
        str, typer.Argument(metavar="[TIER]", help="`draft`, `approve` or `execute`.", show_default=False)
    ] = "",
    environment: Annotated[str, typer.Option("--environment", help="Where it holds.")] = "development",
    effects: Annotated[
        list[str] | None,
        typer.Option("--effect", help="`write` or `irreversible`.", show_default="both"),
    ] = None,
    role: Annotated[str, typer.Option("--role", help="Who is asked where the tier is `approve`.")] = "",
    measured: Annotated[str, typer.Option("--measured", metavar="TEXT", help="What speaks for more autonomy.")] = "",
    undo: Annotated[str, typer.Option("--undo", metavar="TEXT", help="How what it does can be rolled back.")] = "",
    evidence: Annotated[
        list[Path] | None,
        typer.Option("--evidence", metavar="FILE", help="What shows it; its digest goes on the record."),
    ] = None,
    by: By = "",
    reason: Reason = "",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Say what an agent may do by itself, or list what was said.

    `draft`: nothing of the kind. `approve`: each time after a person's yes. `execute`: as policy says. More autonomy
    than before needs `--measured`, `--undo` and `--evidence`; all of it goes on the record.
    """
    if not agent or not tier:
        reader = Reader.open(data)
        found = [each for each in autonomy_of(reader).tiers() if agent in ("", each.agent)]
        rows = [(each.agent, each.environment, each.effect, each.tier, each.role, each.receipt) for each in found]
        header = ("AGENT", "ENVIRONMENT", "EFFECT", "TIER", "ASKS", "RECEIPT")
        say(found, columns(header, rows) if rows else ["no agent has a tier: policy alone decides"], as_json=as_json)
        return
    if not by or not reason:
        raise typer.BadParameter("say who you are and why: `--as NAME --reason TEXT`; both go on the record")
    said = write(
        data,
        lambda desk: desk.autonomy(
            agent=agent,
            tier=tier,
            environment=environment,
            effects=effects or _EFFECTS,
            role=role,
            by=by,
            reason=reason,
            measured=measured,
            undo=undo,
            evidence=[digest_of(file) for file in evidence or ()],
        ),
        may_begin=True,
    )
    say(said, [f"{agent} in {environment}: {each['effect']} {each['tier']}" for each in said["tiers"]], as_json=as_json)
