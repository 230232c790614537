"""Signing many receipts at a time: a few here, many by a second process while the gate goes on."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from answerable.ledger._ports import Signer

__all__ = ["Busyness", "SecondSigner", "SignQueue", "cores"]

log = logging.getLogger(__name__)

# MEASURED: sent 8 at a time, a signature takes 6 µs here and 36 there, 16 at a time 3 and 31; made here, 28. Sent more
# at a time, they come to the helper too late. A gate that is never busy starts no process.
_WORTH_SENDING = 16
_MOST_IN_PIPE = 512  # their signatures fit into the pipe back, so neither side ever waits for the other to read


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class SecondSigner(Protocol):
    """Signs elsewhere, in order. Any `OSError` means that it is gone."""

    def is_ready(self) -> bool:
        """Whether it has started; never waits."""

    def send(self, messages: Sequence[bytes]) -> None:
        """Have it sign these messages."""

    def receive(self, count: int) -> list[bytes]:
        """The signatures of the next `count` messages, 64 bytes each."""

    def close(self) -> None:
        """End it."""


class Busyness:
    """Whether this thread has worked most of the time since it was last asked, and there is another core.

    One that waits, for the disk or for its core, signs by itself: MEASURED, beside 100 agents that append to a disk
    that keeps them waiting, a helper takes half as much CPU again as the signatures that it makes. On the one core that
    a container may have, it makes an append 6 % dearer.
    """

    _MOST = 0.6

    def __init__(
        self,
        *,
        now_s: Callable[[], float] = time.perf_counter,
        worked_s: Callable[[], float] = time.thread_time,
        cores: Callable[[], int] = cores,
    ) -> None:
        self._clocks = now_s, worked_s
        self._cores = cores
        self._asked = now_s(), worked_s()

    def __call__(self) -> bool:
        before_s, worked_before_s = self._asked
        now_s, worked_s = (clock() for clock in self._clocks)
        self._asked = now_s, worked_s
        return worked_s - worked_before_s > self._MOST * (now_s - before_s) and self._cores() > 1


class SignQueue:
    """Messages to sign, in order, and their signatures, in the same order.

    What the helper cannot sign is signed here: an Ed25519 signature is the same wherever it is made.

    Args:
        is_busy: asked when a batch begins (`drop`); whether it may go to the helper.
    """

    def __init__(
        self,
        signer: Signer,
        start: Callable[[], SecondSigner] | None = None,
        *,
        is_busy: Callable[[], bool] = lambda: True,
    ) -> None:
        self._signer = signer
        self._start = start
        self._is_busy = is_busy
        self._may_send = is_busy()
        self._helper: SecondSigner | None = None
        self._messages: list[bytes] = []
        self._sent = 0

    def put(self, message: bytes) -> None:
        """Add a message."""
        self._messages.append(message)
        waiting = len(self._messages) - self._sent
        if waiting >= _WORTH_SENDING and self._may_send and self._start is not None and self._sent < _MOST_IN_PIPE:
            self._send()

    def take(self) -> list[bytes]:
        """The signatures of all messages added since the last time, 64 bytes each."""
        messages, sent = self._messages, self._sent
        self._messages, self._sent = [], 0
        # The last few are signed here, while the helper is still at those before them.
        signed_here = [self._signer.sign(message) for message in messages[sent:]]
        if not sent:
            return signed_here
        assert self._helper is not None
        try:
            return self._helper.receive(sent) + signed_here
        except OSError as error:
            self._lose(error)
            return [self._signer.sign(message) for message in messages[:sent]] + signed_here

    def drop(self) -> None:
        """Begin a batch; the messages of one that was rolled back are forgotten."""
        if self._sent:
            self.take()  # what the helper is at comes back first
        self._messages = []
        self._may_send = self._is_busy()

    def close(self) -> None:
        """End the helper."""
        self._start = None
        if self._helper is not None:
            self._helper.close()
            self._helper = None

    def _send(self) -> None:
        try:
            if self._helper is None:
                assert self._start is not None
                self._helper = self._start()
            if self._helper.is_ready():
                self._helper.send(self._messages[self._sent :])
                self._sent = len(self._messages)
        except OSError as error:
            # Those sent before are lost with it; `take` signs them again.
            self._sent = 0
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        log.warning("the signing process is gone (%s): the gate signs by itself from now on", error)
        helper, self._helper, self._start = self._helper, None, None
        if helper is not None:
            helper.close()
