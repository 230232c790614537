"""What a verification found: every check, everything wrong, and what a pass does not establish."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["COVERS", "Assurance", "Check", "Finding", "Report", "RunSummary", "Verdict"]

Verdict = Literal["verified", "self-consistent", "undetermined", "does not verify"]
Assurance = Literal["", "dev", "local", "witnessed", "witnessed+monitored"]

COVERS: Mapping[str, str] = {
    "container": "the file is a whole ZIP within bounds: no doubled, unsafe or oversized member",
    "manifest": "every member is the one the manifest lists, and none is missing or added",
    "envelope": "each receipt is one DSSE envelope, canonical JSON and canonical base64",
    "statement": "each receipt is an in-toto statement of the receipt format, canonical JSON",
    "signature": "each receipt is signed (Ed25519) by a gate key of the trust, over its exact bytes",
    "key-role": "gate keys sign receipts only, and the log key signs checkpoints only",
    "chain": "in each run seq counts 0, 1, 2 …, prev names the receipt before, run.close states count and last",
    "key-period": "gate, log and people's keys signed while they were in use, by the dates of the trust file",
    "time": "the gate's clock never runs backwards within a run, and agrees with those who watched the log",
    "counters": "boundary.n is never used twice, rises with the log, and leaves no number without an entry",
    "steps": "outcomes answer intents of their step and attempt, once; what is denied is never done",
    "approvals": "what was held went ahead only with enough approvals of exactly that action, given before, by others",
    "people": "each signature by a person holds over the action answered, under a key of the trust if it names any",
    "digests": "each action digest follows from what the receipt says of the action",
    "texts": "each disclosed text is the one that a receipt committed to",
    "erasures": "what receipts say was erased can be, is not here, and is told of in the control run",
    "requests": "each disclosed decision request is of the action and agent it is cited for",
    "inclusion": "each receipt is an entry of the log whose root hash the checkpoint states",
    "complete": "every entry of the log between the two checkpoints is here: nothing was left out",
    "checkpoint": "the checkpoint is of the trusted log and tenant, signed by the log key",
    "witnesses": "cosignatures on the checkpoint hold: witnesses and monitors of the trust saw this one history",
    "timestamps": "an authority of the trust stamped the checkpoint",
}
"""What each check establishes when it passes, in the order in which the first fault is named."""

ISOLATIONS = ("same-process", "same-user", "separate-user", "remote")
"""How far agents are kept from a gate, the weakest first: what the gate says of itself in each receipt."""

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check and what became of it.

    Args:
        count: how many things it looked at; 0 means there was nothing to check.
    """

    name: str
    covers: str
    status: Literal["passed", "failed", "not checked"]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing wrong.

    Args:
        receipt: the id of the receipt at fault, where one can be named.
        member: the bundle member at fault, where one can be named.
    """

    check: str
    what: str
    receipt: str = ""
    member: str = ""

    def __str__(self) -> str:
        where = " ".join(part for part in (self.receipt, f"({self.member})" if self.member else "") if part)
        return f"{self.check}: {where + ': ' if where else ''}{self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What the receipts of one run amount to.

    Args:
        state: as its `run.close` says; `open` where there is none.
        unknown: ids of intents without an outcome: the effect may have happened.
    """

    run: str
    receipts: int
    state: str
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of a verification.

    Args:
        verdict: `verified` against the verifier's own trust; `self-consistent` without one;
            `undetermined` where nothing is wrong and something cannot be told; `does not verify`.
        assurance: `dev` where the keys are the bundle's own, `local` where they are pinned, `witnessed` where
            enough witnesses cosigned, `witnessed+monitored` where a monitor did too; empty where it does not
            verify.
        isolation: how far agents were kept from the gate, by the weakest receipt: one of `ISOLATIONS`.
        findings: everything wrong, the first first.
        open_questions: why the verdict is `undetermined`.
        notes: facts a reader should know that are not faults.
        not_established: what a pass does not show.
    """

    verdict: Verdict
    assurance: Assurance
    checks: tuple[Check, ...]
    findings: tuple[Finding, ...] = ()
    open_questions: tuple[str, ...] = ()
    runs: tuple[RunSummary, ...] = ()
    notes: tuple[str, ...] = ()
    not_established: tuple[str, ...] = ()
    receipts: int = 0
    origin: str = field(default="")
    tree_size: int = 0
    isolation: str = ""

    @property
    def first(self) -> Finding | None:
        """The first thing wrong."""
        return self.findings[0] if self.findings else None

    @property
    def exit_code(self) -> int:
        """0 verified against a trust, 3 self-consistent only or undetermined, 4 does not verify."""
        return {"verified": 0, "self-consistent": 3, "undetermined": 3, "does not verify": 4}[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""

        def finding(found: Finding) -> dict[str, str]:
            return {"check": found.check, "receipt": found.receipt, "member": found.member, "what": found.what}

        return {
            "verdict": self.verdict,
            "exitCode": self.exit_code,
            "assurance": self.assurance,
            "isolation": self.isolation,
            "receipts": self.receipts,
            "origin": self.origin,
            "treeSize": self.tree_size,
            "first": finding(self.first) if self.first else None,
            "findings": [finding(found) for found in self.findings],
            "openQuestions": list(self.open_questions),
            "checks": [
                {"name": check.name, "status": check.status, "count": check.count, "covers": check.covers}
                for check in self.checks
            ],
            "runs": [
                {"run": run.run, "receipts": run.receipts, "state": run.state, "unknown": list(run.unknown)}
                for run in self.runs
            ],
            "notes": list(self.notes),
            "notEstablished": list(self.not_established),
        }

    def lines(self) -> Iterator[str]:
        """The report for a person to read, line by line.

        SECURITY: what a bundle says may be made to fool a terminal, so nothing unprintable comes through.
        """
        return ("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line) for line in self._lines())

    def _lines(self) -> Iterator[str]:
        if self.verdict == "does not verify":
            yield "DOES NOT VERIFY"
        elif self.verdict == "verified":
            yield f"VERIFIED against your trust file (assurance: {self.assurance})"
        elif self.verdict == "self-consistent":
            yield "SELF-CONSISTENT ONLY (assurance: dev): the keys are the bundle's own; give --trust FILE"
        else:
            yield f"UNDETERMINED (assurance: {self.assurance}): nothing is wrong, and something cannot be told"
        if self.isolation and not self.first:
            yield f"isolation of the gate from its agents: {self.isolation}"
        if self.first:
            yield f"first fault: {self.first}"
            for found in self.findings[1:_SHOWN]:
                yield f"       also: {found}"
            if len(self.findings) > _SHOWN:
                yield f"       and {len(self.findings) - _SHOWN} more (--json lists all)"
        for question in self.open_questions:
            yield f"open question: {question}"
        yield ""
        yield f"checks ({self.receipts} receipts, log {self.origin or '?'} of {self.tree_size} entries)"
        marks = {"passed": "ok  ", "failed": "FAIL", "not checked": "-   "}
        for check in self.checks:
            yield f"  {marks[check.status]} {check.name:<10} {check.count:>6}  {check.covers}"
        yield ""
        for run in self.runs:
            yield f"run {run.run}: {run.receipts} receipts, {run.state}"
            for intent in run.unknown:
                yield f"  unknown: intent {intent} has no outcome; its effect may have happened"
        for note in self.notes:
            yield f"note: {note}"
        if self.not_established:
            yield ""
            yield "not established by a pass"
            for claim in self.not_established:
                yield f"  - {claim}"
