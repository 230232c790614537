"""`answerable evidence export RUN …`."""

import contextlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from answerable.cli._desk import write
from answerable.cli._errors import FileUnusable, NotOnRecord
from answerable.cli._ids import kept_runs
from answerable.cli._options import DATA, AsJson, By, Data, Reason
from answerable.cli._say import columns, say
from answerable.cli._tenant import chosen, tenant
from answerable.core import RunId, TenantId, format_time
from answerable.ledger import Reader, export_bundle, export_span, standing_holds, write_trust
from answerable.standing import FRAMEWORKS, PackScope, read_mapping, write_pack
from answerable.witness import NoteMalformed, parse_head, parse_note, parse_vkey
from answerable_verify import BadTrust, read_trust

__all__ = ["command"]

command = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Export evidence that others can verify; erase what must go."
)

Subject = Annotated[str, typer.Option("--subject", metavar="TYPE:ID", help="The person, as they were declared.")]
OfRun = Annotated[str, typer.Option("--run", metavar="RUN", help="The run.")]


@command.command()
def export(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN…]", autocompletion=kept_runs, help="The runs to show; or `--all`.", show_default=False
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Every receipt up to the checkpoint that most others signed: nothing left out."),
    ] = False,
    newest: Annotated[
        bool, typer.Option("--newest", help="With `--all`: up to the newest checkpoint, whoever signed it.")
    ] = False,
    since: Annotated[
        Path | None, typer.Option("--since", metavar="FILE", help="With `--all`: from this checkpoint on.")
    ] = None,
    until: Annotated[
        Path | None, typer.Option("--until", metavar="FILE", help="With `--all`: up to this checkpoint.")
    ] = None,
    of_tenant: Annotated[
        str, typer.Option("--tenant", help="Whose record.", show_default="that of `answerable --tenant`")
    ] = "",
    out: Annotated[Path, typer.Option("--out", help="A file, or a directory to put `<run>.evidence.zip` in.")] = Path(),
    trust: Annotated[
        Path | None, typer.Option("--trust-out", metavar="FILE", help="Also write this gate's keys as a trust file.")
    ] = None,
    withhold: Annotated[bool, typer.Option("--withhold", help="Leave the texts out: commitments only.")] = False,
    disclose: Annotated[
        list[str] | None,
        typer.Option("--disclose", metavar="RECEIPT", help="Texts of this receipt only; may be repeated."),
    ] = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Write the evidence of runs as one ZIP, with `VERIFY.sh` and a page that tells the story.

    Whoever verifies it needs this gate's keys by a way they trust: `--trust-out` writes them.
    """
    if bool(runs) == everything:
        raise typer.BadParameter("name runs, or ask for `--all`")
    if (newest or since or until) and not everything:
        raise typer.BadParameter("`--since`, `--until` and `--newest` go with `--all`")
    if newest and until:
        raise typer.BadParameter("up to the newest checkpoint, or up to that of `--until`")
    chosen.set(of_tenant or tenant())
    whose = tenant()
    reader = Reader.open(data)
    shown: bool | list[str] = disclose if disclose else not withhold
    if everything:
        older, newer = (_checkpoint(file) if file else "" for file in (since, until))
        path = export_span(reader, out, tenant=whose, since=older, until=newer, newest=newest, disclose=shown)
    else:
        path = export_bundle(reader, [_own(reader, run, data) for run in runs or ()], out, disclose=shown)
    written: dict[str, Any] = {"bundle": str(path), "runs": runs or []}
    lines = [str(path)]
    if everything:
        written |= {"entries": (size := _entries(path)), "later": reader.head(whose).size - size}
    if written.get("later") and not until:
        lines.append(
            f"  up to entry {written['entries']}, the checkpoint that most others signed; "
            f"{written['later']} later receipts are not in it (`--newest` takes them in)"
        )
    if trust is not None:
        written["trust"] = str(write_trust(reader, trust, tenant=whose))
        lines.append(f"{trust}: give it to the verifier by a way they trust, not with the bundle")
    say(written, lines, as_json=as_json)


@command.command("trust")
def trust_file(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("trust.toml"),
    of_tenant: Annotated[
        str,
        typer.Option(
            "--tenant",
            help="Whose log; `_system` is that of the gate's keys.",
            show_default="that of `answerable --tenant`",
        ),
    ] = "",
    witness: Annotated[
        list[str] | None, typer.Option("--witness", metavar="VKEY", help="A witness to ask for; may be repeated.")
    ] = None,
    quorum: Annotated[int | None, typer.Option("--quorum", min=1, help="How many witnesses; all by default.")] = None,
    monitor: Annotated[
        list[str] | None, typer.Option("--monitor", metavar="VKEY", help="A monitor; may be repeated.")
    ] = None,
    tsa_root: Annotated[
        list[Path] | None,
        typer.Option("--tsa-root", metavar="FILE", help="Certificate of a time-stamping authority; may be repeated."),
    ] = None,
    data: Data = DATA,
) -> None:
    """Write this gate's and log's public keys as a trust file, with those of others that the reader believes."""
    # Read before it is handed on: what no verifier takes is found here, not at whoever gets it.
    fresh = write_trust(
        Reader.open(data),
        out.with_name(f".{out.name}.{os.getpid()}"),
        tenant=TenantId(of_tenant or tenant()),
        witnesses=[str(parse_vkey(vkey, role="witness")) for vkey in witness or ()],
        quorum=quorum,
        monitors=[str(parse_vkey(vkey, role="witness")) for vkey in monitor or ()],
        tsa_roots=[_text(path) for path in tsa_root or ()],
    )
    try:
        read_trust(fresh)
        fresh.replace(out)
    except BadTrust as error:
        raise FileUnusable(file=str(out), reason=str(error).replace(str(fresh), str(out))) from None
    finally:
        fresh.unlink(missing_ok=True)
    typer.echo(out)


@command.command()
def erase(
    subject: Subject = "",
    run: OfRun = "",
    by: By = "",
    reason: Reason = "",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Erase every text that concerns a person, or every text of a run. It cannot be undone.

    The receipts stay and verify as before: they commit to the texts and do not hold them. Open runs that need what is
    gone are closed as `erased`. Exit 1: it is under a legal hold, or traces are left that others still read.
    """
    _check(bool(subject) != bool(run), by, reason)
    done = write(data, lambda writes: writes.erase(subject=subject, run=run, by=by, reason=reason))
    lines = [f"{done['texts']} texts of {done['runs']} runs are erased ({done['erasure']})"]
    lines += [f"  run {each} could not go on: closed as erased" for each in done["closed"]]
    lines += [f"  UNKNOWN what became of the effect of {each}" for each in done["unknown"]]
    lines += [f"  {each} could not be told: restore backups from there with `--erasures`" for each in done["untold"]]
    if not done["isScrubbed"]:
        lines.append("  traces are left in the write-ahead log while somebody reads an old moment: run this again")
    say(done, lines, as_json=as_json)
    raise typer.Exit(0 if done["isScrubbed"] else 1)


