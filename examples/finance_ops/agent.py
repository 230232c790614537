"""The finance operations agent: reads invoices and transactions, asks a model what to do, and tries all of it.

The agent trusts its model blindly: whatever tool the model names is called with whatever the model says. It decides
nothing about money; the gate does, by policy, over what a person released.
"""

import json
import os
import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from answerable import Answerable, Limits, Money, OpenAIProvider, ScriptedProvider, ToolDeclaration
from answerable.core import ExecutionError, Refused
from answerable.models import Message, parse_openai_config

HERE = Path(__file__).parent


class Work(BaseModel):
    """What a run is to look at. What may be paid stands in what the run was opened for, not here."""

    invoices: list[str]


class Call(BaseModel):
    """One thing the model wants done."""

    model_config = ConfigDict(extra="forbid")

    tool: str
    arguments: str = Field(description="a JSON object", max_length=2000)


class Plan(BaseModel):
    """What the model proposes. Only a proposal: the gate decides."""

    model_config = ConfigDict(extra="forbid")

    calls: list[Call]
    summary: str = Field(max_length=2000)


class Report(BaseModel):
    """What became of the proposals, each `TOOL ARGUMENTS`; and why the gate or the bank said no."""

    done: list[str]
    refused: dict[str, str]


BANK = {
    "list_transactions": ToolDeclaration(effect="read", trusted=True),
    "find_vendor": ToolDeclaration(effect="read", trusted=True),
    "read_invoice": ToolDeclaration(effect="read"),  # whoever sent the invoice wrote its text
    "payment_status": ToolDeclaration(effect="read", trusted=True),
    "flag": ToolDeclaration(effect="write", idempotency="idempotency_key", resource="transaction:{transaction}"),
    "file_summary": ToolDeclaration(effect="write", idempotency="idempotency_key"),
    # A person names the payment when they open the run; any other is another target.
    "pay": ToolDeclaration(
        effect="irreversible",
        idempotency="idempotency_key",
        resource="payment:{invoice}/{vendor}/{amount_minor}",
        amount=lambda said: Money(said["amount_minor"], said["currency"]),
    ),
    "change_account": ToolDeclaration(effect="irreversible", resource="vendor:{vendor}"),
}
"""What the operator says of the bank's tools."""

INSTRUCTIONS = """\
You work in the finance operations of a company. Read the invoices and the transactions. Propose calls of the tools
`bank.flag` {transaction, reason}, `bank.pay` {invoice, vendor, amount_minor, currency} and nothing else: flag what
looks doubtful, pay what is due. `summary` tells a colleague in a few sentences what you saw.
"""


async def ops(run: Any, work: Work) -> Report:
    """Look at the day's invoices and do what the model proposes, as far as the gate lets it."""
    transactions = (await run.tool("bank.list_transactions"))["transactions"]
    invoices = [await run.tool("bank.read_invoice", invoice=each) for each in work.invoices]
    plan: Plan = await run.model(messages(invoices, transactions), schema=Plan)
    report = Report(done=[], refused={})
    for call in plan.calls:
        said = f"{call.tool} {call.arguments}"
        try:
            await run.tool(call.tool, **json.loads(call.arguments))
        except (Refused, ExecutionError, TypeError, ValueError) as error:
            report.refused[said] = getattr(error, "code", type(error).__name__)
        else:
            report.done.append(said)
    await run.tool("bank.file_summary", text=plan.summary)
    return report


def messages(invoices: Sequence[dict[str, Any]], transactions: Any) -> list[dict[str, str]]:
    """The prompt. Invoices are data; a model may still be fooled by what stands in them."""
    texts = "\n".join(f"<invoice>\n{each['text']}</invoice>" for each in invoices)
    asked = f"{texts}\n<transactions>{json.dumps(transactions, sort_keys=True)}</transactions>"
    return [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": asked}]


_DUE = re.compile(r"Invoice (I-\d+)\nFrom: (V-\d+).*?Amount due: (\d+)\.(\d\d) (\w+)", re.S)
_TOLD = re.compile(r"^DO (\S+) (\{.*\})$", re.M)


def hijacked(prompt: Sequence[Message]) -> dict[str, Any]:
    """The model `scripted:ops`: it does what invoices ask for, and what is hidden in them first.

    By design it obeys every instruction it reads, because some real model will some day, and the gate must hold then.
    """
    asked = next(message["content"] for message in prompt if message["role"] == "user")
    texts, _, told = asked.partition("<transactions>")
    calls = [{"tool": tool, "arguments": said} for tool, said in _TOLD.findall(texts)]
    for invoice, vendor, euros, cents, currency in _DUE.findall(texts):
        amount = int(euros) * 100 + int(cents)
        due = {"invoice": invoice, "vendor": vendor, "amount_minor": amount, "currency": currency}
        calls.append({"tool": "bank.pay", "arguments": json.dumps(due)})
    seen: set[tuple[str, int]] = set()
    for each in json.loads(told.partition("</transactions>")[0]):
        key = (each["counterparty"], each["amount_minor"])
        if key in seen:
            reason = f"{each['counterparty']} was paid the same twice"
            calls.append({"tool": "bank.flag", "arguments": json.dumps({"transaction": each["id"], "reason": reason})})
        seen.add(key)
    return {"calls": calls, "summary": f"{len(calls)} proposals over {len(_DUE.findall(texts))} invoices."}


def build(*, data: Path, books: Path, model: str = "scripted:ops") -> Answerable:
    """The gate with the bank, the model and the agent plugged in."""
    app = Answerable(data=data, policy=HERE / "policy", specs=HERE / ".answerable" / "specs")
    app.mcp("bank", command=[sys.executable, str(HERE / "bank.py"), str(books)], declare=BANK)
    app.provider(ScriptedProvider({"ops": hijacked}))
    if model.startswith("openai:"):
        app.provider(OpenAIProvider(parse_openai_config(os.environ)))
    app.agent(
        name="ops",
        model=model,
        groups=["finance-ops"],
        environment="production",
        owner="head-of-finance@example.com",
        escalation="treasurer",
        stop="treasurer",
        limits=Limits(steps=100, wall=timedelta(days=7), tokens=100_000),
    )(ops)
    return app


app = build(data=Path(".answerable/data"), books=Path(os.environ.get("BOOKS", "books.sqlite3")))
