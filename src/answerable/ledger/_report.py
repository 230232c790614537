"""The page that tells a run to a person: what was asked, decided, done, by whom and at what cost.

Self-contained: no script, no reference to anything outside, nothing unescaped.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import orjson

from answerable.core import Usage, parse_time
from answerable.ledger._reader import Texts
from answerable.ledger._receipt import Receipt
from answerable.ledger._story import RunStory, StepStory, tell

__all__ = ["report_html"]

_STYLE = Path(__file__).with_name("_report.css")
_LONGEST_OPEN = 700  # characters: what is longer starts folded
_LONGEST_SHOWN = 20_000
_LONGEST_LINE = 110
_DEEPEST = 6
_LONGEST_PAGE = 8_000_000  # characters, more or less: what a browser shows, and a verifier takes of one file
_STATES = {
    "done": "finished",
    "failed": "ended with an error",
    "killed": "was stopped",
    "open": "has not ended",
}
_STATUS = {
    "done": "Done",
    "failed": "Failed",
    "refused": "Refused: not done",
    "waiting": "Waiting for a person",
    "unknown": "Unknown: it may have happened",
    "noted": "Noted",
}


def report_html(receipts: Sequence[Receipt], texts: Mapping[str, Texts], *, origin: str, size: int) -> str:
    """One HTML page about the runs that the receipts are of.

    Args:
        receipts: each run's in order.
        texts: disclosed texts by receipt id.
        origin: the log's name.
        size: how many entries the log had.
    """
    stories = tell(receipts)
    told: list[str] = []
    left = _LONGEST_PAGE
    for story in stories:
        if left <= 0:
            break
        told.append(_run(story, texts, left))
        left -= len(told[-1])
    body = [_head(stories, len(receipts))]
    if len(told) < len(stories):
        body.append(f"<p>{_not_told(len(stories) - len(told), 'runs')}</p>\n")
    if len(stories) > 1:
        body.append(_contents(stories[: len(told)]))
    body += told
    body.append(_foot(len(receipts), origin, size))
    title = f"Evidence of {stories[0].run}" if len(stories) == 1 else f"Evidence of {len(stories)} runs"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(body)}</main>\n</body>\n</html>\n"
    )


def _head(stories: Sequence[RunStory], receipts: int) -> str:
    steps = [step for story in stories for step in story.steps if step.status != "noted"]
    usage = sum((story.usage for story in stories), Usage())
    held = sum(1 for step in steps if step.held)
    figures = [
        ("actions", str(len(steps)), ""),
        ("done", str(sum(step.status == "done" for step in steps)), "done"),
        ("held for a person", str(held), "held"),
        ("refused", str(sum(step.status == "refused" for step in steps)), "refused"),
        ("failed", str(sum(step.status == "failed" for step in steps)), "failed"),
        ("unknown", str(sum(step.status == "unknown" for step in steps)), "unknown"),
        ("cost", _cost(usage), ""),
    ]
    cells = "".join(
        f'<div class="figure {kind if text != "0" else ""}"><b>{escape(text)}</b><span>{escape(name)}</span></div>'
        for name, text, kind in figures
    )
    what = "What one agent run did" if len(stories) == 1 else f"What {len(stories)} agent runs did"
    return (
        f'<header><p class="kind">Evidence report</p><h1>{what}</h1>'
        f"<p>Told from {receipts} signed receipts, each written by the gate when it happened. "
        "This page is a reading aid; the receipts beside it are the evidence.</p>"
        f'<div class="figures">{cells}</div></header>\n'
    )


def _contents(stories: Sequence[RunStory]) -> str:
    rows = "".join(
        f'<tr><td><a href="#{escape(story.run)}">{escape(story.run)}</a></td><td>{escape(_subject(story))}</td>'
        f"<td>{escape(_STATES.get(story.state, story.state))}</td><td>{story.count('refused')}</td>"
        f"<td>{sum(1 for step in story.steps if step.held)}</td><td>{escape(_cost(story.usage))}</td></tr>\n"
        for story in stories
    )
    return (
        "<section><h2>Runs</h2><table><thead><tr><th>run</th><th>about</th><th>state</th><th>refused</th>"
        f"<th>held</th><th>cost</th></tr></thead><tbody>\n{rows}</tbody></table></section>\n"
    )


def _run(story: RunStory, texts: Mapping[str, Texts], left: int) -> str:
    """The story of a run, in so many characters or a few more."""
    first, last = story.receipts[0].predicate, story.receipts[-1].predicate
    opened = story.opened.predicate if story.opened else first
    agent = first.get("agent", {})
    facts = [
        ("Agent", str(agent.get("id", "")) + (f", build {agent['build'][:19]}…" if agent.get("build") else "")),
        ("Asked for by", _asker(texts.get(opened["id"]), str(opened.get("onBehalfOf", ""))) or "not stated"),
        ("About", _subject(story)),
        ("Environment", opened.get("control", {}).get("environment", "")),
        ("Time", f"{_plain(first['at'])} to {_plain(last['at'])} ({_span(first['at'], last['at'])})"),
        ("Used", _usage(story.usage)),
        ("Kept from the gate by", first["boundary"]["isolation"]),
    ]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts if value)
    asked = _text("What was asked", texts[opened["id"]].input) if opened["id"] in texts else ""
    steps: list[str] = []
    for number, step in enumerate(story.steps, 1):
        if left <= 0:
            steps.append(f'<li class="note">{_not_told(len(story.steps) - number + 1, "steps of this run")}</li>\n')
            break
        steps.append(_step(number, step, texts))
        left -= len(steps[-1])
    state = _STATES.get(story.state, story.state)
    ended = f'<p class="end">The run {escape(state)}.</p>'
    if story.closed and story.closed.predicate["id"] in texts:
        ended += _text("Its result", texts[story.closed.predicate["id"]].output)
    return (
        f'<section class="run" id="{escape(story.run)}"><h2>Run <code>{escape(story.run)}</code> {escape(state)}</h2>'
        f'<dl class="facts">{rows}</dl>{asked}<ol class="steps">{"".join(steps)}</ol>{ended}</section>\n'
    )


def _not_told(count: int, what: str) -> str:
    return f"{count:,} more {what} are not told here, or the page would be too long; their receipts are in the bundle."


def _step(number: int, step: StepStory, texts: Mapping[str, Texts]) -> str:
    first = step.receipts[0]
    if step.status == "noted":
        return (
            f'<li class="note"><span class="number">{number}</span> {escape(step.title)} '
            f'<span class="at">{_when(first.predicate["at"])}</span>{_ids(step)}</li>\n'
        )
    action = step.action
    about = [part for part in (str(action.get("target", "")), step.amount) if part]
    title = f"<b>{escape(step.title)}</b>" + "".join(f' <span class="about">{escape(part)}</span>' for part in about)
    parts = [_approved(step, texts), _decided(step), _done(step)]
    found = [texts[receipt.predicate["id"]] for receipt in step.receipts if receipt.predicate["id"] in texts]
    given = next((text.input for text in reversed(found) if text.input is not None), None)
    result = texts[step.final.predicate["id"]].output if step.final and step.final.predicate["id"] in texts else None
    labels = "".join(f'<span class="label">{escape(label)}</span>' for label in step.labels)
    return (
        f'<li class="step {step.status}"><div class="top"><span class="number">{number}</span>'
        f'<span class="what"><i>{escape(step.kind)}</i> {title}</span>'
        f'<span class="badge">{_STATUS[step.status]}</span></div>'
        f'<div class="rest">{"".join(parts)}{_text("Given", given)}{_result(step, result)}'
        f"{f'<p>Its result carries {labels}</p>' if labels else ''}{_ids(step)}</div></li>\n"
    )


def _decided(step: StepStory) -> str:
    authority = step.authority
    if not authority:
        return ""
    rules = ", ".join(f"<code>{escape(str(rule))}</code>" for rule in authority.get("rules", []))
    words = {"permit": "Permitted", "hold": "Held for a person", "deny": "Denied"}
    said = words.get(str(authority.get("decision")), "Decided")
    because = f" by {rules}" if rules else " (no rule permits it)" if authority.get("decision") == "deny" else ""
    reason = f", because <code>{escape(str(authority['reason']))}</code>" if authority.get("reason") else ""
    run = step.receipts[0].predicate["run"]
    budget = "".join(
        f"; reserved {escape(str(item.get('amount')))} {escape(str(item.get('dimension')))} of "
        + ("this run" if item.get("scope") == f"run:{run}" else f"<code>{escape(str(item.get('scope')))}</code>")
        for item in authority.get("budget", [])
    )
    specs = [spec for receipt in step.receipts for spec in receipt.predicate.get("basis", {}).get("specs", [])]
    governed = (
        "; governed by " + ", ".join(f"<code>{escape(str(spec))}</code>" for spec in dict.fromkeys(specs))
        if specs
        else ""
    )
    return f"<p>{said}{because}{reason}{budget}{governed}.</p>"


def _approved(step: StepStory, texts: Mapping[str, Texts]) -> str:
    lines = []
    for held in step.held:
        control = held.predicate.get("control", {})
        n = control.get("n", 1)
        people = "one person" if n == 1 else f"{n} people"
        other = ", not the one who asked" if control.get("notInitiator") else ""
        lines.append(
            f"<p>{_when(held.predicate['at'])}: waited for {people} in the role "
            f"<b>{escape(str(control.get('role', '')))}</b>{other}, until {_when(str(control.get('due', '')))}.</p>"
        )
    words = {"approve": "approved", "reject": "rejected", "timeout": "timed out"}
    for approval in step.approvals:
        control = approval.predicate.get("control", {})
        decided = words.get(str(control.get("decision")), str(control.get("decision")))
        who = _person(texts.get(approval.predicate["id"]), str(control.get("by", "")))
        by = f" by <b>{escape(who)}</b>" if who else ""
        role = f" as {escape(str(control['role']))}" if control.get("role") else ""
        reason = f": “{escape(str(control['reason']))}”" if control.get("reason") else ""
        lines.append(f"<p>{_when(approval.predicate['at'])}: {escape(decided)}{by}{role}{reason}.</p>")
    return "".join(lines)


def _person(text: Texts | None, pseudonym: str) -> str:
    """The name, where the sealed text that holds it is disclosed; else the pseudonym."""
    return _named(text.input if text else None, "by", pseudonym)


def _asker(text: Texts | None, pseudonym: str) -> str:
    return _named(text.output if text else None, "onBehalfOf", pseudonym)


def _named(text: bytes | None, member: str, pseudonym: str) -> str:
    try:
        name = orjson.loads(text)[member] if text else ""
    except (orjson.JSONDecodeError, KeyError, TypeError):
        name = ""
    return f"{name} ({pseudonym})" if name and pseudonym else pseudonym


def _done(step: StepStory) -> str:
    lines = []
    if len(step.intents) > 1:
        lines.append(f"<p>Attempted {len(step.intents)} times: an earlier attempt was lost on the way.</p>")
    lines += [f"<p>A lost attempt was settled: {escape(why)}.</p>" for why in step.resolved]
    if step.status == "unknown":
        lines.append("<p>It was dispatched and no outcome is on the record: it may or may not have happened.</p>")
    if step.final is not None:
        effect = step.final.predicate.get("effect", {})
        error = f", error <code>{escape(str(effect['error']))}</code>" if effect.get("error") else ""
        used = _usage(step.usage)
        observed = f"observed by the {escape(str(effect.get('observedBy', 'gate')))}"
        if step.status != "refused":
            lines.append(
                f"<p>{_when(step.final.predicate['at'])}: {_STATUS[step.status].lower()}, {observed}{error}"
                f"{f'; {escape(used)}' if used else ''}.</p>"
            )
    return "".join(lines)


def _ids(step: StepStory) -> str:
    told = [(receipt.phase, receipt.predicate["seq"], receipt.predicate["id"]) for receipt in step.receipts]
    ids = " ".join(
        f'<span title="seq {seq}">{escape(phase)} <code>{escape(name)}</code></span>' for phase, seq, name in told
    )
    return f'<p class="ids">{ids}</p>'


def _text(name: str, text: bytes | None) -> str:
    """A text as a person reads it; long ones folded."""
    if text is None or text in (b"null", b"{}"):
        return ""
    try:
        value: Any = orjson.loads(text) if len(text) <= _LONGEST_SHOWN else None
    except orjson.JSONDecodeError:
        value = None
    if value is None:
        shown = text.decode(errors="replace")
        cut = "\n… (cut here; the whole text is in the bundle)" if len(shown) > _LONGEST_SHOWN else ""
        return f"<details><summary>{name}</summary><pre>{escape(shown[:_LONGEST_SHOWN])}{cut}</pre></details>"
    if len(text) <= _LONGEST_LINE and b"\\n" not in text:
        return f'<p class="short"><span class="name">{name}</span> {_inline(value)}</p>'
    is_open = " open" if len(text) <= _LONGEST_OPEN else ""
    return f'<details{is_open}><summary>{name}</summary><div class="data">{_data(value)}</div></details>'


def _inline(value: Any) -> str:
    """A small value in one line."""
    if isinstance(value, dict) and value and not any(isinstance(inner, dict | list) for inner in value.values()):
        return ", ".join(f"<i>{escape(key)}</i> {_inline(inner)}" for key, inner in value.items())
    if isinstance(value, str):
        return escape(value)
    return f"<code>{escape(orjson.dumps(value).decode())}</code>"


def _data(value: Any, depth: int = 0) -> str:
    """A value with names and values side by side, as deep as a reader follows."""
    if depth < _DEEPEST and isinstance(value, dict) and value:
        return (
            "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{_data(v, depth + 1)}</dd>" for k, v in value.items()) + "</dl>"
        )
    if depth < _DEEPEST and isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "<ul>" + "".join(f"<li>{_data(item, depth + 1)}</li>" for item in value) + "</ul>"
    return _inline(value)


def _result(step: StepStory, text: bytes | None) -> str:
    """What came back; of an error, what it says to a person."""
    if text is None or step.status not in ("failed", "refused"):
        return _text("Result", text)
    try:
        error = orjson.loads(text)
        return (
            f'<p class="short"><span class="name">Why</span> {escape(str(error["message"]) or str(error["code"]))}</p>'
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return _text("Result", text)


def _foot(receipts: int, origin: str, size: int) -> str:
    return (
        "<footer><h2>How to check this</h2>"
        f"<p>The {receipts} receipts are entries of the log <code>{escape(origin)}</code>, of {size} entries. "
        "Get the trust file from the company that runs the gate, by a way you trust, and run in this folder:</p>"
        "<pre>bash VERIFY.sh --trust trust.toml</pre>"
        "<p>It needs bash, openssl 3 and jq, no account and no network. It checks every signature, that no receipt is "
        "missing or out of order, that each stands in the log, and that each text above is the one that was committed "
        "to. It does not show that what the outside told the gate was true, that the gate's keys were kept safe, or "
        "that its clock was right.</p></footer>\n"
    )


def _subject(story: RunStory) -> str:
    if story.opened is None:
        return ""
    return ", ".join(str(name) for name in story.opened.predicate.get("control", {}).get("resources", []))


def _cost(usage: Usage) -> str:
    if not usage.cost_nano_usd:
        return "none"
    dollars, rest = divmod(usage.cost_nano_usd, 10**9)
    return f"${dollars}.{f'{rest:09d}'[:6].rstrip('0').ljust(2, '0')}"


def _usage(usage: Usage) -> str:
    parts = []
    if usage.tokens:
        parts.append(f"{usage.input_tokens} tokens read, {usage.output_tokens} written")
    if usage.cost_nano_usd:
        parts.append(_cost(usage))
    return ", ".join(parts)


def _when(at: str) -> str:
    return f'<time datetime="{escape(at)}">{escape(_plain(at))}</time>'


def _plain(at: str) -> str:
    moment = _moment(at)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else at


def _span(first: str, last: str) -> str:
    start, end = _moment(first), _moment(last)
    if not start or not end:
        return ""
    seconds = (end - start).total_seconds()
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def _moment(at: str) -> datetime | None:
    try:
        return parse_time(at)
    except ValueError:
        return None
