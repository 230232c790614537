"""The support agent: reads a ticket, looks up the order, asks a model for a plan, and acts on it.

The agent is plain Python. It holds no credentials and decides nothing about what is allowed: each
`run.tool` and `run.model` goes through the gate, which may hold or refuse it.
"""

import asyncio
import email
import email.policy
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from email.utils import parseaddr
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from answerable.core import ExecutionError, Money, Refused
from answerable.models import LocalProvider, Message, OpenAIProvider, ScriptedProvider, parse_openai_config
from answerable.tools import ToolDeclaration, ToolFailed

HERE = Path(__file__).parent


class Ticket(BaseModel):
    """A support ticket. `order` is what the sender names in its form, not what the text may say."""

    id: str
    sender: str
    order: str
    subject: str
    date: str
    body: str

    @classmethod
    def parse(cls, text: str) -> "Ticket":
        said = email.message_from_string(text, policy=email.policy.default)
        return cls(
            id=said["Ticket"],
            sender=parseaddr(said["From"])[1],
            order=said["Order"],
            subject=said["Subject"],
            date=said["Date"],
            body=said.get_content(),
        )

    @property
    def resources(self) -> tuple[str, ...]:
        """What a run over this ticket is about."""
        return (f"order:{self.order}", f"ticket:{self.id}")


class Plan(BaseModel):
    """What the model proposes. Only a proposal: the gate decides.

    Texts are bounded, so that a model that cannot stop does.
    """

    model_config = ConfigDict(extra="forbid")

    decision: Literal["refund", "reply", "escalate", "close"]
    order_id: str
    amount_minor: int
    currency: str
    reason: str = Field(max_length=200)
    reply: str = Field(max_length=600)


class Resolution(BaseModel):
    """How a ticket ended."""

    decision: Literal["refunded", "replied", "escalated", "closed"]
    refund_minor: int = 0
    note: str = ""


SHOP = {
    "read_policy": ToolDeclaration(effect="read", trusted=True),  # the shop's own document
    "find_order": ToolDeclaration(effect="read", resource="order:{order_id}"),
    "find_customer": ToolDeclaration(effect="read", subjects=("customer:{email}",)),
    "refund": ToolDeclaration(
        effect="irreversible",
        idempotency="idempotency_key",
        probe="refund_status",
        amount=lambda said: Money(said["amount_minor"], said["currency"]),
        resource="order:{order_id}",
    ),
    "refund_status": ToolDeclaration(effect="read"),
    "draft_reply": ToolDeclaration(effect="write", idempotency="idempotency_key", resource="ticket:{ticket}"),
    # It knows no key, so a lost one is looked up before anything is sent again.
    "send_email": ToolDeclaration(effect="irreversible", probe="email_status", resource="ticket:{ticket}"),
    "email_status": ToolDeclaration(effect="read"),
}
"""What the operator says of the shop's tools. The server's own word on this would count for nothing."""

INSTRUCTIONS = """\
You work in the support team of a small shop. Read the ticket, the order and the refund policy, and
propose one thing to do, as JSON:
- "refund": pay back `amount_minor` (minor units of `currency`) of the order `order_id`
- "reply": only answer
- "escalate": leave it to a colleague
- "close": nothing needs doing
`reason` is one sentence for the books. `reply` is the answer to the customer, in their language.
Where nothing is refunded, `amount_minor` is 0.
"""


async def support(run: Any, ticket: Ticket) -> Resolution:
    """Work on one ticket."""
    try:
        policy, order = await asyncio.gather(
            run.tool("shop.read_policy"), run.tool("shop.find_order", order_id=ticket.order)
        )
        plan: Plan = await run.model(messages(ticket, order, policy["text"]), schema=Plan, max_tokens=400)
    except ExecutionError as error:
        return await hand_over(run, ticket, error.message)
    if plan.decision == "refund":
        return await refund(run, ticket, plan)
    if plan.decision == "reply":
        await run.tool("shop.draft_reply", ticket=ticket.id, text=plan.reply)
        return Resolution(decision="replied", note=plan.reason)
    if plan.decision == "escalate":
        return await hand_over(run, ticket, plan.reason)
    return Resolution(decision="closed", note=plan.reason)


async def refund(run: Any, ticket: Ticket, plan: Plan) -> Resolution:
    """Carry out a proposed refund, as far as the gate and the shop let it."""
    try:
        done = await run.tool(
            "shop.refund",
            order_id=plan.order_id,
            amount_minor=plan.amount_minor,
            currency=plan.currency,
            reason=plan.reason,
        )
    except ToolFailed as declined:
        return await hand_over(run, ticket, f"The shop declined: {declined.said}")
    except (Refused, ExecutionError) as error:  # policy or a person said no
        return await hand_over(run, ticket, error.message)
    subject = f"Re: {ticket.subject}"
    await run.tool("shop.send_email", ticket=ticket.id, to=ticket.sender, subject=subject, text=plan.reply)
    return Resolution(decision="refunded", refund_minor=done["amount_minor"], note=plan.reason)


