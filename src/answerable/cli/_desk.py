"""What commands read of the desk, and one write: through the gate that owns it, or as its owner for the moment."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from answerable.cli._errors import FileUnusable, InputNotJson
from answerable.cli._tenant import tenant
from answerable.core import Action, TenantId
from answerable.identity import People, SigningKeys
from answerable.ledger import Draft, Reader
from answerable.policy import Approvals, Autonomy, Labels, Stops
from answerable.server import Writes, control

__all__ = [
    "approvals_of",
    "autonomy_of",
    "digest_of",
    "json_value",
    "labels_of",
    "people_of",
    "signing_keys_of",
    "stops_of",
    "write",
]


def write(data: Path, do: Callable[[Writes], Awaitable[Any]], *, may_begin: bool = False) -> dict[str, Any]:
    """What `do` wrote, as JSON.

    Args:
        do: writes.
        may_begin: whether it may be the first thing on a record that is made for it.

    Raises:
        NoStore: there is no record yet, and a mistyped directory should not become one.
    """
    # Only a write needs the whole application: listing and showing should answer at once.
    from answerable.app import open_desk

    if not may_begin:
        Reader.open(data).close()

    async def reach() -> Any:
        async with control(data, open_desk, tenant=tenant()) as writes:
            return await do(writes)

    return cast(dict[str, Any], asyncio.run(reach()))


def digest_of(file: Path) -> dict[str, str]:
    """A file as evidence: its digest."""
    try:
        return {"kind": "file", "digest": "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()}
    except OSError as error:
        raise FileUnusable(file=str(file), reason=str(error.strerror)) from None


def json_value(option: str, text: str) -> Any:
    """The JSON that was passed: itself, `@FILE`, or `-` for standard input."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise FileUnusable(file=text[1:], reason=str(error.strerror)) from None
    except ValueError as error:
        raise InputNotJson(option=option, problem=str(error)) from None


def approvals_of(reader: Reader) -> Approvals:
    """Approvals, to look at."""
    return Approvals(book=_Closed(reader), store=reader)


def autonomy_of(reader: Reader) -> Autonomy:
    """Tiers of agents, to look at."""
    return Autonomy(book=_Closed(reader), store=reader)


def labels_of(reader: Reader) -> Labels:
    """Labels of runs, to look at."""
    return Labels(book=_Closed(reader), store=reader, tenant=tenant())


def people_of(reader: Reader) -> People:
    """People registered, to look at."""
    return People(book=_Closed(reader), store=reader, tenant=tenant())


def signing_keys_of(reader: Reader) -> SigningKeys:
    """Keys that people sign with, to look at."""
    return SigningKeys(book=_Closed(reader), store=reader, tenant=tenant())


def stops_of(reader: Reader) -> Stops:
    """Stops, to look at."""
    return Stops(book=_Closed(reader), store=reader)


class _Closed:
    """The book of whoever only reads."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def append(self, draft: Draft) -> Any:
        raise RuntimeError("a reader writes nothing: `write` does")

    def committed_input(self, action: Action) -> tuple[str, Any, str]:
        raise RuntimeError("a reader writes nothing: `write` does")

    def pseudonym(self, tenant: TenantId, name: str) -> str:
        return self._reader.pseudonym(tenant, name)
