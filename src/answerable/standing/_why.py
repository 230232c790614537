"""From any artefact back: which action, decided how, approved by whom, under which clause."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from answerable.core import AnswerableError, RunId, TenantId
from answerable.ledger import Receipt
from answerable.standing._conformance import ClauseVerdict, check_run, recorded_specs
from answerable.standing._errors import ArtefactUnknown
from answerable.standing._ports import Record
from answerable.standing._run_record import RunRecord, run_records
from answerable.standing._specs import Specs
from answerable.standing._trail import (
    ActionTrail,
    ApprovalLink,
    ClauseLink,
    DecisionLink,
    ModelLink,
    PartyLink,
    Trail,
)

__all__ = ["why"]

_DEFAULT = TenantId("default")
_FINAL = ("outcome", "denied")
_ACTING = ("intent", "held", "denied", "outcome", "observation", "compensation")
_MOST_NEAR = 5
_LEAST_BEGINNING = 5
_MOST_COMPARED = 5_000  # comparing a name takes some 10 µs


def why(
    record: Record,
    asked: str,
    *,
    specs: Specs | None = None,
    tenant: TenantId = _DEFAULT,
    is_disclosing: bool = True,
) -> Trail:
    """The chain behind a receipt, a run, an approval, a digest, or anything that actions touched.

    Reads the tenant's whole record; run it from the command line, not in a loop.

    Args:
        record: the ledger's reader.
        asked: `rcpt_…`, `run_…`, `appr_…`, `sha256:…` or a name such as `order:1001`.
        specs: for the titles of clauses that a run did not record.
        tenant: whose record; what another tenant did is never found.
        is_disclosing: unseal the names of people where the record still has them.

    Raises:
        ArtefactUnknown: nothing on the record is called that; names what comes near.
    """
    asked = asked.strip()
    receipts = record.receipts(tenant=tenant)
    found_as, hits = _hits(asked, receipts)
    if not hits:
        raise ArtefactUnknown(tenant=tenant, asked=asked, near=_near(asked, receipts))
    named = {receipt.predicate["run"] for receipt in hits}
    runs = {run.run: run for run in run_records(each for each in receipts if each.predicate["run"] in named)}
    builder = _Builder(record, receipts, specs, is_disclosing)
    actions: list[ActionTrail] = []
    reads: Counter[str] = Counter()
    for run_id, step in dict.fromkeys(_steps(hits, runs)):
        run = runs[run_id]
        theirs = [each for each in run.receipts if each.predicate.get("step") == step and each.phase in _ACTING]
        if theirs and (_is_notable(theirs) or found_as == "receipt"):
            actions.append(builder.action(run, theirs))
        elif theirs:
            reads[theirs[0].predicate["action"]["name"]] += 1
    return Trail(
        asked=asked,
        found_as=found_as,
        said="" if actions else _said(hits[0]),
        runs=tuple(dict.fromkeys(receipt.predicate["run"] for receipt in hits)),
        actions=tuple(actions),
        reads=tuple(sorted(reads.items())),
    )


def _hits(asked: str, receipts: Sequence[Receipt]) -> tuple[str, list[Receipt]]:
    """What `asked` names, and the receipts that are meant."""
    word = orjson.dumps(asked)[1:-1]
    # Bodies are searched as bytes first: decoding each of a large record takes a hundred times as long.
    near = [receipt for receipt in receipts if word in receipt.body or receipt.digest == asked]
    if asked.startswith("rcpt_"):
        return "receipt", [receipt for receipt in near if receipt.predicate["id"] == asked]
    if asked.startswith(("run_", "control:")):
        return "run", [receipt for receipt in near if receipt.predicate["run"] == asked]
    if asked.startswith("appr_"):
        return "approval", [r for r in near if r.predicate.get("control", {}).get("approval") == asked]
    if named := [receipt for receipt in near if receipt.digest == asked]:
        return "receipt", named
    return "artefact", [receipt for receipt in near if asked in _names(receipt)]


def _names(receipt: Receipt) -> set[str]:
    """Everything outside the record that a receipt concerns, by name and by digest."""
    said = receipt.predicate
    subjects = orjson.loads(receipt.body).get("subject", [])
    names = {subject["name"] for subject in subjects} - {said["run"]}
    names |= {f"{kind}:{digest}" for subject in subjects for kind, digest in subject.get("digest", {}).items()}
    names |= {said.get("action", {}).get("target", ""), said.get("action", {}).get("digest", "")}
    names |= set(said.get("control", {}).get("resources", ())) | set(said.get("commitments", {}).values())
    names |= set(said.get("basis", {}).get("specs", ())) | set(said.get("authority", {}).get("rules", ()))
    names |= {said.get("authority", {}).get("policy", "")}
    return names - {""}


def _steps(hits: Iterable[Receipt], runs: dict[RunId, RunRecord]) -> Iterable[tuple[RunId, str]]:
    """The steps that the hits lead to: their own, their approval's, or all of a run that is asked for whole."""
    for receipt in hits:
        said = receipt.predicate
        run = runs.get(said["run"])
        if run is None:
            continue
        if said.get("step"):
            yield run.run, said["step"]
        elif receipt.phase == "approval":
            approval = said["control"]["approval"]
            for held in run.receipts:
                if held.phase == "held" and held.predicate["control"]["approval"] == approval:
                    yield run.run, held.predicate["step"]