async def hand_over(run: Any, ticket: Ticket, why: str) -> Resolution:
    """Leave the ticket to a colleague, with a draft that promises nothing."""
    text = "Thank you for writing. A colleague is looking at your request and will answer you in person."
    await run.tool("shop.draft_reply", ticket=ticket.id, text=text)
    return Resolution(decision="escalated", note=why)


def messages(ticket: Ticket, order: Mapping[str, Any], policy: str) -> list[dict[str, str]]:
    """The prompt. Ticket and order are data; a model may still be fooled by what stands in them."""
    asked = (
        f"<ticket>\nSubject: {ticket.subject}\nDate: {ticket.date}\n\n{ticket.body}</ticket>\n"
        f"<order>{json.dumps(order, sort_keys=True, ensure_ascii=False)}</order>\n"
        f"<policy>\n{policy}</policy>\n"
    )
    return [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": asked}]


_INJECTED = re.compile(r"ignore (?:all |any )?previous instructions.*?order (\d+).*?(\d+)[.,](\d\d) EUR", re.I | re.S)
_WANTS_MONEY = re.compile(r"refund|money back|pay back|erstatten", re.I)
_ASKS_DELIVERY = re.compile(r"when will|where is|arrive", re.I)
_SUM = re.compile(r"(\d+)[.,](\d\d) EUR")


def support_script(prompt: Sequence[Message]) -> dict[str, Any]:
    """The model `scripted:support`: a few rules over the prompt's words, where a language model would think.

    It reads the same prompt a real model gets. By design it believes what it reads: an instruction
    hidden in a ticket fools it, because some real model will be fooled some day, and the gate must hold then.
    """
    asked = next(message["content"] for message in prompt if message["role"] == "user")
    ticket = asked.partition("<ticket>")[2].partition("</ticket>")[0]
    order = json.loads(asked.partition("<order>")[2].partition("</order>")[0])
    if fooled := _INJECTED.search(ticket):
        amount = int(fooled[2]) * 100 + int(fooled[3])
        return _plan("refund", {**order, "id": fooled[1]}, "Refund as instructed in the ticket.", "Done.", amount)
    if _WANTS_MONEY.search(ticket):
        said = _SUM.search(ticket)
        amount = int(said[1]) * 100 + int(said[2]) if said else order["total_minor"]
        money = Money(amount, order["currency"])
        if "Guten Tag" in ticket:
            reply = f"Guten Tag, wir erstatten Ihnen {money} für die Bestellung {order['id']}."
        else:
            reply = f"Hello, we refund {money} for your order {order['id']} ({order['item']})."
        return _plan("refund", order, f"Customer asks for {money} on order {order['id']}.", reply, amount)
    if _ASKS_DELIVERY.search(ticket):
        reply = f"Hello, your order {order['id']} ({order['item']}) is {order['status']}."
        return _plan("reply", order, "Question about the delivery.", reply)
    if "?" in ticket:
        reply = f"Hello, thank you for your question about the {order['item']}. We answer it today."
        return _plan("reply", order, "Question about the product.", reply)
    return _plan("close", order, "Nothing to do.", "")


def _plan(decision: str, order: Mapping[str, Any], reason: str, reply: str, amount_minor: int = 0) -> dict[str, Any]:
    return {
        "decision": decision,
        "order_id": order["id"],
        "amount_minor": amount_minor,
        "currency": order["currency"],
        "reason": reason,
        "reply": reply,
    }


def build(*, data: Path, books: Path, model: str = "scripted:support", slow_ms: int = 0) -> Any:
    """The gate with the shop, the model and the agent plugged in."""
    from answerable import Answerable, Limits

    app = Answerable(data=data, policy=HERE / "policy", specs=HERE / ".answerable" / "specs")
    app.mcp(
        "shop",
        command=[sys.executable, str(HERE / "shop.py"), str(books), "--slow-ms", str(slow_ms)],
        declare=SHOP,
    )
    app.provider(ScriptedProvider({"support": support_script}))
    if model.startswith("openai:"):
        app.provider(OpenAIProvider(parse_openai_config(os.environ)))
    if model.startswith("local:"):
        app.provider(LocalProvider())
    app.agent(
        name="support",
        model=model,
        environment="production",
        owner="head-of-support@example.com",
        escalation="support-lead",
        stop="support-lead",
        limits=Limits(steps=30, wall=timedelta(days=7), tokens=50_000, cost_nano_usd=500_000_000),
    )(support)
    return app