def _ordering(do: Literal["hold", "release"]) -> Callable[..., None]:
    def order(
        subject: Subject = "",
        run: OfRun = "",
        by: By = "",
        reason: Reason = "",
        data: Data = DATA,
        as_json: AsJson = False,
    ) -> None:
        _check(not (subject and run), by, reason)
        done = write(data, lambda writes: writes.legal_hold(do=do, subject=subject, run=run, by=by, reason=reason))
        say(done, [f"{done['scope']} is {done['state']}"], as_json=as_json)

    return order


command.command(
    "hold", help="Keep what concerns a person, or of a run, from being erased; everything, where neither is named."
)(_ordering("hold"))
command.command("release", help="End a legal hold, named as it was for `hold`.")(_ordering("release"))


@command.command()
def holds(
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """List what may not be erased: people by pseudonym, runs, everything."""
    with contextlib.closing(Reader.open(data)) as reader:
        found = standing_holds(reader, tenant())
    rows = [(each.scope, each.since[:19], each.by, each.reason) for each in found]
    say([asdict(each) for each in found], columns(("SCOPE", "SINCE", "BY", "REASON"), rows), as_json=as_json)


def _check(is_named: bool, by: str, reason: str) -> None:
    if not is_named or not by or not reason:
        raise typer.BadParameter("name a `--subject` or a `--run`, who you are (`--as`) and a reason")


def _own(reader: Reader, run: str, data: Path) -> RunId:
    """A run of the tenant's, or its control run; of one that is nowhere, the export itself says so."""
    receipts = reader.receipts(run=RunId(run))
    if receipts and receipts[0].predicate["tenant"] != tenant():
        raise NotOnRecord(thing="run", name=run, data=str(data))
    return RunId(run)


@command.command()
def pack(
    framework: Annotated[
        str, typer.Option("--framework", metavar="NAME", help=f"Which controls: {', '.join(FRAMEWORKS)}.")
    ] = "",
    mapping: Annotated[
        Path | None, typer.Option("--mapping", metavar="FILE", help="Or a mapping of your own.", dir_okay=False)
    ] = None,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="From this date or time on, UTC.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Up to this date or time, UTC.")] = "",
    agent: Annotated[
        list[str] | None, typer.Option("--agent", metavar="NAME", help="Only what this agent did; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="A folder that is not there yet.")] = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Write what receipts support of a framework's controls: a page, data, and the bundle to count again.

    What the record supports, how often, by which receipts, and where there are gaps; not whether a control is met.
    """
    if bool(framework) == bool(mapping):
        raise typer.BadParameter("name a `--framework`, or give a `--mapping`")
    found, text = read_mapping(framework, mapping)
    scope = PackScope(tenant=tenant(), since=_time(since), until=_time(until), agents=tuple(agent or ()))
    folder = out or Path(f"{found.framework}-pack")
    made = write_pack(Reader.open(data), found, text, scope, folder)
    lines = [f"{folder}: {made.receipts} receipts of {len(made.runs)} runs"]
    for each in made.controls:
        lines.append(f"{each.control.id:<16} {sum(item.count for item in each.items):>6}  {each.control.title}")
        lines += [f"{'':<16}    gap  {gap}" for gap in each.gaps]
    say({"folder": str(folder), **made.to_json()}, lines, as_json=as_json)


def _time(text: str) -> str:
    """A date or a time as the record writes times; empty stays empty."""
    if not text:
        return ""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` is no date or time such as 2026-11-21 or 2026-11-21T08:00:00Z") from None
    return format_time(found if found.tzinfo else found.replace(tzinfo=UTC))


def _entries(bundle: Path) -> int:
    """How many entries the log has at the checkpoint of a complete bundle."""
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    return int(manifest["complete"]["from"] + manifest["receipts"])


def _checkpoint(path: Path) -> str:
    text = _text(path)
    try:
        note = parse_note(text.encode())
        parse_head(note)
    except NoteMalformed as error:
        raise FileUnusable(file=str(path), reason=error.problem) from None
    return text


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnusable(file=str(path), reason=str(getattr(error, "strerror", "") or "it is not text")) from None
