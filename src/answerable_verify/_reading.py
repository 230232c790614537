"""Receipts read each by itself: unpacked, hashed, parsed, and their signatures checked.

What comes of it is as much as later checks ask for. Helper processes import this and nothing heavier: MEASURED, every
10 ms of a helper's start are a hundredth of verifying 10,000 receipts.
"""

import hashlib
import marshal
import sys
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import IO, Any, NamedTuple

from answerable_verify._container import Entry, read_entries
from answerable_verify._keys import is_signed
from answerable_verify._receipt import (
    BadReceipt,
    Receipt,
    Signed,
    pae,
    read_envelope,
    read_statement,
)

__all__ = ["Read", "of_row", "read_envelopes", "receive", "send", "serve"]

_LONGEST = 1 << 32
_FIELDS = attrgetter(*Receipt.__slots__)
_Row = tuple[bytes, tuple[Any, ...] | None, bool | None, tuple[str, str, str] | None]
"""A `Read` as it goes from process to process."""


class Read(NamedTuple):
    """What became of one member.

    Args:
        digest: SHA-256 of the member.
        receipt: None where it cannot be read.
        holds: whether its signature holds; None where the key that it names is not there.
        fault: why it cannot be read: the check that says so, what is wrong, and the id that it claims.
    """

    digest: bytes
    receipt: Receipt | None = None
    holds: bool | None = None
    fault: tuple[str, str, str] | None = None


def read_envelopes(envelopes: Iterable[tuple[str, bytes]], keys: Mapping[str, bytes]) -> list[Read]:
    """These receipts, by member, and whether one of these keys (raw, by id) signed each.

    MEASURED: one step after the other for all of them, and not all steps for one after the other, saves a fifth of what
    is not signatures: each step finds the processor's caches as it left them.
    """
    found = list(envelopes)
    members, contents = [name for name, _ in found], [content for _, content in found]
    digests = [hashlib.sha256(content).digest() for content in contents]
    try:
        signed = [read_envelope(content) for content in contents]
        receipts = list(map(read_statement, signed, digests, members))
    except BadReceipt:
        return [_read(*each, keys) for each in zip(members, contents, digests, strict=True)]
    return list(map(Read, digests, receipts, [_holds(each, keys) for each in signed]))


def _read(member: str, content: bytes, digest: bytes, keys: Mapping[str, bytes]) -> Read:
    """The same of one receipt, which may be none."""
    try:
        signed = read_envelope(content)
        receipt = read_statement(signed, digest, member)
    except BadReceipt as error:
        return Read(digest, fault=(error.check, str(error), error.receipt))
    return Read(digest, receipt, _holds(signed, keys))


def _holds(signed: Signed, keys: Mapping[str, bytes]) -> bool | None:
    public = keys.get(signed.key_id)
    return is_signed(pae(signed.body), signed.signature, public) if public else None


def serve() -> None:
    """What a helper does: take chunks from standard input, answer on standard output what became of each member."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    file, keys = receive(source)
    while True:
        try:
            entries = [Entry(*said) for said in receive(source)]
        except EOFError:
            return
        send(sink, [_row(read) for read in read_envelopes(read_entries(file, entries), keys)])


def _row(read: Read) -> _Row:
    return read.digest, _FIELDS(read.receipt) if read.receipt else None, read.holds, read.fault


def of_row(row: _Row) -> Read:
    """A `Read` that another process sent."""
    digest, fields, holds, fault = row
    return Read(digest, Receipt(*fields) if fields else None, holds, fault)


def send(sink: IO[bytes], said: Any) -> None:
    """Send values that `marshal` knows to the other side of a pipe."""
    body = marshal.dumps(said)
    sink.write(len(body).to_bytes(8, "big") + body)
    sink.flush()


def receive(source: IO[bytes], count: int = 0) -> Any:
    """What the other side sent: so many things, where a number is given.

    SECURITY: it is this program again, started by itself, and nobody else's pipe.
    """
    size = int.from_bytes(source.read(8), "big")
    if not 0 < size < _LONGEST:
        raise EOFError
    body = source.read(size)
    if len(body) != size:
        raise EOFError
    said = marshal.loads(body)  # noqa: S302
    if count and len(said) != count:
        raise ValueError
    return said
