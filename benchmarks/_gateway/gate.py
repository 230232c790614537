"""The gate as `answerable serve` runs it: key check, session, policy, signed receipts, fsync."""

from pathlib import Path

from answerable import Answerable, Limits, ToolDeclaration, Upstream
from answerable.server import serve_gate
from benchmarks._engines import durability_of
from benchmarks._gateway.party import say

POLICY = Path(__file__).parent / "policy"


async def serve(upstream: str, directory: Path) -> None:
    """Serve until ended; prints the address and a key."""
    app = Answerable(data=directory / "data", policy=POLICY)
    app.upstream(Upstream(name="up", dialect="chat", base_url=upstream + "/v1", key="sk-upstream"))
    app.route("tiny", "up:tiny")
    app.mcp("shop", url=upstream + "/mcp", declare={"look": ToolDeclaration(effect="read")})
    app.wired("bench", limits=Limits(steps=None, identical_calls=None))
    async with app.gate() as gate:
        durability = durability_of(gate.desk.ledger._recorder.connection.raw)
        if not durability.is_full:
            raise SystemExit(f"the gate does not fsync each commit: {durability}; nothing to compare")
        key = (await gate.desk.key(do="new", named="bench"))["key"]
        await serve_gate(gate, host="127.0.0.1", port=0, on_listening=lambda url: say(f"{url} {key}"))
