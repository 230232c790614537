"""The report as a page for people: one file, nothing fetched, nothing run.

SECURITY: what comes from a bundle is escaped, and the page forbids itself scripts and everything outside.
"""

from collections.abc import Iterable
from html import escape

from answerable_verify._report import Report

__all__ = ["page"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
h1 { font-size: 1.6rem; padding: .6rem 1rem; border-left: .5rem solid; background: #f6f7f9 }
h1.good { border-color: #1a7f37 } h1.open { border-color: #b58900 } h1.bad { border-color: #c0281c }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .35rem .6rem; vertical-align: top }
tr + tr td { border-top: 1px solid #e2e5e9 } td.failed { color: #c0281c; font-weight: 600 } td.not { color: #6a737d }
code { font-size: .9em; overflow-wrap: anywhere } li { margin: .2rem 0 }
@media print { body { margin: 0 } }
"""
_TITLES = {
    "verified": "Verified",
    "self-consistent": "Self-consistent only",
    "undetermined": "Undetermined",
    "does not verify": "Does not verify",
}
_MEANS = {
    "dev": "The keys are the bundle's own: anybody could have made all of it.",
    "local": "The keys are those of your trust file. Nobody outside vouches for the log.",
    "witnessed": "Enough of your witnesses cosigned the log: the operator cannot have rewritten it since.",
    "witnessed+monitored": "Your witnesses cosigned the log, and a monitor looked at every receipt in it.",
}


def page(report: Report, *, of: str) -> str:
    """The page of a report.

    Args:
        of: what was verified: the name of a file.
    """
    kind = {"verified": "good", "does not verify": "bad"}.get(report.verdict, "open")
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{_TITLES[report.verdict]}: {_said(of)}</title><style>{_STYLE}</style>",
        f"<h1 class={kind}>{_TITLES[report.verdict]}</h1>",
        f"<p><code>{_said(of)}</code>: {report.receipts} receipts, log <code>{_said(report.origin or '?')}</code> of",
        f"{report.tree_size} entries.",
    ]
    if report.assurance:
        parts.append(f"Assurance <b>{report.assurance}</b>. {_MEANS[report.assurance]}")
    parts.append("</p>")
    parts += _list("What is wrong", map(str, report.findings))
    parts += _list("What cannot be told", report.open_questions)
    parts.append("<h2>Checks</h2><table><tr><th>Check<th>Result<th>Looked at<th>What a pass shows</tr>")
    for check in report.checks:
        shown = check.status.split()[0]
        parts.append(f"<tr><td><code>{check.name}</code><td class={shown}>{check.status}<td>{check.count}")
        parts.append(f"<td>{_said(check.covers)}</tr>")
    parts.append("</table>")
    if report.runs:
        parts.append("<h2>Runs</h2><table><tr><th>Run<th>Receipts<th>State<th>Effects whose fate is unknown</tr>")
        for run in report.runs:
            unknown = ", ".join(f"<code>{_said(intent)}</code>" for intent in run.unknown) or "none"
            parts.append(
                f"<tr><td><code>{_said(run.run)}</code><td>{run.receipts}<td>{_said(run.state)}<td>{unknown}</tr>"
            )
        parts.append("</table>")
    parts += _list("Notes", report.notes)
    parts += _list("What a pass does not establish", report.not_established)
    return "\n".join(parts) + "\n</html>\n"


def _list(title: str, items: Iterable[str]) -> list[str]:
    said = [f"<li>{_said(item)}</li>" for item in items]
    return [f"<h2>{title}</h2><ul>", *said, "</ul>"] if said else []


def _said(text: str) -> str:
    return escape("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text))