def _is_notable(receipts: Sequence[Receipt]) -> bool:
    """Whether a step changed something, might have, was refused, or asked a person."""
    action = receipts[-1].predicate["action"]
    is_quiet = action["effect"] == "read" or action["kind"] == "model"
    return not is_quiet or any(receipt.phase in ("held", "denied") for receipt in receipts)


def _said(receipt: Receipt) -> str:
    said = receipt.predicate
    control = ", ".join(
        f"{key} {value}" for key, value in said.get("control", {}).items() if isinstance(value, str | int)
    )
    return f"{receipt.phase} of {said['run']} at {said['at']}" + (f": {control}" if control else "")


def _near(asked: str, receipts: Sequence[Receipt]) -> str:
    known: dict[str, None] = {}  # in order, so that the latest are compared where there are too many
    for receipt in receipts:
        said = receipt.predicate
        names = {said["id"], said["run"], said.get("control", {}).get("approval", "")} | _names(receipt)
        known |= dict.fromkeys(sorted(name for name in names if name and not name.startswith("sha256:")))
    begins = [name for name in known if name.startswith(asked)][:_MOST_NEAR] if len(asked) >= _LEAST_BEGINNING else []
    near = begins or difflib.get_close_matches(asked, list(known)[-_MOST_COMPARED:], n=_MOST_NEAR, cutoff=0.6)
    return f"near it: {', '.join(f'`{name}`' for name in near)}" if near else "nothing comes near it"


