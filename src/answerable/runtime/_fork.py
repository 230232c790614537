"""Where a run may be forked, and how the fork is opened.

What had begun before the place is shared with what became of it, by digest; the step there and
everything begun after it is done anew, as effects of their own. `docs/concepts/runs.md`, "Forks".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from answerable.core import RunId, StepKey, stable_json
from answerable.ledger import Draft, History, Ledger, Reader, Receipt, begun_at
from answerable.runtime._actions import names_of
from answerable.runtime._agents import AgentSpec
from answerable.runtime._errors import ControlRefused
from answerable.runtime._typed import to_json

__all__ = ["fork_draft", "place_of", "retry_place"]

_CHANGES = {"input", "model", "policy"}
_NOT_INHERITED = (
    "startKey",
    "origin",
    "models",
    "names",
    "specs",
    "settings",
    "session",
    "answers",
    "family",
    "schedule",
)


def place_of(reader: Reader, run: RunId, at: str) -> tuple[RunId, int]:
    """The run and the `seq` before which everything is shared.

    Args:
        at: a step key, a receipt's id, or its `seq` in the run. Empty for the start: nothing is shared.

    Raises:
        ControlRefused: the run has no such place.
    """
    receipts = reader.receipts(run=run)
    begun = begun_at(receipts)
    for receipt in receipts[1:]:
        said = receipt.predicate
        if at in (said["id"], str(said["seq"])) or (said.get("step") == at and at):
            return run, begun.get(StepKey(said.get("step", "")), said["seq"])
    if not at:
        return run, 1
    origin = receipts[0].predicate["control"].get("origin", {})
    if origin.get("how") == "fork":  # what is shared is forked where it stands
        return place_of(reader, RunId(origin["run"]), at)
    raise ControlRefused(run=run, do="fork", problem=f"it has no step or receipt `{at}`")


def retry_place(reader: Reader, run: RunId) -> tuple[RunId, int]:
    """Where to try again a run that failed: at the step that it failed with, or where it ended.

    Raises:
        ControlRefused: it did not fail.
    """
    receipts = reader.receipts(run=run)
    closed = next((receipt.predicate for receipt in receipts if receipt.phase == "run.close"), None)
    if closed is None or closed["control"]["state"] not in ("failed", "killed"):
        raise ControlRefused(run=run, do="retry", problem="only a run that failed or was killed can be tried again")
    begun = begun_at(receipts)
    for receipt in reversed(receipts):
        said = receipt.predicate
        if receipt.phase not in ("outcome", "denied"):
            continue
        effect = said["effect"]
        if effect["status"] != "ok" and effect.get("error") == closed["effect"].get("error"):
            return run, begun[StepKey(said["step"])]
    return run, int(closed["seq"])


def fork_draft(
    ledger: Ledger,
    place: tuple[RunId, int],
    *,
    new: RunId,
    do: str,
    spec: AgentSpec | None,
    changed: Mapping[str, Any],
    by: str,
    reason: str,
    key: str = "",
) -> Draft:
    """The `run.open` of a fork.

    Args:
        place: as `place_of` gives it.
        do: what was asked for, `fork` or `retry`.
        spec: the agent's, where it is known here.
        changed: what is different from here on: `input`, `model`, and `policy`, by its name on the record.

    Raises:
        ControlRefused: an effect begun before the place is not settled, or something else cannot be changed.
    """
    run, seq = place
    reader = ledger.reader
    receipts, history = reader.receipts(run=run), reader.history(run)
    opened = history.opened
    if unknown := changed.keys() - _CHANGES:
        raise ControlRefused(run=run, do=do, problem=f"a fork cannot change `{min(unknown)}`")
    if "session" in opened["control"]:
        raise ControlRefused(run=run, do=do, problem="a session is driven from outside, and cannot be replayed")
    if opened["control"].get("origin", {}).get("how") == "rollback":
        raise ControlRefused(run=run, do=do, problem="a roll-back goes on when it is ordered again")
    _check_settled(receipts, history, seq, do)
    tenant = opened["tenant"]
    control = {name: value for name, value in opened["control"].items() if name not in _NOT_INHERITED}
    control["origin"] = {
        "how": "fork",
        "run": run,
        "seq": seq,
        "upto": len(receipts) - 1,
        "at": receipts[seq - 1].predicate["at"],
        "last": receipts[seq - 1].digest,
        "head": receipts[-1].digest,
        "by": ledger.pseudonym(tenant, by),
        "reason": reason,
        "why": do,
    }
    control["names"] = names_of(opened)
    if "policy" in changed:
        if "policy" in control:  # SECURITY: whoever held a run to policies did not mean a fork to be rid of them
            raise ControlRefused(run=run, do=do, problem="it is held to policies of its own already")
        control["policy"] = changed["policy"]
    if models := _models(opened["control"], changed, spec):
        control["models"] = models
    control.update({"startKey": key} if key else {})
    control.update({"specs": spec.specs} if spec is not None and spec.specs else {})
    control.update({"settings": spec.settings} if spec is not None and spec.settings else {})
    named = orjson.loads(reader.text(receipts[0]).output or b"{}")
    return Draft(
        tenant=tenant,
        run=new,
        phase="run.open",
        agent=opened["agent"]["id"],
        build=spec.build if spec is not None else opened["agent"].get("build", ""),
        once=f"k:{tenant}:{control['agent']}:{key}" if key else "",
        on_behalf_of=opened.get("onBehalfOf", ""),
        members={"control": control},
        input=to_json(changed["input"]) if "input" in changed else history.input,
        output=stable_json({**named, "by": by}),
        subjects=tuple(sorted(control.get("subjects", ()))),
    )


def _check_settled(receipts: Sequence[Receipt], history: History, seq: int, do: str) -> None:
    """SECURITY: what nobody knows the fate of must not be done again by a fork that leaves it out."""
    for step, begun in begun_at(receipts).items():
        said = receipts[begun].predicate
        intent = history.intents.get(step)
        if begun >= seq or step in history.finals or intent is None or intent.is_written_off:
            continue
        if said["action"]["effect"] != "read":
            problem = f"`{said['action']['name']}`, begun before it, is under way or in doubt: settle it first"
            raise ControlRefused(run=history.run, do=do, problem=problem)


def _models(control: dict[str, Any], changed: Mapping[str, Any], spec: AgentSpec | None) -> dict[str, Any]:
    earlier: dict[str, Any] = control.get("models", {})
    if "model" not in changed:
        return earlier
    before = [*earlier.get("before", ()), *([earlier["now"]] if earlier else [])]
    before += [spec.model] if spec is not None and spec.model not in before else []
    return {"now": changed["model"], "before": before}
