"""The end of a run: its `run.close`, and in the same transaction what others must learn of it.

Whoever delegated it gets its result as a signal, its own children end with it, and where it goes on as
another run, that one is opened. All of it or nothing: no crash comes between.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from answerable.core import RunId, TenantId, new_run_id, stable_json
from answerable.ledger import Appended, Draft, History, Ledger, Recorded
from answerable.runtime._agents import AgentSpec
from answerable.runtime._delegation import delegated_control
from answerable.runtime._gate import Ending
from answerable.runtime._links import links_of_tx
from answerable.runtime._runs import agent_of
from answerable.runtime._typed import to_json

__all__ = ["close_run", "end_run", "seen_labels", "seen_subjects", "successor_draft"]

_LEFT_BEHIND = ("startKey", "origin", "models", "names", "schedule")


class _NewsCameInError(Exception):
    """Something was appended that the slice had not seen: look again before the run is passed on."""


async def close_run(
    ledger: Ledger, history: History, draft: Draft, *, successor: Draft | None = None
) -> Appended | None:
    """Write the end of a run; None, and nothing, where it was to go on as another and was paused or killed meanwhile.

    Args:
        draft: the `run.close`.
        successor: the `run.open` of the run it goes on as; signals that nobody took go with it.
    """

    def work(tx: Any) -> Appended:
        appended: Appended = tx.append(draft)
        if appended.status != "ok":
            return appended
        if successor is None:
            _pass_on(tx, history, draft)
            return appended
        if appended.seq != history.seen + 1:
            raise _NewsCameInError
        tx.append(successor)
        for signal in _untaken(history):
            tx.append(_passed_on(signal, successor))
        return appended

    while True:
        try:
            return await ledger.writer.submit(work)
        except _NewsCameInError:
            ledger.refresh(history)
            if history.order:
                return None


def end_run(tx: Any, history: History, draft: Draft) -> Appended:
    """Write the end of a run inside a transaction of somebody else's.

    Args:
        history: of the run; without texts is enough.
    """
    appended: Appended = tx.append(draft)
    if appended.status == "ok":
        _pass_on(tx, history, draft)
    return appended


def seen_subjects(history: History) -> tuple[str, ...]:
    """All people whose data a run has seen, by pseudonym."""
    found = {who for outcome in history.finals.values() for who in outcome.subjects}
    found.update(who for one in history.recorded for who in one.subjects)
    return tuple(sorted(found | set(history.opened["control"].get("subjects", ()))))


def _pass_on(tx: Any, history: History, draft: Draft) -> None:
    """Tell whoever delegated the run, and end its children."""
    _answer(tx, history, draft)
    _end_children(tx, RunId(draft.run), draft.tenant)


def successor_draft(ledger: Ledger, history: History, ending: Ending, spec: AgentSpec) -> Draft:
    """The `run.open` of the run that a run goes on as: of the same agent, or of the one it hands over to."""
    opened = history.opened
    above: dict[str, Any] = opened["control"]
    labels = seen_labels(history)
    if ending.agent:
        control = delegated_control(opened, spec, given={}, labels=labels)
    else:
        control = {name: value for name, value in above.items() if name not in _LEFT_BEHIND}
        control.update(labels=labels, family=above.get("family", history.run))
    control.update({"answers": above["answers"]} if "answers" in above else {})
    subjects = seen_subjects(history)
    control.update({"subjects": list(subjects)} if subjects else {})
    # The first of the line is charged for all of it: going on as new is no way round a budget.
    ancestors = above.get("ancestors", [])
    control["ancestors"] = ancestors if "line" in above else [*ancestors, history.run]
    control["line"] = above.get("line", history.run)
    control["origin"] = {"how": "hand-over" if ending.agent else "continue", "run": history.run}
    receipt = ledger.reader.find(opened["id"])
    return Draft(
        tenant=TenantId(opened["tenant"]),
        run=new_run_id(),
        phase="run.open",
        agent=spec.agent_id,
        build=spec.build,
        on_behalf_of=opened.get("onBehalfOf", ""),
        members={"control": control},
        input=to_json(ending.result),
        output=ledger.reader.text(receipt).output if receipt is not None else None,
        subjects=subjects,
    )


def seen_labels(history: History) -> list[str]:
    """All that a run was exposed to."""
    found = history.exposed()
    for one in history.recorded:
        if one.kind == "signal":
            labels = (f"untrusted:signal.{one.name}",) if one.labels is None else one.labels
            found.update(label for label in labels if one.seq > history.dropped.get(label, one.seq - 1))
    born_with = history.opened["control"].get("labels", ())
    return sorted(found.union(label for label in born_with if label not in history.dropped))


def _answer(tx: Any, history: History, draft: Draft) -> None:
    """Tell the run that delegated this one."""
    answers = history.opened["control"].get("answers")
    if answers is None:
        return
    said = orjson.loads(draft.output or b"null")
    state = draft.members["control"]["state"]
    subjects = seen_subjects(history)
    control: dict[str, Any] = {"name": answers["name"], "labels": seen_labels(history)}
    control.update({"subjects": list(subjects)} if subjects else {})
    tx.append(
        Draft(
            tenant=draft.tenant,
            run=RunId(answers["run"]),
            phase="signal",
            agent=draft.agent,
            once=f"{answers['name']}:answer",
            members={"control": control},
            input=stable_json({"state": state, "result": said} if state == "done" else {"state": state, "error": said}),
            subjects=subjects,
            wake=True,
        )
    )


def _end_children(tx: Any, run: RunId, tenant: TenantId) -> None:
    for child in _children(tx, run):
        control = {"do": "kill", "by": "gate", "reason": f"run `{run}`, which delegated it, has ended"}
        tx.append(
            Draft(
                tenant=tenant,
                run=child,
                phase="control",
                agent=agent_of(tx, child),
                members={"control": control},
                input=stable_json(control),
                wake=True,
            )
        )


def _children(tx: Any, run: RunId) -> Iterator[RunId]:
    """The open runs that do what this one delegated."""
    for link in links_of_tx(tx, run):
        if link.how == "delegate":
            yield from _heads(tx, link.run)


def _heads(tx: Any, run: RunId) -> Iterator[RunId]:
    later = [link.run for link in links_of_tx(tx, run) if link.how in ("continue", "hand-over")]
    if later:
        yield from _heads(tx, later[0])
    elif not tx.is_closed(run):
        yield run


def _untaken(history: History) -> list[Recorded]:
    return [one for one in history.recorded if one.kind == "signal" and one.seq not in history.taken]


def _passed_on(signal: Recorded, successor: Draft) -> Draft:
    control: dict[str, Any] = {"name": signal.name, "from": signal.receipt}
    control.update({} if signal.labels is None else {"labels": list(signal.labels)})
    control.update({"subjects": list(signal.subjects)} if signal.subjects else {})
    return Draft(
        tenant=successor.tenant,
        run=successor.run,
        phase="signal",
        agent=successor.agent,
        members={"control": control},
        input=signal.payload,
        subjects=signal.subjects,
    )
