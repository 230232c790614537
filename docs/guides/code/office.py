"""An office that answers letters for two firms, each in its own words."""

from answerable import Answerable, Limits, Run

app = Answerable(data=".answerable/data", policy="policy")
app.tenant("acme", settings={"greeting": "Dear Sir or Madam"}, limits=Limits(steps=20))
app.tenant("globex", settings={"greeting": "Hi"})
app.queue("tenant", concurrency=50, waiting=1000)


@app.tool(effect="write", idempotency="key")
async def send_letter(text: str, *, key: str) -> str:
    """Send a letter."""
    return text


@app.agent(name="writer")
async def writer(run: Run, name: str) -> str:
    """Write to somebody as the firm would."""
    greeting = run.settings.get("greeting", "Hello")
    return str(await run.tool("send_letter", text=f"{greeting} {name}"))
