"""Was the specification satisfied? A verdict for each clause, computed from receipts alone.

No model, clock, network or configuration takes part: whoever holds the receipts and the clause gets
the same verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from answerable.core import RunId, TenantId
from answerable.ledger import Receipt
from answerable.standing._checks import Never
from answerable.standing._evaluate import Finding, evaluate
from answerable.standing._markdown import Clause
from answerable.standing._ports import Record
from answerable.standing._run_record import RunRecord, run_records
from answerable.standing._specs import Spec, Specs, parse_snapshot

__all__ = ["ClauseVerdict", "Standing", "check_record", "check_run", "recorded_specs"]

Standing = Literal["satisfied", "violated", "not applicable", "undetermined"]
_DEFAULT = TenantId("default")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseVerdict:
    """What the record says of one clause.

    Args:
        clause, title: of the clause; `spec` is its specification's id.
        version: the version of the specification that was used (`refunds@3f2a1b0c9d8e`).
        digest: `sha256:` name of that version's text.
        is_as_recorded: that version is the one recorded with the runs when they were opened.
        verdict: `undetermined` means that the record cannot tell: an effect's outcome is unknown, an
            amount cannot be compared, receipts are missing, or the clause names no check.
        reason: the finding that decides, in a sentence.
        shown_by: ids of the receipts that show it.
        findings: everything that was found, those that decide first.
        runs: the runs that were judged.
    """

    clause: str
    title: str
    spec: str
    version: str
    digest: str
    is_as_recorded: bool
    verdict: Standing
    reason: str
    shown_by: tuple[str, ...]
    findings: tuple[Finding, ...]
    runs: tuple[RunId, ...]

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON; `holds` of a finding is null where the record cannot tell."""
        return {
            "clause": self.clause,
            "title": self.title,
            "spec": self.spec,
            "version": self.version,
            "digest": self.digest,
            "asRecorded": self.is_as_recorded,
            "verdict": self.verdict,
            "reason": self.reason,
            "shownBy": list(self.shown_by),
            "findings": [
                {"holds": each.truth, "said": each.said, "receipts": list(each.receipts)} for each in self.findings
            ],
            "runs": list(self.runs),
        }


def check_run(
    specs: Specs, receipts: Sequence[Receipt], *, record: Sequence[Receipt] | None = None, is_as_recorded: bool = False
) -> list[ClauseVerdict]:
    """A verdict for each clause on the run, or the runs, whose receipts these are.

    Clauses of specifications that do not govern a run's agent are not applicable to it.

    Args:
        specs: as they stood when the runs were opened; `check_record` finds that version.
        receipts: all receipts of each run to be judged.
        record: all receipts of the tenant, for clauses that count beyond one run (`within = "record"`);
            without it such a clause is never satisfied, only undetermined.
        is_as_recorded: the caller took the specifications from the runs' own record.
    """
    judged = run_records(receipts)
    everything = None if record is None else run_records(record)
    return [
        _verdict(spec, clause, judged, everything, is_as_recorded=is_as_recorded)
        for spec in specs
        for clause in spec.clauses
    ]


def check_record(
    record: Record,
    runs: Sequence[RunId] | None = None,
    *,
    specs: Specs | None = None,
    tenant: TenantId = _DEFAULT,
) -> list[ClauseVerdict]:
    """A verdict for each clause, each run judged by the specifications recorded when it was opened.

    Args:
        record: the ledger's reader.
        runs: the runs to judge; every run of the tenant if not given.
        specs: for runs that recorded none; their verdicts say so in `is_as_recorded`.
        tenant: whose runs; counts over the record never leave it.
    """
    receipts = record.receipts(tenant=tenant)
    everything = run_records(receipts)
    chosen = everything if runs is None else [run for run in everything if run.run in set(runs)]
    groups: dict[tuple[tuple[str, str], ...], list[RunRecord]] = {}
    for run in chosen:
        groups.setdefault(tuple(sorted(run.specs.items())), []).append(run)
    # Specifications change one at a time, so versions are judged one by one, over all runs opened under each.
    versions: dict[tuple[str, bool], tuple[Spec, list[RunRecord]]] = {}
    for group in groups.values():
        found = recorded_specs(record, group[0])
        for spec in found if found is not None else specs or ():
            versions.setdefault((spec.digest, found is not None), (spec, []))[1].extend(group)
    return [
        _verdict(spec, clause, judged, everything, is_as_recorded=is_as_recorded)
        for (_, is_as_recorded), (spec, judged) in versions.items()
        for clause in spec.clauses
    ]


def recorded_specs(record: Record, run: RunRecord) -> Specs | None:
    """The specifications stored when the run was opened; None if there are none or one is gone."""
    specs: dict[str, Spec] = {}
    for spec_id, digest in run.specs.items():
        stored = record.stored(digest)
        if stored is None:
            return None
        specs |= {spec.id: spec for spec in parse_snapshot(stored[0]) if spec.id == spec_id}
    return Specs(tuple(specs[spec_id] for spec_id in sorted(specs))) if specs else None


def _verdict(
    spec: Spec, clause: Clause, judged: Sequence[RunRecord], record: Sequence[RunRecord] | None, *, is_as_recorded: bool
) -> ClauseVerdict:
    governed = [run for run in judged if spec.applies_to_agent(run.agent)]
    others = None if record is None else [run for run in record if spec.applies_to_agent(run.agent)]
    findings = [finding for check in clause.checks for finding in evaluate(check, governed, others)]
    findings.sort(key=_weight)
    verdict, reason = _conclusion(clause, governed, findings)
    deciding = [each for each in findings if each.truth is findings[0].truth] if findings else []
    shown_by = tuple(dict.fromkeys(receipt for each in deciding for receipt in each.receipts))
    return ClauseVerdict(
        clause=clause.id,
        title=clause.title,
        spec=spec.id,
        version=spec.version,
        digest=spec.digest,
        is_as_recorded=is_as_recorded,
        verdict=verdict,
        reason=reason,
        shown_by=shown_by,
        findings=tuple(findings),
        runs=tuple(run.run for run in governed),
    )


def _weight(finding: Finding) -> int:
    return {False: 0, None: 1, True: 2}[finding.truth]


def _conclusion(clause: Clause, governed: Sequence[RunRecord], findings: Sequence[Finding]) -> tuple[Standing, str]:
    if not governed:
        return "not applicable", "no run of an agent that it governs"
    if findings and findings[0].truth is False:
        return "violated", findings[0].said
    if not clause.checks:
        return "undetermined", "the clause names no check: a person has to judge it"
    if incomplete := [run.run for run in governed if not run.is_complete]:
        return "undetermined", f"receipts of {incomplete[0]} are missing"
    if findings and findings[0].truth is None:
        return "undetermined", findings[0].said
    so_far = "" if all(run.is_closed for run in governed) else ", so far: not every run is closed"
    if not findings and not any(isinstance(check, Never) for check in clause.checks):
        return "not applicable", f"nothing that it speaks of is on the record{so_far}"
    if not findings:
        return "satisfied", f"nothing that it forbids is on the record{so_far}"
    said = findings[0].said if len(findings) == 1 else f"it holds in each of {len(findings)} cases"
    return "satisfied", f"{said}{so_far}"
