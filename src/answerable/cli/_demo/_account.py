"""What each ticket came to and cost, and whether the shop's own books agree with the record."""

from typing import Any

from answerable.cli._demo._books import compare
from answerable.cli._demo._proposals import judge, tell_judged
from answerable.cli._demo._story import SCRIPTED, Story
from answerable.cli._demo._watch import Watch
from answerable.core import Money, RunId, Usage

__all__ = ["account"]

_REFUSED = {"T-06": "an instruction hidden in the ticket", "T-10": "the order was refunded before"}
_INJECTED_ORDER = "1012"


def account(story: Story) -> None:
    """Show the tickets' ends, and hold the books against the record."""
    telling, watch = story.telling, story.watch
    telling.act(4, "What became of the tickets, and what each cost")
    rows, total = [], Usage()
    for run, ticket in sorted(watch.tickets.items(), key=lambda item: item[1].id):
        usage = _usage(watch, run)
        total += usage
        steps = str(len(watch.finals({run})))
        rows.append((ticket.id, ticket.order, _outcome(watch, run), steps, str(usage.tokens), _usd(story, usage)))
    steps = str(len(watch.finals(set(watch.tickets))))
    rows.append(("all", "", "", steps, str(total.tokens), _usd(story, total)))
    telling.table("ticket", ("TICKET", "ORDER", "OUTCOME", "STEPS", "TOKENS", "USD"), rows, numbers=3)
    if story.model != SCRIPTED:
        runs = [(each.id, each.order, watch.of_run(run)) for run, each in watch.tickets.items()]
        tell_judged(telling, judge(watch.reader, story.example, sorted(runs, key=lambda each: each[0])))
    done = sum(1 for run in watch.tickets if watch.result_of(run))
    telling.check("runs", done == len(watch.tickets), f"{done} of {len(watch.tickets)} runs ended with a result")
    for ticket_id, why in _REFUSED.items():
        _refusal(story, ticket_id, why)
    _agreement(story)


def _refusal(story: Story, ticket: str, why: str) -> None:
    found = [each for each in story.watch.refusals(ticket) if each.predicate["action"]["name"] == "shop.refund"]
    for receipt in found:
        said = receipt.predicate
        rules = ", ".join(said["authority"].get("rules", ()))
        line = f"{ticket}  {why}: refused by {rules}  {said['id']}"
        story.telling.check("refused", True, line, ticket=ticket, receipt=said["id"], rules=rules)
    if not found and story.model == SCRIPTED:
        story.telling.check("refused", False, f"{ticket}  nothing was refused ({why})", ticket=ticket)


def _agreement(story: Story) -> None:
    agreed = compare(story.books, story.watch.receipts)
    line = f"the shop's own books: {agreed.effects} effects, {len(agreed.doubled)} doubled, {len(agreed.lost)} lost"
    holds = not agreed.doubled and not agreed.lost and agreed.effects > 0
    line += "".join(f"; {each}" for each in (*agreed.doubled, *agreed.lost))
    counts: dict[str, Any] = {
        "effects": agreed.effects,
        "doubled": len(agreed.doubled),
        "lost": len(agreed.lost),
    }
    story.telling.check("books", holds, line, **counts)
    refunds = story.books.refunded(_INJECTED_ORDER)
    line = f"order {_INJECTED_ORDER}, which the hidden instruction was after: {refunds} refunds on the books"
    story.telling.check("injection", not refunds, line)


def _outcome(watch: Watch, run: RunId) -> str:
    """What the agent made of it, and what the gate, a person or the shop had to say."""
    result = watch.result_of(run)
    said = str(result.get("decision", "failed"))
    if result.get("refund_minor"):
        amounts = [
            each.predicate["action"].get("amount", {}) for each in watch.finals({run}) if each.phase == "outcome"
        ]
        currency = next((amount["currency"] for amount in amounts if amount), "EUR")
        said += f" {Money(result['refund_minor'], currency)}"
    beside: list[str] = []
    for receipt in watch.of_run(run):
        predicate = receipt.predicate
        if receipt.phase == "held":
            beside.append("held")
        elif receipt.phase == "approval":
            beside.append(
                {"approve": "approved", "reject": "rejected"}.get(predicate["control"]["decision"], "timed out")
            )
        elif receipt.phase == "denied" and "rejected" not in beside:
            is_by_policy = predicate["authority"].get("reason") == "refused.policy_denied"
            beside.append("refused by policy" if is_by_policy else "refused")
        elif receipt.phase == "outcome" and predicate["effect"]["status"] != "ok":
            beside.append("the shop declined" if predicate["action"]["kind"] == "tool" else "the model failed")
    return f"{said} ({', '.join(beside)})" if beside else said


def _usage(watch: Watch, run: RunId) -> Usage:
    used = Usage()
    for receipt in watch.finals({run}):
        used += Usage.from_json(receipt.predicate.get("usage", {}))
    return used


def _usd(story: Story, usage: Usage) -> str:
    if usage.tokens and not usage.cost_nano_usd and not story.model.startswith(("scripted:", "local:")):
        return "unknown"  # a model without a list price is metered, not free
    return f"{usage.cost_nano_usd / 1e9:.5f}"
