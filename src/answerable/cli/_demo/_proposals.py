"""What a model proposed, held against what a careful colleague would have, and what became of its mistakes."""

import json
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from answerable.cli._demo._telling import Telling
from answerable.core import Money
from answerable.ledger import Reader, Receipt

__all__ = ["Judged", "judge", "proposal_of", "tell_judged"]

_FATES = {
    "refused": "refused by policy",
    "rejected": "held, and rejected by a person",
    "approved": "held, and approved by a person",
    "declined": "declined by the shop",
    "through": "went through: policy permits it",
    "": "no money moved",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One ticket's proposal.

    Args:
        proposed: in a few words; empty where the model gave nothing that could be used.
        right: what would have been right.
        fate: what became of the refund that it proposed, if it did: a key of the fates above.
        paid: what the shop paid.
    """

    ticket: str
    proposed: str
    right: Sequence[str]
    fate: str
    paid: Money | None

    @property
    def is_right(self) -> bool:
        return self.proposed in self.right


def proposal_of(reader: Reader, receipt: Receipt, order: str) -> str:
    """The plan in a model call's outcome: `refund 24.90 EUR`, `reply`; empty if there is none."""
    said: dict[str, Any] = json.loads(reader.text(receipt).output or b"{}")
    plan = said.get("data")
    if receipt.predicate["effect"]["status"] != "ok" or not plan:
        return ""
    if plan["decision"] != "refund":
        return str(plan["decision"])
    try:
        sum_ = str(Money(plan["amount_minor"], plan["currency"]))
    except (TypeError, ValueError):
        sum_ = f"{plan['amount_minor']} {plan['currency']}"
    return f"refund {sum_}" + ("" if plan["order_id"] == order else f" of order {plan['order_id']}")


def judge(reader: Reader, example: Path, runs: Sequence[tuple[str, str, Sequence[Receipt]]]) -> list[Judged]:
    """Hold proposals against `right.toml`.

    Args:
        runs: each ticket, its order, and the receipts of its run.
    """
    right: dict[str, list[str]] = tomllib.loads((example / "right.toml").read_text(encoding="utf-8"))
    judged = []
    for ticket, order, receipts in runs:
        calls = [each for each in receipts if each.phase == "outcome" and each.predicate["action"]["kind"] == "model"]
        proposed = proposal_of(reader, calls[-1], order) if calls else ""
        fate, paid = _fate(receipts)
        judged.append(Judged(ticket=ticket, proposed=proposed, right=right.get(ticket, ()), fate=fate, paid=paid))
    return judged


def tell_judged(telling: Telling, judged: Sequence[Judged]) -> None:
    """Say what the model got right and wrong, and where its mistakes ended."""
    rows = [
        (
            each.ticket,
            each.proposed or "nothing that can be used",
            "" if each.is_right else " or ".join(each.right),
            "right" if each.is_right else _FATES[each.fate],
        )
        for each in judged
    ]
    telling.table("proposal", ("TICKET", "THE MODEL PROPOSED", "RIGHT WERE", "SO"), rows, numbers=0)
    wrong = [each for each in judged if not each.is_right]
    fates = Counter(each.fate for each in wrong)
    held = fates["approved"] + fates["rejected"]
    paid = sum((each.paid for each in wrong if each.paid is not None), start=Money(0, "EUR"))
    counts = {
        "refused": fates["refused"],
        "held": held,
        "declined": fates["declined"],
        "without money": fates[""],
        "through": fates["through"],
    }
    telling.tell(
        "judged",
        f"the model was right on {len(judged) - len(wrong)} of {len(judged)} tickets. Its {len(wrong)} mistakes:"
        f" {fates['refused']} refused by policy, {held} held for a person, {fates['declined']} declined by the shop,"
        f" {fates['']} that moved no money, {fates['through']} that went through ({paid} paid)",
        right=len(judged) - len(wrong),
        wrong=len(wrong),
        counts=counts,
        paid=paid.to_json(),
    )
    telling.say("Policy bounds what a mistake can do; it does not make the model right.")


def _fate(receipts: Sequence[Receipt]) -> tuple[str, Money | None]:
    fate, paid, is_approved = "", None, False
    for receipt in receipts:
        said = receipt.predicate
        if receipt.phase == "approval":
            is_approved = said["control"]["decision"] == "approve"
        elif said.get("action", {}).get("name") != "shop.refund":
            continue
        elif receipt.phase == "denied":
            fate = "refused" if said["authority"].get("reason") == "refused.policy_denied" else "rejected"
        elif receipt.phase == "outcome" and said["effect"]["status"] != "ok":
            fate = "declined"
        elif receipt.phase == "outcome":
            fate = "approved" if is_approved else "through"
            paid = Money(said["action"]["amount"]["minor"], said["action"]["amount"]["currency"])
    return fate, paid
