"""Pins: what each tool's server said of it when a person, or the first sight of it, took it for good.

A description can mislead an agent as well as a schema can, so all that an agent's model reads is pinned.
Pins are receipts of phase `control` in the tenant's control run; what was accepted is sealed with them.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import sqlalchemy as sa

from answerable.core import TenantId, sha256_name, stable_json
from answerable.ledger import Appended, Draft, Phase, Prepared, Receipt, Tx, control_run, metadata
from answerable.tools._ports import ListedTool

__all__ = ["Pin", "Pins", "PinsProjection", "listing_of"]

_READ = ("title", "annotations", "outputSchema")
_pins = sa.Table(
    "tool_pins",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("server", sa.Text, primary_key=True),
    sa.Column("tool", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("since", sa.Text, nullable=False),
    sa.Column("receipt", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_PUT = Prepared(sa.insert(_pins))
_DROP = Prepared(
    sa.delete(_pins).where(_pins.c.tenant == _P("tenant"), _pins.c.server == _P("server"), _pins.c.tool == _P("tool"))
)
_ALL = Prepared(
    sa.select(_pins.c.server, _pins.c.tool, _pins.c.digest, _pins.c.since, _pins.c.receipt)
    .where(_pins.c.tenant == _P("tenant"))
    .order_by(_pins.c.server, _pins.c.tool)
)


def listing_of(tool: ListedTool) -> dict[str, Any]:
    """All that a server says of a tool and a model may come to read."""
    more = {name: tool.more[name] for name in _READ if name in tool.more}
    return {"name": tool.name, "description": tool.description, "inputSchema": tool.schema, **more}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A tool as it was accepted.

    Args:
        tool: its name at its server.
        digest: names what the server said of it.
        since: RFC 3339 UTC.
        receipt: of the pin.
    """

    server: str
    tool: str
    digest: str
    since: str
    receipt: str

    @property
    def name(self) -> str:
        """The tool's full name."""
        return f"{self.server}.{self.tool}"


class _Book(Protocol):
    def append(self, draft: Draft) -> Awaitable[Appended]:
        """Put one receipt on the record."""

    def pseudonym(self, tenant: TenantId, name: str) -> str:
        """What the record calls a person."""


class _Store(Protocol):
    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        """The rows a query finds."""

    def find(self, receipt_id: str) -> Receipt | None:
        """The receipt of this id."""

    def text(self, receipt: Receipt) -> Any:
        """What its commitments stand for, unsealed."""


class PinsProjection:
    """The table `tool_pins`: what is accepted now."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `tool_pins`."""
        return (_pins,)

    @property
    def phases(self) -> frozenset[Phase]:
        """Pins come and go by receipts of their own."""
        return frozenset({"control"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        said = receipt.predicate
        control = said["control"]
        if control.get("do") not in ("pin", "unpin"):
            return
        key = {"tenant": said["tenant"], "server": control["server"], "tool": control["tool"]}
        tx.run(_DROP, **key)
        if control["do"] == "pin":
            tx.run(_PUT, **key, digest=control["digest"], since=said["at"], receipt=said["id"])


class Pins:
    """Keeps pins. Needs `PinsProjection` among the ledger's projections.

    Args:
        book: where they are written down; None to look only.
    """

    def __init__(self, *, store: _Store, book: _Book | None = None, tenant: TenantId = TenantId("default")) -> None:
        self._book = book
        self._store = store
        self._tenant = tenant

    def all(self) -> list[Pin]:
        """Every pin, by server and tool."""
        rows = self._store.rows(_ALL, tenant=self._tenant)
        return [Pin(server=row[0], tool=row[1], digest=row[2], since=row[3], receipt=row[4]) for row in rows]

    def listing(self, pin: Pin) -> dict[str, Any] | None:
        """What was accepted; None once erased."""
        receipt = self._store.find(pin.receipt)
        text = self._store.text(receipt).input if receipt is not None else None
        return None if text is None else orjson.loads(text)

    async def put(self, server: str, listing: dict[str, Any], *, by: str = "", reason: str = "") -> None:
        """Accept what a server says of a tool; `by` is empty where the gate did so at first sight."""
        text = stable_json(listing)
        await self._write("pin", server, listing["name"], by, reason, digest=sha256_name(text), text=text)

    async def drop(self, server: str, tool: str, *, by: str, reason: str = "") -> None:
        """Accept that a server has a tool no more."""
        await self._write("unpin", server, tool, by, reason)

    async def _write(
        self, do: str, server: str, tool: str, by: str, reason: str, *, digest: str = "", text: bytes | None = None
    ) -> None:
        assert self._book is not None, "opened to look only"
        control: dict[str, Any] = {"do": do, "server": server, "tool": tool}
        control.update({"digest": digest} if digest else {})
        control.update({"by": self._book.pseudonym(self._tenant, by)} if by else {})
        control.update({"reason": reason} if reason else {})
        run = control_run(self._tenant)
        draft = Draft(tenant=self._tenant, run=run, phase="control", agent="", members={"control": control}, input=text)
        await self._book.append(draft)
