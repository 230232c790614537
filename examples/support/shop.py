"""A small shop behind an MCP server over stdio, with books of its own.

    python shop.py BOOKS.sqlite3 [--slow-ms 0]

The books are the ground truth of the example: what happened is what stands here, whatever anyone
else has recorded. `calls` holds every call as it arrived, `refunds` and `emails` what came of them.
`refund` and `draft_reply` honour an idempotency key; `send_email` does not, so a doubled e-mail would show.
"""

import argparse
import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REFUND_POLICY = """\
Refund policy

1. Goods that arrive damaged, late or wrong are refunded, in full or for the part concerned.
2. Goods in working order are taken back within 30 days of delivery.
3. An order is refunded once, and never for more than it cost.
4. A refund above 200.00 EUR needs the approval of a support lead.
5. A refund goes to the customer who placed the order, for the order the ticket is about.
"""

SCHEMA = """
CREATE TABLE customers (email TEXT PRIMARY KEY, name TEXT NOT NULL, since TEXT NOT NULL);
CREATE TABLE orders (
    id TEXT PRIMARY KEY, customer TEXT NOT NULL REFERENCES customers, item TEXT NOT NULL, total_minor INTEGER NOT NULL,
    currency TEXT NOT NULL, status TEXT NOT NULL, placed TEXT NOT NULL, delivered TEXT
);
CREATE TABLE refunds (
    id INTEGER PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders, amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL, reason TEXT NOT NULL, idempotency_key TEXT NOT NULL UNIQUE, at TEXT NOT NULL
);
CREATE TABLE emails (
    id INTEGER PRIMARY KEY, ticket TEXT NOT NULL, recipient TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL,
    at TEXT NOT NULL
);
CREATE TABLE drafts (
    id INTEGER PRIMARY KEY, ticket TEXT NOT NULL, text TEXT NOT NULL, idempotency_key TEXT NOT NULL UNIQUE,
    at TEXT NOT NULL
);
CREATE TABLE calls (id INTEGER PRIMARY KEY, tool TEXT NOT NULL, arguments TEXT NOT NULL, at TEXT NOT NULL);
"""

CUSTOMERS = [
    ("mara@example.com", "Mara", "2023-04-11"),
    ("jonas@example.org", "Jonas", "2024-01-30"),
    ("priya@example.com", "Priya", "2022-09-02"),
    ("tom@example.org", "Tom", "2025-02-14"),
    ("elif@example.com", "Elif", "2024-07-19"),
    ("sam@example.org", "Sam", "2026-10-28"),
    ("nadia@example.com", "Nadia", "2023-12-05"),
    ("luca@example.org", "Luca", "2025-05-23"),
    ("greta@example.com", "Greta", "2024-11-08"),
    ("ines@example.org", "Ines", "2022-03-17"),
    ("owen@example.com", "Owen", "2025-08-01"),
    ("hana@example.org", "Hana", "2024-04-26"),
]

ORDERS = [
    ("1001", "mara@example.com", "Tea set, stoneware", 2490, "delivered", "2026-10-30", "2026-11-04"),
    ("1002", "jonas@example.org", "Wool blanket", 8900, "delivered", "2026-10-21", "2026-11-12"),
    ("1003", "priya@example.com", "Espresso machine", 24900, "delivered", "2026-11-02", "2026-11-06"),
    ("1004", "tom@example.org", "Cast-iron pan, 28 cm", 5450, "delivered", "2026-11-01", "2026-11-05"),
    ("1005", "elif@example.com", "Reading lamp", 3990, "in transit", "2026-11-14", None),
    ("1006", "sam@example.org", "Scented candle", 1250, "delivered", "2026-11-08", "2026-11-11"),
    ("1007", "nadia@example.com", "Desk lamp, brass", 32900, "delivered", "2026-08-28", "2026-09-03"),
    ("1008", "luca@example.org", "Linen shirt", 4500, "delivered", "2026-11-05", "2026-11-09"),
    ("1009", "greta@example.com", "Backpack, 24 l", 7990, "delivered", "2026-11-03", "2026-11-10"),
    ("1011", "owen@example.com", "Garden shears", 2900, "delivered", "2026-11-07", "2026-11-12"),
    ("1012", "ines@example.org", "Monitor, 27 inch", 38900, "delivered", "2026-10-12", "2026-10-15"),
    ("1013", "hana@example.org", "Set of three mugs", 3600, "delivered", "2026-11-09", "2026-11-13"),
]


