"""An audit pack as a folder: a page for people, the same as data, its mapping, and the bundle to count again.

The page is self-contained: no script, no reference to anything outside, nothing unescaped.
"""

import os
import re
import shutil
from dataclasses import dataclass
from html import escape
from pathlib import Path

import orjson

from answerable.core import ConfigError, RunId, TenantId
from answerable.ledger import Reader, export_bundle
from answerable.standing._mapping import FrameworkMapping
from answerable.standing._pack import ControlEvidence, ItemEvidence, Pack, PackScope, make_pack

__all__ = ["PackNotWritten", "write_pack"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } code { font-size: .85em; } td code { white-space: nowrap; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; } th, td { text-align: left; padding: .3rem .6rem;
vertical-align: top; border-bottom: 1px solid #8884; overflow-x: auto; }
th.n, td.n { width: 6rem; text-align: right; font-variant-numeric: tabular-nums; } th.s { width: 20rem; }
@media (max-width: 45rem) { th.s { width: 40%; } }
.gap { color: #b00020; font-weight: 600; } .muted { opacity: .75; } section { margin: 2.5rem 0; }
@media (prefers-color-scheme: dark) { .gap { color: #ff8a80; } }
@media print { section { break-inside: avoid; } }
"""


@dataclass(eq=False, kw_only=True)
class PackNotWritten(ConfigError):
    """There is nothing to make a pack of, or nowhere to put it."""

    code = "config.pack_not_written"
    what = "no audit pack was written to `{folder}`: {problem}"
    why = "a pack is written whole into a folder of its own, so that nothing of another one is taken for its"
    fix = "name a folder that is not there yet, and a period in which something was done"

    folder: str
    problem: str


def write_pack(reader: Reader, mapping: FrameworkMapping, text: bytes, scope: PackScope, folder: Path) -> Pack:
    """Write the pack of a period and scope as a folder, or nothing.

    Args:
        text: the mapping as it was read; it goes into the folder.

    Raises:
        PackNotWritten: the folder is there, or no receipt is within period and scope.
        BundleTooLarge: no verifier would read the bundle of its runs.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PackNotWritten(folder=str(folder), problem="there is something already")
    pack = make_pack(mapping, reader.receipts(tenant=TenantId(scope.tenant)), scope)
    if not pack.runs:
        raise PackNotWritten(folder=str(folder), problem="no receipt is within this period and scope")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    partial.mkdir(mode=0o700, parents=True)
    try:
        export_bundle(reader, [RunId(run) for run in pack.runs], partial / "evidence.zip")
        (partial / "pack.json").write_bytes(orjson.dumps(pack.to_json(), option=orjson.OPT_INDENT_2) + b"\n")
        (partial / "mapping.toml").write_bytes(text)
        (partial / "index.html").write_text(pack_html(pack), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return pack


def pack_html(pack: Pack) -> str:
    """The page."""
    mapping, scope = pack.mapping, pack.scope
    gaps = sum(len(each.gaps) for each in pack.controls)
    period = f"From {scope.since or 'the beginning of the record'} to {scope.until or 'this export'}"
    about = f"tenant {scope.tenant}, " + (f"agents {', '.join(scope.agents)}" if scope.agents else "all agents")
    head = (
        f"<h1>{escape(mapping.title)}: what receipts support</h1>"
        f"<p>{escape(period)}; {escape(about)}. {pack.receipts} receipts of {len(pack.runs)} runs, written from "
        f"{_moment(pack.first)} to {_moment(pack.last)}; {gaps} gaps.</p>"
        "<p>Each figure counts signed receipts, written by the gate when things happened. <code>evidence.zip</code> "
        "holds them, and <code>answerable-verify evidence.zip --trust FILE</code> verifies them with keys that come to "
        "you by another way. This page is a reading aid: nobody signed it. It says what the record <em>supports</em>. "
        "Whether a control is met is for whoever examines it: each has parts that no record of this kind shows.</p>"
        f'<p class="muted">Mapping: <code>mapping.toml</code>, reviewed {escape(mapping.reviewed)}, after '
        f"{escape(mapping.source)}. Runs are here whole, also what they did outside the period. That nothing was left "
        "out of the log shows a complete bundle (<code>answerable evidence export --all</code>).</p>"
    )
    rows = "".join(_row(each) for each in pack.controls)
    overview = (
        "<section><h2>Overview</h2><table>"
        "<thead><tr><th>control</th><th class=n>receipts</th><th class=s>gaps</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></section>"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(mapping.title)}: what receipts support</title>\n<style>{_STYLE}</style>\n</head>\n"
        "<body>\n<main>\n"
        f"{head}\n{overview}\n{''.join(_section(each) for each in pack.controls)}</main>\n</body>\n</html>\n"
    )


def _row(found: ControlEvidence) -> str:
    control, count = found.control, sum(item.count for item in found.items if item.expect != "none")
    none = "none found" if count else "nothing happened that would show it"
    gaps = f'<span class="gap">{len(found.gaps)}</span>' if found.gaps else none
    return (
        f'<tr><td><a href="#{escape(_anchor(control.id))}">{escape(control.id)}</a> {escape(control.title)}</td>'
        f'<td class="n">{count}</td><td>{gaps}</td></tr>\n'
    )


def _section(found: ControlEvidence) -> str:
    control = found.control
    rows = "".join(_item(item) for item in found.items)
    gaps = "".join(f'<li class="gap">{escape(gap)}</li>' for gap in found.gaps)
    return (
        f'<section id="{escape(_anchor(control.id))}"><h2>{escape(control.id)} {escape(control.title)}</h2>'
        f"<p>Receipts support {_prose(control.supports)}.</p>"
        f'<p class="muted">Beyond them: {_prose(control.beyond)}.</p>'
        "<table><thead><tr><th>evidence</th><th class=n>receipts</th><th class=s>samples</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        f"{f'<p>Gaps:</p><ul>{gaps}</ul>' if gaps else ''}</section>\n"
    )


def _item(item: ItemEvidence) -> str:
    what = f"{item.what} (exceptions: none expected)" if item.expect == "none" else item.what
    samples = "<br>".join(f"<code>{escape(name)}</code>" for name in item.samples) or "–"
    return f'<tr><td>{escape(what)}</td><td class="n">{item.count}</td><td>{samples}</td></tr>\n'


def _moment(at: str) -> str:
    """For people, to the second."""
    return escape(f"{at[:10]} {at[11:19]} UTC")


def _prose(text: str) -> str:
    """What a mapping says, with commands between backticks set as such."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _anchor(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)