class _Builder:
    """Puts the links of one action together."""

    def __init__(self, record: Record, receipts: Sequence[Receipt], specs: Specs | None, is_disclosing: bool) -> None:
        self._record = record
        self._receipts = receipts
        self._specs = specs
        self._is_disclosing = is_disclosing
        self._verdicts: dict[RunId, dict[str, ClauseVerdict]] = {}

    def action(self, run: RunRecord, receipts: Sequence[Receipt]) -> ActionTrail:
        last = next((r for r in reversed(receipts) if r.phase in _FINAL), receipts[-1])
        action, final = run.action(last), last.predicate
        effect = final.get("effect", {})
        amount = run.amount(last)
        evidence = (f"{each.get('kind', '')} {each.get('digest', '')}".strip() for each in effect.get("evidence", ()))
        opening = (("run.open", run.opened["id"]),) if run.opened else ()
        return ActionTrail(
            run=run.run,
            step=final.get("step", ""),
            at=final["at"],
            kind=action["kind"],
            name=action["name"],
            effect=action["effect"],
            target=action.get("target", ""),
            amount=str(amount) if amount else "",
            digest=action.get("digest", ""),
            status=_status(run, last),
            observed_by=effect.get("observedBy", ""),
            agent=final["agent"]["id"],
            environment=run.environment,
            initiator=PartyLink(party=run.initiator or final.get("onBehalfOf", "")),
            mandate=run.authority(last).get("mandate", ""),
            receipts=opening + tuple((receipt.phase, receipt.predicate["id"]) for receipt in receipts),
            decisions=tuple(self._decisions(receipts)),
            approvals=tuple(self._approvals(run, receipts)),
            clauses=tuple(self._clauses(run, run.basis(last).get("specs", ()))),
            model=_model(run, last),
            evidence=tuple(evidence),
        )

    def _decisions(self, receipts: Sequence[Receipt]) -> Iterable[DecisionLink]:
        for receipt in receipts:
            authority: dict[str, Any] = receipt.predicate.get("authority", {})
            if authority:
                yield DecisionLink(
                    receipt=receipt.predicate["id"],
                    decision=authority.get("decision", ""),
                    rules=tuple(authority.get("rules", ())),
                    policy=authority.get("policy", ""),
                    request=authority.get("request", ""),
                    obligations=tuple(authority.get("obligations", ())),
                    reason=authority.get("reason", ""),
                )

    def _approvals(self, run: RunRecord, receipts: Sequence[Receipt]) -> Iterable[ApprovalLink]:
        taken = {each for r in receipts for each in r.predicate.get("authority", {}).get("approvals", ())}
        asked = {r.predicate["control"]["approval"]: r for r in receipts if r.phase == "held"}
        answered = set()
        for receipt in run.receipts:
            control = receipt.predicate.get("control", {})
            receipt_id = receipt.predicate["id"]
            if receipt.phase != "approval" or (control.get("approval") not in asked and receipt_id not in taken):
                continue
            answered.add(control.get("approval"))
            yield ApprovalLink(
                receipt=receipt_id,
                approval=control.get("approval", ""),
                decision=control.get("decision", ""),
                role=control.get("role", ""),
                person=PartyLink(party=control.get("by", ""), name=self._name(receipt)),
                at=receipt.predicate["at"],
                is_taken=receipt_id in taken,
            )
        for approval, held in asked.items():
            if approval not in answered:
                yield ApprovalLink(
                    receipt=held.predicate["id"],
                    approval=approval,
                    decision="waiting",
                    role=held.predicate["control"].get("role", ""),
                    person=PartyLink(party=""),
                    at=held.predicate["at"],
                )

    def _name(self, receipt: Receipt) -> str:
        """The approver's name, sealed beside the receipt; empty if it is erased or not to be disclosed."""
        if not self._is_disclosing:
            return ""
        try:
            said = orjson.loads(self._record.text(receipt).input or b"{}")
        except (AnswerableError, ValueError):
            return ""  # erased: the pseudonym stands, and says so
        name = (said.get("by") or said.get("name")) if isinstance(said, dict) else ""
        return name if isinstance(name, str) else ""

    def _clauses(self, run: RunRecord, clause_ids: Iterable[str]) -> Iterable[ClauseLink]:
        verdicts = self._judged(run)
        for clause_id in clause_ids:
            if verdict := verdicts.get(clause_id):
                yield ClauseLink(
                    clause=clause_id,
                    title=verdict.title,
                    spec=verdict.spec,
                    version=verdict.version if verdict.is_as_recorded else f"{verdict.version}, not the recorded one",
                    verdict=verdict.verdict,
                )
            else:
                yield ClauseLink(clause=clause_id)

    def _judged(self, run: RunRecord) -> dict[str, ClauseVerdict]:
        if run.run not in self._verdicts:
            recorded = recorded_specs(self._record, run)
            specs = recorded or self._specs or Specs()
            verdicts = check_run(specs, run.receipts, record=self._receipts, is_as_recorded=recorded is not None)
            self._verdicts[run.run] = {verdict.clause: verdict for verdict in verdicts}
        return self._verdicts[run.run]


def _status(run: RunRecord, last: Receipt) -> str:
    if last.phase in ("intent", "observation"):
        # An attempt that was written off is known not to have happened; any other without an outcome may have.
        step = last.predicate.get("step")
        is_open = any(intent.predicate.get("step") == step for intent in run.open_intents)
        return "unknown" if is_open or run.intent_of(last) is None else "written off"
    if last.phase in ("held", "denied"):
        return {"held": "held", "denied": "refused"}[last.phase]
    status: str = last.predicate.get("effect", {}).get("status", "unknown")
    return status


def _model(run: RunRecord, receipt: Receipt) -> ModelLink | None:
    """The model asked, or the one heard last before the action was first put on the record, in its branch or above."""
    own = run.basis(receipt).get("model")
    if own:
        return ModelLink(provider=own["provider"], id=own["id"], receipt=receipt.predicate["id"], is_own=True)
    step, branch = receipt.predicate.get("step"), receipt.predicate.get("branch", "")
    heard: Receipt | None = None
    for each in run.receipts:
        if each.predicate.get("step") == step and step:
            break
        theirs = each.predicate.get("branch", "")
        is_above = not theirs or branch == theirs or branch.startswith(theirs + "/")
        if each.phase == "outcome" and is_above and run.basis(each).get("model"):
            heard = each
    if heard is None:
        return None
    model = run.basis(heard)["model"]
    return ModelLink(provider=model["provider"], id=model["id"], receipt=heard.predicate["id"], is_own=False)
