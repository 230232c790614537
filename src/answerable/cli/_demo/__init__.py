"""`answerable demo support`."""

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._demo._proof import prove
from answerable.cli._demo._support import Demo
from answerable.cli._errors import FileUnusable

__all__ = ["command"]

command = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="See an agent governed, killed half way, resumed and verified.",
)


@command.callback()
def _group() -> None:
    pass


@command.command()
def support(
    out: Annotated[Path, typer.Option("--out", help="Made anew: the record, the evidence, the trust file.")] = Path(
        "demo-out"
    ),
    model: Annotated[
        str, typer.Option("--model", help="`scripted`, or `openai:MODEL` with OPENAI_API_KEY set.")
    ] = "scripted",
    decide: Annotated[
        list[str] | None,
        typer.Option("--decide", metavar="TICKET=approve|reject", help="Instead of being asked.", show_default=False),
    ] = None,
    example: Annotated[
        Path | None, typer.Option("--example", help="Where `examples/support` is.", file_okay=False, show_default=False)
    ] = None,
) -> None:
    """Twelve support tickets, one shop, one agent: governed, killed half way, resumed, and proved.

    On a terminal you decide the held refunds; otherwise T-03 is approved and T-07 rejected.
    """
    place = example or _find_example()
    answers = dict(_answer(each) for each in decide or ())
    _make_anew(out)
    demo = Demo(
        example=place,
        out=out,
        model="scripted:support" if model == "scripted" else model,
        answers=answers,
        is_asking=sys.stdin.isatty() and not answers,
    )
    held = demo.work()
    is_proved = prove(demo, out)
    typer.echo(f"\nEverything is in {out}/; `answerable --help` with `--data {out}/data` looks around.")
    raise typer.Exit(0 if held and is_proved else 1)


def _answer(text: str) -> tuple[str, str]:
    ticket, _, decision = text.partition("=")
    if decision not in ("approve", "reject"):
        raise typer.BadParameter("`--decide` is a ticket and what to do: `T-03=approve`")
    return ticket, decision


def _find_example() -> Path:
    """`examples/support`, from here upwards or beside the package: it is part of the repository, not of the wheel."""
    for root in (*Path.cwd().resolve().parents, Path.cwd(), *Path(__file__).resolve().parents):
        if (root / "examples/support/agent.py").is_file():
            return root / "examples/support"
    raise FileUnusable(file="examples/support", reason="it is part of the repository; clone it, or name it")


def _make_anew(out: Path) -> None:
    if out.exists() and any(out.iterdir()) and not (out / "shop.sqlite3").exists():
        raise FileUnusable(file=str(out), reason="it holds something else than a demo, which would be deleted")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
