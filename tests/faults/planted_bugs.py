"""Plants one bug at a time in a copy of the source, and expects the tests to notice.

A suite that lets a planted bug through would let a real one through. Run by hand with
`python -m tests.faults.planted_bugs`, and by `test_planted_bugs.py`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults.bug import Bug
from tests.faults.verifier_bugs import VERIFIER_BUGS

__all__ = ["BUGS", "Bug", "is_caught"]

_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "node_modules")
ROOT = Path(__file__).parents[2]
_ENGINE = "tests/contracts/test_engine_store.py::TestStoreEngine"


BUGS = (
    *VERIFIER_BUGS,
    Bug(
        name="a lost write is repeated without asking anyone",
        file="answerable/action/_pipeline.py",
        right="        await self.journal.answered(doubt)\n        return False",
        wrong="        return True",
        tests=("src/answerable/action",),
    ),
    Bug(
        name="a refused action is executed all the same",
        file="answerable/action/_pipeline.py",
        right="            elif step.refusal:\n                outcome = step.refusal\n",
        wrong="            elif step.refusal:\n                outcome = await self._execute_and_close(step)\n",
        tests=("src/answerable/action",),
    ),
    Bug(
        name="an exception after dispatch reads as failed, so the write looks undone",
        file="answerable/action/_pipeline.py",
        right="    return step.action.effect is Effect.READ",
        wrong="    return True",
        tests=("src/answerable/action",),
    ),
    Bug(
        name="a hold that nobody discharged is let through",
        file="answerable/ledger/_journal.py",
        right='            wait = "new"  # SECURITY: nobody discharged the obligation, so it is open',
        wrong="            pass",
        tests=("src/answerable/ledger",),
    ),
    Bug(
        name="a stale slice may still open new work",
        file="answerable/ledger/_journal.py",
        right="        if tx.fence(self._action.run) != self._slice.fence:",
        wrong="        if False:",
        tests=("src/answerable/ledger",),
    ),
    Bug(
        name="a step may have two outcomes",
        file="answerable/ledger/_journal.py",
        right='    return "" if is_observed else f"o:{action.run}:{action.step}"',
        wrong='    return ""',
        tests=("src/answerable/ledger",),
    ),
    Bug(
        name="an outcome that comes late wakes nobody",
        file="answerable/ledger/_journal.py",
        right="            wake=self.is_final and tx.fence(action.run) != self._fence,",
        wrong="            wake=False,",
        tests=("src/answerable/ledger",),
    ),
    Bug(
        name="a wake between the last read and the park is lost",
        file="answerable/ledger/_leases.py",
        right="            if rows[0][3] != taken.seen:",
        wrong="            if False:",
        tests=("src/answerable/ledger",),
    ),
    Bug(
        name="the chain names the receipt itself instead of the one before",
        file="answerable/ledger/_statement.py",
        right='        predicate["prev"] = prev',
        wrong='        predicate["prev"] = "sha256:" + "0" * 64',
        tests=("src/answerable/ledger",),
    ),
    Bug(
        name="the log's tree merges one subtree too few",
        file="answerable/ledger/_merkle.py",
        right="        while unmerged & 1:",
        wrong="        if unmerged & 1:",
        tests=("src/answerable/ledger",),
    ),
    Bug(
        name="the signature covers the body without its type",
        file="answerable/ledger/_receipt.py",
        right='    return b"".join((_PAE, str(len(body)).encode(), b" ", body))',
        wrong="    return body",
        tests=("tests/conformance",),
    ),
    Bug(
        name="floats slip into receipts",
        file="answerable/core/_canonical.py",
        right="    elif kind is float:",
        wrong="    elif kind is complex:",
        tests=("src/answerable/core", "tests/properties"),
    ),
    Bug(
        name="a key file that others can read is used",
        file="answerable/ledger/_keys.py",
        right="    if mode & 0o077:",
        wrong="    if mode & 0o007 == 0o007:",
        tests=("src/answerable/ledger",),
    ),
    Bug(
        name="identical calls share a step key, so the second gets the first one's outcome",
        file="answerable/runtime/_calls.py",
        right="    said = stable_json([branch, kind, name, arguments.decode(), occurrence])",
        wrong="    said = stable_json([branch, kind, name, arguments.decode(), 0])",
        tests=("src/answerable/runtime/_tests/test_slice.py",),
    ),
    Bug(
        name="an effect under way is taken for a lost one by the next slice",
        file="answerable/runtime/_journal.py",
        right="            self._performing.begin(action)",
        wrong="            pass",
        tests=(f"{_ENGINE}::test_a_late_outcome_of_a_lost_slice_is_taken_once_and_the_effect_not_repeated",),
    ),
    Bug(
        name="a write that timed out is tried again although it may have happened",
        file="answerable/runtime/_reliable.py",
        right='            may_repeat = outcome.status == "failed" or step.action.is_repeatable',
        wrong="            may_repeat = True",
        tests=("src/answerable/runtime/_tests/test_reliable.py",),
    ),
    Bug(
        name="a new write overtakes effects that the agent has yet to call again",
        file="answerable/runtime/_journal.py",
        right="            await self._waits.cleared(action)",
        wrong="            pass",
        tests=("src/answerable/runtime/_tests", "tests/properties/test_replay.py"),
    ),
    Bug(
        name="a slice that parks takes wakes it never saw for seen",
        file="answerable/runtime/_worker.py",
        right="seen=lease.seen + slice_.wakes",
        wrong="seen=lease.seen + slice_.wakes + 1",
        tests=(f"{_ENGINE}::test_a_wake_between_the_last_read_and_the_park_is_not_lost",),
    ),
    Bug(
        name="nobody gives back what a cancelled claim took",
        file="answerable/runtime/_worker.py",
        right="                await leases.release(unused)",
        wrong="                pass",
        tests=(f"{_ENGINE}::test_a_worker_cancelled_before_the_first_slice_leaves_the_run_to_the_next",),
    ),
    Bug(
        name="an outcome is dropped when the disk is full",
        file="answerable/ledger/_journal.py",
        right="                if pause_s is None:",
        wrong="                if True:",
        tests=("tests/faults/test_full_disk.py",),
    ),
    Bug(
        name="whoever asked for a run may approve what it does",
        file="answerable/policy/_deciding.py",
        right="        if found.terms.not_initiator and self._is(found.initiator, by, found.tenant):",
        wrong="        if False:",
        tests=("src/answerable/policy/_tests/test_approvals.py",),
    ),
    Bug(
        name="an approval of another action is taken for this one",
        file="answerable/policy/_approvals.py",
        right='        _a.digest == _P("digest"),',
        wrong='        _a.digest != "",',
        tests=("src/answerable/policy/_tests/test_approvals.py",),
    ),
    Bug(
        name="what is reserved but not yet spent does not count against a budget",
        file="answerable/policy/_budgets.py",
        right="                left = limit - spent - reserved",
        wrong="                left = limit - spent",
        tests=("src/answerable/policy/_tests/test_budgets.py", "tests/properties/test_budget.py"),
    ),
    Bug(
        name="a fact that moved since the decision goes unnoticed",
        file="answerable/policy/_counting.py",
        right="name)[0] != scope.version:\n                    return Ruling(moved=True)",
        wrong="name)[0] != scope.version:\n                    return None",
        tests=("src/answerable/policy/_tests/test_facts.py",),
    ),
    Bug(
        name="a policy that fails to evaluate is skipped",
        file="answerable/policy/_policies.py",
        right="        if errors:",
        wrong="        if False:",
        tests=("src/answerable/policy/_tests/test_policies.py",),
    ),
    Bug(
        name="the verifier takes any signature",
        file="answerable_verify/_verify.py",
        right="        if not holds:",
        wrong="        if False:",
        tests=("tests/faults/test_tampering.py",),
    ),
    Bug(
        name="the verifier does not compare the root hash with the checkpoint's",
        file="answerable_verify/_inlog.py",
        right="    if checkpoint and root != checkpoint.root:",
        wrong="    if False:",
        tests=("tests/faults/test_tampering.py",),
    ),
    Bug(
        name="the verifier does not follow the chain",
        file="answerable_verify/_history.py",
        right="        elif after.prev != before.digest and not {before.id, after.id} & damaged:",
        wrong="        elif False:",
        tests=("tests/faults/test_forked_chain.py",),
    ),
    Bug(
        name="the verifier takes any text for the one committed to",
        file="answerable_verify/_texts.py",
        right="        digest = hashlib.sha256(content).digest()",
        wrong="        digest = bytes.fromhex(name)",
        tests=("tests/faults/test_tampering.py",),
    ),
    Bug(
        name="one witness too few is enough",
        file="answerable_verify/_inlog.py",
        right="enough >= trust.quorum",
        wrong="enough + 1 >= trust.quorum",
        tests=("tests/faults/test_watched_evidence.py",),
    ),
    Bug(
        name="a cosignature counts unchecked",
        file="answerable_verify/_watchers.py",
        right=" and is_signed(said, signature, cosigner.public_key)",
        wrong="",
        tests=("tests/faults/test_watched_evidence.py",),
    ),
    Bug(
        name="an entry may be left out of a complete bundle",
        file="answerable_verify/_inlog.py",
        right="    wanted = max(checkpoint.size - span, 0)\n",
        wrong="    wanted = sum(span <= place < checkpoint.size for place in places.values())\n",
        tests=("tests/faults/test_watched_evidence.py",),
    ),
    Bug(
        name="an older checkpoint may be of any history",
        file="answerable_verify/_inlog.py",
        right="older.size != span or older.root != root",
        wrong="older.size != span",
        tests=("tests/faults/test_watched_evidence.py",),
    ),
    Bug(
        name="a key's period has no end",
        file="answerable_verify/_inlog.py",
        right="(end and at > end)",
        wrong="(end and at < start)",
        tests=("tests/faults/test_watched_evidence.py",),
    ),
    Bug(
        name="times of others are not compared",
        file="answerable_verify/_inlog.py",
        right="at_s > not_after_s + _SKEW_S",
        wrong="at_s > not_after_s + at_s",
        tests=("tests/faults/test_watched_evidence.py",),
    ),
    Bug(
        name="a path may lead from any index",
        file="answerable_verify/_proof.py",
        right='    if root != checkpoint.root:\n        desk.say("inclusion", "receipt and path',
        wrong='    if not root:\n        desk.say("inclusion", "receipt and path',
        tests=("tests/faults/test_watched_evidence.py",),
    ),
    Bug(
        name="a monitor takes entries that the checkpoint does not sign",
        file="answerable_verify/_monitor.py",
        right="        if root != checkpoint.root:\n            what",
        wrong="        if not root:\n            what",
        tests=("tests/faults/test_monitor.py",),
    ),
    Bug(
        name="a monitor forgets what it found",
        file="answerable_verify/_monitor.py",
        right="self.is_caught_up and not self.standing and not self.new",
        wrong="self.is_caught_up and not self.new",
        tests=("tests/faults/test_monitor.py",),
    ),
    Bug(
        name="a monitor lets a number be skipped",
        file="answerable_verify/_monitor.py",
        right="(n := receipt.n) != wanted:",
        wrong="(n := receipt.n) < wanted:",
        tests=("tests/faults/test_monitor.py",),
    ),
    Bug(
        name="a witness cosigns what does not continue",
        file="answerable/witness/_witness.py",
        right="if (head.size == 0 and head.root != _EMPTY) or not is_consistent(",
        wrong="if (head.size == 0 and head.root != _EMPTY) and not is_consistent(",
        tests=("src/answerable/witness",),
    ),
    Bug(
        name="a witness answers before it keeps",
        file="answerable/witness/_witness.py",
        right='        self._files.put(f"{_hash(head.origin)}/checkpoint", str(signed).encode())\n',
        wrong="",
        tests=("src/answerable/witness",),
    ),
    Bug(
        name="a rewritten record is published over the log",
        file="answerable/ledger/_published.py",
        right=" or tree.range_hash(0, shown.size) != shown.root or tree.root() != head.root",
        wrong="",
        tests=("src/answerable/ledger/_tests/test_published.py",),
    ),
)


def is_caught(bug: Bug, root: Path = ROOT) -> bool:
    """Whether the tests fail when the bug is there.

    Raises:
        ValueError: the source no longer has the place where the bug would be.
    """
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        copy = Path(folder)
        for name in ("src", "tests", "examples", "conformance", "docs", "pyproject.toml"):
            if (root / name).is_dir():
                shutil.copytree(
                    root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "node_modules")
                )
            elif (root / name).exists():
                shutil.copy(root / name, copy / name)
        target = copy / "src" / bug.file
        text = target.read_text()
        if text.count(bug.right) != 1:
            raise ValueError(f"{bug.file} has {text.count(bug.right)} places for: {bug.name}")
        target.write_text(text.replace(bug.right, bug.wrong))
        program = (
            f"import sys; sys.path[:0] = [{str(copy / 'src')!r}, {str(copy)!r}]\n"
            "import answerable, pytest\n"
            f"assert answerable.__file__.startswith({str(copy)!r})\n"
            "sys.exit(pytest.main(sys.argv[1:]))"
        )
        arguments = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *bug.tests]
        # Processes that the tests start must run the copy too.
        environment = {**os.environ, "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}"}
        ran = subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=copy, env=environment, capture_output=True, text=True
        )
        if ran.returncode not in (0, 1):
            raise ValueError(f"the tests for {bug.name!r} did not run: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
        return ran.returncode == 1


def main(names: Sequence[str]) -> int:
    """Try every bug, or those whose names contain one of `names`."""
    missed = 0
    for bug in BUGS:
        if names and not any(name in bug.name for name in names):
            continue
        caught = is_caught(bug)
        missed += not caught
        print("caught" if caught else "MISSED", bug.name, flush=True)  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
