"""A library's clerk behind the gate: looks a book up, lends it, and asks before it lends a rare one."""

from dataclasses import dataclass

from answerable import Answerable, Limits, Run
from answerable.errors import Refused

app = Answerable(policy="policy")
SHELF = {"b-7": "A Field Guide to Lichens", "b-9": "Incunabula, volume II"}
LENT: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a reader asks for."""

    book: str
    reader: str


@app.tool(effect="read", trusted=True)
async def find_book(book: str) -> str:
    """The book's title."""
    return SHELF[book]


# --8<-- [start:tool]
@app.tool(effect="write", idempotency="key", resource="book:{book}")
async def lend(book: str, reader: str, *, key: str) -> str:
    """Lend a book once per key, however often it is called."""
    LENT.setdefault(key, f"{book} to {reader}")
    return LENT[key]


# --8<-- [end:tool]


@app.agent(name="clerk", limits=Limits(steps=20))
async def clerk(run: Run, request: Request) -> str:
    """Lend the book that the reader asks for, if policy lets it."""
    title = await run.tool(find_book, book=request.book)
    try:
        await run.tool(lend, book=request.book, reader=request.reader)
    except Refused as refused:
        return f"sorry, not `{title}`: {refused}"
    return f"lent `{title}`"
