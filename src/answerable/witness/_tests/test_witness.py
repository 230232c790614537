"""What a witness cosigns, what it refuses with which status, and what no crash makes it forget."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from answerable.witness import (
    VerifierKeyMalformed,
    Witness,
    WitnessBusy,
    WitnessUnnamed,
    cosigned_at,
    make_witness,
    parse_note,
    vkey_of,
)
from answerable.witness._tests.people import FakeLog, a_signer

NAME = "witness.example/ada"


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    make_witness(tmp_path / "w", NAME)
    return Witness.open(tmp_path / "w")


@pytest.fixture
def log(witness: Witness) -> FakeLog:
    found = FakeLog().grow(5)
    witness.add_log(str(found.key))
    return found


def cosigned(witness: Witness, log: FakeLog, body: str) -> bool:
    note = parse_note((str(log.checkpoint()) + body).encode())
    return any(cosigned_at(witness.key, note.text, line) is not None for line in note.lines)


@pytest.mark.requirement("EV-2")
def test_a_log_that_grows_is_cosigned_again_and_again(witness: Witness, log: FakeLog) -> None:
    for old, grown in ((0, 0), (5, 3), (8, 0), (8, 200)):
        answer = witness.add_checkpoint(log.grow(grown).request(old))

        assert answer.status == 200
        assert cosigned(witness, log, answer.body)
        kept = parse_note(witness.checkpoint(hashlib.sha256(log.origin.encode()).hexdigest()).body.encode())
        assert kept.is_signed_by(log.key)
        assert kept.by(witness.key)


def test_a_witness_behind_or_ahead_says_which_size_it_knows(witness: Witness, log: FakeLog) -> None:
    witness.add_checkpoint(log.request(0))

    answer = witness.add_checkpoint(log.grow(3).request(0))

    assert (answer.status, answer.body, answer.content_type) == (409, "5\n", "text/x.tlog.size")


@pytest.mark.requirement("EV-2")
def test_a_rewritten_history_is_not_cosigned_and_its_signed_head_is_kept(witness: Witness, log: FakeLog) -> None:
    witness.add_checkpoint(log.request(0))
    log.entries[2] = b"another"

    answer = witness.add_checkpoint(log.grow(3).request(5))

    assert answer.status == 422
    assert [parse_note(note.encode()).text for note in witness.conflicts()] == [log.checkpoint().text]
    assert witness.checkpoint(hashlib.sha256(log.origin.encode()).hexdigest()).body.split("\n")[1] == "5"


@pytest.mark.requirement("EV-2")
def test_two_roots_of_one_size_are_a_split_view(witness: Witness, log: FakeLog) -> None:
    witness.add_checkpoint(log.request(0))
    log.entries[4] = b"another"

    assert witness.add_checkpoint(log.request(5, proof=[])).status == 422
    assert witness.add_checkpoint(log.request(0)).status == 409
    assert len(witness.conflicts()) == 1


@pytest.mark.parametrize(
    ("status", "spoil"),
    [
        (400, lambda body: b""),
        (400, lambda body: body.replace(b"old 0", b"old 00")),
        (400, lambda body: body.replace(b"old 0", b"new 0")),
        (400, lambda body: body.replace(b"old 0", b"old -1")),
        (400, lambda body: body.replace(b"old 0\n", b"old 0\nAAAA\n")),
        (400, lambda body: body.replace(b"old 0\n", b"old 0\n" + b"A" * 43 + b"=\n" * 1 + b"x\n")),
        (400, lambda body: body.replace(b"old 0\n", b"old 0\n" + (b"A" * 43 + b"=\n") * 64)),
        (400, lambda body: body[:-1]),
        (400, lambda body: body + b"x" * 200_000),
        (400, lambda body: body.replace(b"old 0", b"old 6")),
        (403, lambda body: body.replace(b"\n5\n", b"\n6\n")),
        (404, lambda body: body.replace(b"log.example/a", b"log.example/b")),
        (409, lambda body: body.replace(b"old 0", b"old 3")),
        (422, lambda body: body.replace(b"old 0\n", b"old 0\n" + b"A" * 43 + b"=\n")),
    ],
)
def test_a_request_that_is_not_right_is_refused_as_the_standard_says(
    witness: Witness, log: FakeLog, status: int, spoil: object
) -> None:
    answer = witness.add_checkpoint(spoil(log.request(0)))  # type: ignore[operator]

    assert answer.status == status
    assert witness.checkpoint(hashlib.sha256(log.origin.encode()).hexdigest()).status == 404


def test_a_signature_of_another_key_under_the_logs_name_is_refused(witness: Witness, log: FakeLog) -> None:
    forged = FakeLog(key=8).grow(5)

    assert witness.add_checkpoint(forged.request(0)).status == 403


def test_an_empty_log_has_the_root_of_nothing(witness: Witness, log: FakeLog) -> None:
    assert witness.add_checkpoint(log.request(0, 0)).status == 200
    assert witness.add_checkpoint(log.request(0, 5)).status == 200


@pytest.mark.parametrize("place", ["", "..", "../name", "0" * 63, "G" * 64])
def test_only_hashes_of_origins_name_checkpoints(witness: Witness, place: str) -> None:
    assert witness.checkpoint(place).status == 404


def test_a_witness_has_one_name_one_process_and_a_key_of_its_own(witness: Witness, tmp_path: Path) -> None:
    with pytest.raises(WitnessUnnamed):
        make_witness(witness.folder, "witness.example/eve")
    with pytest.raises(WitnessUnnamed):
        make_witness(tmp_path / "x", "two words")
    with pytest.raises(WitnessUnnamed):
        Witness.open(tmp_path / "nothing")
    with pytest.raises(VerifierKeyMalformed):
        witness.add_log(str(vkey_of(a_signer(1), "w.example", role="witness")))
    with witness, pytest.raises(WitnessBusy), Witness.open(witness.folder):
        pass


_CHILD = """
import sys
from pathlib import Path
from answerable.witness import Witness
witness = Witness.open(Path(sys.argv[1]))
for line in sys.stdin:
    print(witness.add_checkpoint(bytes.fromhex(line)).status, flush=True)
"""


@pytest.mark.slow
@pytest.mark.requirement("EV-2")
def test_a_witness_killed_after_any_answer_remembers_what_it_signed(witness: Witness, log: FakeLog) -> None:
    other = FakeLog().grow(5)
    other.entries[0] = b"rewritten"
    old = 0
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(witness.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(log.request(old).hex() + "\n")
        child.stdin.flush()
        assert child.stdout.readline() == "200\n"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdin.close()
        child.stdout.close()
        old = len(log.entries)

        assert witness.add_checkpoint(other.grow(4).request(old, proof=[bytes(32)] * 3)).status == 422
        assert witness.add_checkpoint(log.grow(3).request(0)).status == 409
