"""Three tools and how they are declared; `answerable tools list tools:app` shows them."""

from datetime import timedelta

from answerable import NOT_DONE, Answerable, Money, Run

app = Answerable(data=".answerable/data", policy="policy")
PAID: dict[str, int] = {}
OUTBOX: dict[str, str] = {}


@app.tool(effect="read")
async def balance(account: str) -> int:
    """What is left on an account, in cents."""
    return 100_000 - sum(PAID.values())


# --8<-- [start:tool]
@app.tool(
    effect="irreversible",
    idempotency="key",
    resource="account:{account}",
    amount=lambda said: Money(said["cents"], "EUR"),
    timeout=timedelta(seconds=20),
)
async def pay(account: str, cents: int, *, key: str) -> str:
    """Pay to an account, once per key."""
    PAID.setdefault(key, cents)
    return f"paid {cents}"


# --8<-- [end:tool]


# --8<-- [start:probe]
async def was_sent(key: str, *, to: str, text: str) -> object:
    """The result if the letter is in the outbox, `NOT_DONE` if it surely is not."""
    return {"sent": True} if OUTBOX.get(to) == text else NOT_DONE


@app.tool(effect="irreversible", probe=was_sent, resource="letter:{to}")
async def send_letter(to: str, text: str) -> dict[str, bool]:
    """Send a letter; the relay knows no keys, but it can be asked."""
    OUTBOX[to] = text
    return {"sent": True}


# --8<-- [end:probe]


@app.agent(name="clerk")
async def clerk(run: Run, account: str) -> str:
    """Pay and say so."""
    said = await run.tool("pay", account=account, cents=12_50)
    await run.tool("send_letter", to=account, text="12.50 EUR are on their way")
    return str(said)
