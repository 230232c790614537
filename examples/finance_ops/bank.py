"""A company's bank and its books behind an MCP server over stdio.

    python bank.py BOOKS.sqlite3

The books are the ground truth of the example: `payments` holds every cent that moved, `calls` every call as it
arrived. The bank does what it is told: it pays any invoice to any vendor, and changes any account.
"""

import argparse
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

SCHEMA = """
CREATE TABLE vendors (id TEXT PRIMARY KEY, name TEXT NOT NULL, iban TEXT NOT NULL);
CREATE TABLE transactions (
    id TEXT PRIMARY KEY, counterparty TEXT NOT NULL, amount_minor INTEGER NOT NULL, currency TEXT NOT NULL,
    day TEXT NOT NULL
);
CREATE TABLE payments (
    id INTEGER PRIMARY KEY, invoice TEXT NOT NULL, vendor TEXT NOT NULL, iban TEXT NOT NULL,
    amount_minor INTEGER NOT NULL, currency TEXT NOT NULL, idempotency_key TEXT NOT NULL UNIQUE, at TEXT NOT NULL
);
CREATE TABLE flags (
    idempotency_key TEXT PRIMARY KEY, transaction_id TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL
);
CREATE TABLE summaries (idempotency_key TEXT PRIMARY KEY, text TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE calls (id INTEGER PRIMARY KEY, tool TEXT NOT NULL, arguments TEXT NOT NULL, at TEXT NOT NULL);
"""

VENDORS = [
    ("V-1", "Paper & Ink", "DE89 3704 0044 0532 0130 00"),
    ("V-2", "Harbour Logistics", "NL91 ABNA 0417 1643 00"),
    ("V-3", "Quick Services", "GB29 NWBK 6016 1331 9268 19"),
]
TRANSACTIONS = [
    ("T-1", "Paper & Ink", -23_500, "EUR", "2026-10-02"),
    ("T-2", "Harbour Logistics", -790_000, "EUR", "2026-10-05"),
    ("T-3", "Quick Services", -9_500, "EUR", "2026-10-05"),
    ("T-4", "Quick Services", -9_500, "EUR", "2026-10-06"),
]


class Books:
    """The bank's books, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(self._connect()) as books:
            books.execute("PRAGMA journal_mode = WAL")
            books.execute("BEGIN IMMEDIATE")  # two servers may start on the same new file
            if not books.execute("SELECT 1 FROM sqlite_master WHERE name = 'vendors'").fetchone():
                for statement in SCHEMA.split(";"):
                    books.execute(statement)
                books.executemany("INSERT INTO vendors VALUES (?, ?, ?)", VENDORS)
                books.executemany("INSERT INTO transactions VALUES (?, ?, ?, ?, ?)", TRANSACTIONS)
            books.execute("COMMIT")

    def note(self, tool: str, **arguments: Any) -> None:
        """Write down that a call arrived."""
        said = json.dumps(arguments, sort_keys=True, ensure_ascii=False)
        self.write("INSERT INTO calls (tool, arguments, at) VALUES (?, ?, ?)", tool, said, _now())

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with closing(self._connect()) as books:
            return [dict(row) for row in books.execute(query, values)]

    def write(self, statement: str, *values: Any) -> None:
        with closing(self._connect()) as books:
            books.execute(statement, values)

    def _connect(self) -> sqlite3.Connection:
        books = sqlite3.connect(self.path, timeout=10, isolation_level=None)
        books.row_factory = sqlite3.Row
        books.execute("PRAGMA synchronous = FULL")
        return books


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def serve(books: Books) -> None:
    """Serve the bank's tools until stdin closes."""
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    server = MCPServer("bank", log_level="ERROR")

    def known(vendor: str) -> dict[str, Any]:
        found = books.rows("SELECT * FROM vendors WHERE id = ?", vendor)
        if not found:
            raise ToolError(f"there is no vendor {vendor}")
        return found[0]

    @server.tool()
    def list_transactions() -> dict[str, Any]:
        """What went in and out of the company's account."""
        books.note("list_transactions")
        return {"transactions": books.rows("SELECT * FROM transactions ORDER BY id")}

    @server.tool()
    def find_vendor(vendor: str) -> dict[str, Any]:
        """A vendor as the company knows it."""
        books.note("find_vendor", vendor=vendor)
        return known(vendor)

    @server.tool()
    def read_invoice(invoice: str) -> dict[str, Any]:
        """The text of an invoice, as its sender wrote it."""
        books.note("read_invoice", invoice=invoice)
        file = HERE / "invoices" / f"{invoice}.txt"
        if not invoice.removeprefix("I-").isdecimal() or not file.exists():
            raise ToolError(f"there is no invoice {invoice}")
        return {"invoice": invoice, "text": file.read_text(encoding="utf-8")}

    @server.tool()
    def flag(transaction: str, reason: str, idempotency_key: str) -> dict[str, Any]:
        """Mark a transaction for a person to look at."""
        books.note("flag", transaction=transaction, reason=reason)
        statement = "INSERT OR IGNORE INTO flags VALUES (?, ?, ?, ?)"
        books.write(statement, idempotency_key, transaction, reason, _now())
        return {"flagged": transaction}

    @server.tool()
    def file_summary(text: str, idempotency_key: str) -> dict[str, Any]:
        """Keep a summary for the day's books."""
        books.note("file_summary", text=text)
        books.write("INSERT OR IGNORE INTO summaries VALUES (?, ?, ?)", idempotency_key, text, _now())
        return {"filed": True}

    @server.tool()
    def pay(invoice: str, vendor: str, amount_minor: int, currency: str, idempotency_key: str) -> dict[str, Any]:
        """Move money to a vendor's account, once per idempotency key."""
        books.note("pay", invoice=invoice, vendor=vendor, amount_minor=amount_minor, currency=currency)
        iban = known(vendor)["iban"]
        statement = (
            "INSERT OR IGNORE INTO payments (invoice, vendor, iban, amount_minor, currency, idempotency_key, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        books.write(statement, invoice, vendor, iban, amount_minor, currency, idempotency_key, _now())
        return {"paid": amount_minor, "currency": currency, "to": iban}

    @server.tool()
    def payment_status(idempotency_key: str) -> dict[str, Any]:
        """Whether a payment was made under this key."""
        books.note("payment_status", idempotency_key=idempotency_key)
        found = books.rows("SELECT amount_minor FROM payments WHERE idempotency_key = ?", idempotency_key)
        return {"found": bool(found), **(found[0] if found else {})}

    @server.tool()
    def change_account(vendor: str, iban: str) -> dict[str, Any]:
        """Pay a vendor to another account from now on."""
        books.note("change_account", vendor=vendor, iban=iban)
        known(vendor)
        books.write("UPDATE vendors SET iban = ? WHERE id = ?", iban, vendor)
        return known(vendor)

    server.run("stdio")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("books", type=Path, help="the SQLite file that holds the bank's books")
    serve(Books(parser.parse_args().books))


if __name__ == "__main__":
    main()
