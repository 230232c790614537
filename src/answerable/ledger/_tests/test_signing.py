"""Signing many receipts at a time, here and in a second process."""

import os
import signal
from pathlib import Path

import pytest

from answerable.ledger._drivers._signer import SigningProcess
from answerable.ledger._keys import FileSigner
from answerable.ledger._signing import Busyness, SignQueue


@pytest.fixture
def signer(tmp_path: Path) -> FileSigner:
    return FileSigner.open(tmp_path / "gate.key")


def started(signer: FileSigner) -> SigningProcess:
    """A helper that is known to be ready."""
    helper = signer.start_helper()
    while not helper.is_ready():
        os.sched_yield()
    return helper


MESSAGES = [os.urandom(size) for size in (0, 1, 1300, 70_000, *range(200, 296))]


@pytest.mark.parametrize("count", [1, 15, 16, 17, 100])
def test_the_signatures_are_the_signers_own_in_order_wherever_they_were_made(signer: FileSigner, count: int) -> None:
    queue = SignQueue(signer, lambda: started(signer))

    for _ in range(3):  # the process goes on from one batch to the next
        for message in MESSAGES[:count]:
            queue.put(message)
        assert queue.take() == [signer.sign(message) for message in MESSAGES[:count]]

    queue.close()


def test_a_few_messages_start_no_process(signer: FileSigner) -> None:
    def refuse() -> SigningProcess:
        raise AssertionError("started")

    queue = SignQueue(signer, refuse)
    for message in MESSAGES[:15]:
        queue.put(message)

    assert len(queue.take()) == 15


def test_a_gate_that_waits_most_of_the_time_signs_by_itself(signer: FileSigner) -> None:
    def refuse() -> SigningProcess:
        raise AssertionError("started")

    queue = SignQueue(signer, refuse, is_busy=lambda: False)
    for message in MESSAGES:
        queue.put(message)

    assert queue.take() == [signer.sign(message) for message in MESSAGES]


def test_a_thread_is_busy_if_it_worked_most_of_the_time_since_it_was_last_asked() -> None:
    now_s, worked_s = iter([0, 10, 20, 30]), iter([0, 9, 11, 18])
    is_busy = Busyness(now_s=lambda: next(now_s), worked_s=lambda: next(worked_s), cores=lambda: 2)

    assert [is_busy(), is_busy(), is_busy()] == [True, False, True]


def test_on_one_core_nobody_else_is_asked_to_sign() -> None:
    now_s, worked_s = iter([0, 10]), iter([0, 9])

    assert not Busyness(now_s=lambda: next(now_s), worked_s=lambda: next(worked_s), cores=lambda: 1)()


@pytest.mark.parametrize("after", [0, 16, 60])
def test_a_killed_signing_process_costs_no_signature(
    signer: FileSigner, after: int, caplog: pytest.LogCaptureFixture
) -> None:
    helpers: list[SigningProcess] = []

    def start() -> SigningProcess:
        helpers.append(started(signer))
        return helpers[-1]

    queue = SignQueue(signer, start)
    for message in MESSAGES[:16]:
        queue.put(message)
    queue.take()
    for number, message in enumerate(MESSAGES):
        if number == after:
            os.kill(helpers[0].pid, signal.SIGKILL)
        queue.put(message)

    assert queue.take() == [signer.sign(message) for message in MESSAGES]
    assert "signs by itself from now on" in caplog.text
    for message in MESSAGES:
        queue.put(message)
    assert queue.take() == [signer.sign(message) for message in MESSAGES]
    assert len(helpers) == 1, "it is not started again"


def test_a_signing_process_that_cannot_start_costs_no_signature(signer: FileSigner) -> None:
    def fail() -> SigningProcess:
        raise FileNotFoundError("no interpreter")

    queue = SignQueue(signer, fail)
    for message in MESSAGES:
        queue.put(message)

    assert queue.take() == [signer.sign(message) for message in MESSAGES]


def test_what_was_dropped_is_not_signed_for_the_next(signer: FileSigner) -> None:
    queue = SignQueue(signer, lambda: started(signer))
    for message in MESSAGES[:20]:
        queue.put(message)

    queue.drop()
    for message in MESSAGES[20:40]:
        queue.put(message)

    assert queue.take() == [signer.sign(message) for message in MESSAGES[20:40]]
    queue.close()


def test_the_process_ends_with_its_input(signer: FileSigner) -> None:
    helper = started(signer)

    helper.close()

    with pytest.raises(ProcessLookupError):
        os.kill(helper.pid, 0)