class Declined(Exception):
    """The shop does not do it, and says why."""


class Books:
    """The shop's own records. Each call has its own connection, so any process may look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(self._connect()) as books:
            books.execute("PRAGMA journal_mode = WAL")
            books.execute("BEGIN IMMEDIATE")  # two servers may start on the same new file
            if not books.execute("SELECT 1 FROM sqlite_master WHERE name = 'orders'").fetchone():
                for statement in SCHEMA.split(";"):
                    books.execute(statement)
                books.executemany("INSERT INTO customers VALUES (?, ?, ?)", CUSTOMERS)
                rows = [(*order[:4], "EUR", *order[4:]) for order in ORDERS]
                books.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            books.execute("COMMIT")

    def note(self, tool: str, **arguments: Any) -> None:
        """Record a call as it arrived, before anything comes of it."""
        said = json.dumps(arguments, sort_keys=True, ensure_ascii=False)
        self.write("INSERT INTO calls (tool, arguments, at) VALUES (?, ?, ?)", tool, said, _now())

    def write(self, statement: str, *values: Any) -> int:
        with closing(self._connect()) as books:
            return books.execute(statement, values).lastrowid or 0

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with closing(self._connect()) as books:
            return [dict(row) for row in books.execute(statement, values)]

    def order(self, order_id: str) -> dict[str, Any]:
        found = self.rows("SELECT * FROM orders WHERE id = ?", order_id)
        if not found:
            raise Declined(f"there is no order {order_id}")
        return found[0]

    def refund(self, order_id: str, amount_minor: int, currency: str, reason: str, key: str) -> dict[str, Any]:
        """Refund once per key: asked again, the same refund comes back and the books show one."""
        with closing(self._connect()) as books:
            books.execute("BEGIN IMMEDIATE")
            done = books.execute("SELECT * FROM refunds WHERE idempotency_key = ?", (key,)).fetchone()
            if done is None:
                self._check_refund(books, order_id, amount_minor, currency)
                books.execute(
                    "INSERT INTO refunds (order_id, amount_minor, currency, reason, idempotency_key, at)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (order_id, amount_minor, currency, reason, key, _now()),
                )
                done = books.execute("SELECT * FROM refunds WHERE idempotency_key = ?", (key,)).fetchone()
            elif (done["order_id"], done["amount_minor"]) != (order_id, amount_minor):
                raise Declined("this idempotency key was used for another refund")
            books.execute("COMMIT")
            return _refund(done)

    def _check_refund(self, books: sqlite3.Connection, order_id: str, amount_minor: int, currency: str) -> None:
        order = books.execute("SELECT total_minor, currency FROM orders WHERE id = ?", (order_id,)).fetchone()
        if order is None:
            raise Declined(f"there is no order {order_id}")
        if currency != order["currency"]:
            raise Declined(f"order {order_id} was paid in {order['currency']}")
        query = "SELECT COALESCE(SUM(amount_minor), 0) FROM refunds WHERE order_id = ?"
        left = order["total_minor"] - books.execute(query, (order_id,)).fetchone()[0]
        if not 0 < amount_minor <= left:
            raise Declined(f"order {order_id} has {left} left to refund, in minor units; asked for {amount_minor}")

    def _connect(self) -> sqlite3.Connection:
        books = sqlite3.connect(self.path, timeout=10, isolation_level=None)
        books.row_factory = sqlite3.Row
        books.execute("PRAGMA synchronous = FULL")
        return books


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _refund(row: sqlite3.Row | dict[str, Any]) -> dict[str, Any]:
    return {
        "refund_id": f"R-{row['id']}",
        "order_id": row["order_id"],
        "amount_minor": row["amount_minor"],
        "currency": row["currency"],
    }


def serve(books: Books, slow_ms: int) -> None:
    """Serve the shop's tools until stdin closes."""
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    server = MCPServer("shop", log_level="ERROR")

    def pause() -> None:
        # After the books are written and before the answer: the moment in which a crash is interesting.
        time.sleep(slow_ms / 1000)

    @server.tool()
    def read_policy() -> dict[str, Any]:
        """The shop's refund policy."""
        books.note("read_policy")
        pause()
        return {"text": REFUND_POLICY}

    @server.tool()
    def find_order(order_id: str) -> dict[str, Any]:
        """One order: its customer, item, total in minor units, and where it is."""
        books.note("find_order", order_id=order_id)
        pause()
        try:
            return books.order(order_id)
        except Declined as declined:
            raise ToolError(str(declined)) from None

    @server.tool()
    def find_customer(email: str) -> dict[str, Any]:
        """One customer, with the ids of their orders."""
        books.note("find_customer", email=email)
        pause()
        found = books.rows("SELECT * FROM customers WHERE email = ?", email)
        if not found:
            raise ToolError("there is no such customer")
        orders = books.rows("SELECT id FROM orders WHERE customer = ? ORDER BY id", email)
        return {**found[0], "orders": [order["id"] for order in orders]}

    @server.tool()
    def refund(order_id: str, amount_minor: int, currency: str, reason: str, idempotency_key: str) -> dict[str, Any]:
        """Pay back part or all of an order; once per idempotency key, however often it is asked."""
        said = {"order_id": order_id, "amount_minor": amount_minor, "currency": currency, "reason": reason}
        books.note("refund", **said, idempotency_key=idempotency_key)
        try:
            done = books.refund(order_id, amount_minor, currency, reason, idempotency_key)
        except Declined as declined:
            raise ToolError(str(declined)) from None
        pause()
        return done

    @server.tool()
    def refund_status(idempotency_key: str) -> dict[str, Any]:
        """Whether the refund of this key was made."""
        books.note("refund_status", idempotency_key=idempotency_key)
        found = books.rows("SELECT * FROM refunds WHERE idempotency_key = ?", idempotency_key)
        return {"found": True, **_refund(found[0])} if found else {"found": False}

    @server.tool()
    def draft_reply(ticket: str, text: str, idempotency_key: str) -> dict[str, Any]:
        """Leave a draft reply for a colleague to look at. Nothing is sent."""
        books.note("draft_reply", ticket=ticket, text=text, idempotency_key=idempotency_key)
        statement = "INSERT OR IGNORE INTO drafts (ticket, text, idempotency_key, at) VALUES (?, ?, ?, ?)"
        books.write(statement, ticket, text, idempotency_key, _now())
        pause()
        draft = books.rows("SELECT id FROM drafts WHERE idempotency_key = ?", idempotency_key)[0]["id"]
        return {"draft_id": f"D-{draft}", "ticket": ticket}

    @server.tool()
    def send_email(ticket: str, to: str, subject: str, text: str) -> dict[str, Any]:
        """Send an e-mail. It is sent as often as it is asked for."""
        books.note("send_email", ticket=ticket, to=to, subject=subject, text=text)
        statement = "INSERT INTO emails (ticket, recipient, subject, text, at) VALUES (?, ?, ?, ?, ?)"
        email = books.write(statement, ticket, to, subject, text, _now())
        pause()
        return {"email_id": f"E-{email}", "ticket": ticket}

    @server.tool()
    def email_status(ticket: str) -> dict[str, Any]:
        """Whether an e-mail was sent for this ticket."""
        books.note("email_status", ticket=ticket)
        found = books.rows("SELECT id, ticket FROM emails WHERE ticket = ? ORDER BY id", ticket)
        return {"found": True, "email_id": f"E-{found[0]['id']}", "ticket": ticket} if found else {"found": False}

    server.run("stdio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("books", type=Path, help="the SQLite file that holds the shop's books")
    parser.add_argument("--slow-ms", type=int, default=0, help="wait so long before each answer")
    asked = parser.parse_args()
    serve(Books(asked.books), asked.slow_ms)


if __name__ == "__main__":
    main()
