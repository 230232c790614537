"""`answerable demo support`."""

import shutil
from pathlib import Path
from typing import Annotated, cast

import typer

from answerable.cli._demo._account import account
from answerable.cli._demo._proof import prove
from answerable.cli._demo._story import SCRIPTED, Decision, Story
from answerable.cli._demo._telling import Telling
from answerable.cli._errors import FileUnusable
from answerable.cli._options import AsJson
from answerable.models import LocalProvider

__all__ = ["command"]

command = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="See an agent governed, killed half way, resumed and verified.",
)
_MARK = ".answerable-demo"


@command.callback()
def _group() -> None:
    pass


@command.command()
def support(
    out: Annotated[Path, typer.Option("--out", help="Made anew: the record, the evidence, the trust file.")] = Path(
        "demo-out"
    ),
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="`scripted`; `local`, a small model on this machine; or `openai:MODEL` with OPENAI_API_KEY set.",
        ),
    ] = "scripted",
    decide: Annotated[
        str,
        typer.Option(
            "--decide",
            metavar="approve|reject,…",
            help="What to say to held refunds, in their order, instead of being asked.",
            show_default=False,
        ),
    ] = "",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep what an earlier demo left: it moves to `OUT.1`, `OUT.2` …")
    ] = False,
    example: Annotated[
        Path | None, typer.Option("--example", help="Where `examples/support` is.", file_okay=False, show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Twelve support tickets, one shop, one agent: governed, killed half way, resumed, and proved.

    On a terminal you decide the held refunds; otherwise the first is approved and the second rejected.
    Exit 1: something did not hold that should.
    """
    place, answers, named = example or _find_example(), _answers(decide), _model(model)
    _make_anew(out, keep=keep)
    telling = Telling(as_json=as_json)
    story = Story(
        example=place,
        out=out,
        model=named,
        answers=answers,
        telling=telling,
    )
    story.tell()
    account(story)
    prove(story)
    _close(story)
    raise typer.Exit(1 if telling.failed else 0)


def _close(story: Story) -> None:
    telling, data = story.telling, story.data
    if telling.failed:
        telling.say()
        telling.tell("end", f"DID NOT HOLD: {', '.join(telling.failed)}", holds=False, failed=telling.failed)
        return
    telling.say()
    telling.tell("end", "Everything held. Look further:", holds=True, failed=[])
    for what, why in (
        (f"{story.out}/evidence/report.html", "the story, to read in a browser"),
        (f"answerable why order:1003 --data {data}", "from an order back to the person and the clause"),
        (f"answerable runs list --data {data}", "every run; then `runs show`, `receipts show`"),
        (f"sqlite3 {story.books.path} .dump", "what really happened, by the shop's own books"),
    ):
        telling.say(f"  {what:<50}  {why}")


def _model(said: str) -> str:
    if said in ("scripted", SCRIPTED):
        return SCRIPTED
    if said == "local" or said.startswith("local:"):
        local = LocalProvider()  # is it installed?
        name = said.partition(":")[2] or local.config.model
        local.describe(name)
        return f"{local.name}:{name}"
    if not said.startswith("openai:"):
        raise typer.BadParameter("`--model` is `scripted`, `local` or `openai:MODEL`")
    return said


def _answers(text: str) -> list[Decision]:
    said = [part.strip() for part in text.split(",") if part.strip()]
    if any(part not in ("approve", "reject") for part in said):
        raise typer.BadParameter("`--decide` takes `approve` and `reject`, parted by commas")
    return [cast(Decision, part) for part in said]


def _find_example() -> Path:
    """`examples/support`, beside the package or from here upwards: it is part of the repository, not of the wheel."""
    here = Path.cwd().resolve()
    for root in (*Path(__file__).resolve().parents, here, *here.parents):
        if (root / "examples/support/agent.py").is_file():
            return root / "examples/support"
    raise FileUnusable(file="examples/support", reason="it is part of the repository; clone it, or name it")


def _make_anew(out: Path, *, keep: bool) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / _MARK).exists():
            raise FileUnusable(file=str(out), reason="it holds something else than a demo, which would be deleted")
        if keep:
            number = next(n for n in range(1, 10_000) if not Path(f"{out}.{n}").exists())
            out.rename(f"{out}.{number}")
        else:
            shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()
