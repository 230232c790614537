"""What is on the verifier's desk while it works."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from answerable_verify._container import Container, numbered
from answerable_verify._json import NotCanonical, read_json
from answerable_verify._receipt import Receipt
from answerable_verify._report import Finding
from answerable_verify._trust import Trust

__all__ = ["Desk"]

_RECEIPT = re.compile(r"receipts/[0-9]{6,}\.json")


@dataclass(slots=True)
class Desk:
    """What is on the verifier's desk: the bundle, the trust, and what was found so far.

    Args:
        damaged: ids of receipts that nobody trusted signed.
        is_all_readable: whether every receipt could be read.
        receipts: the members that should be receipts, in order; `others`: all the rest.
        assurance: what those who watched the log add to a trust that pins its keys.
        isolation: how far agents were kept from the gate, by the weakest receipt.
    """

    members: Mapping[str, bytes]
    trust: Trust | None
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    is_all_readable: bool = True
    assurance: Literal["local", "witnessed", "witnessed+monitored"] = "local"
    isolation: str = ""
    receipts: Sequence[str] = field(init=False)
    others: Collection[str] = field(init=False)

    def __post_init__(self) -> None:
        members = self.members
        others: Collection[str] = members.others if isinstance(members, Container) else members.keys()
        named = sorted(name for name in others if _RECEIPT.fullmatch(name))
        if named or not isinstance(members, Container):
            self.receipts = numbered(sorted(name for name in members if _RECEIPT.fullmatch(name)))
            self.others = [name for name in others if not _RECEIPT.fullmatch(name)]
        else:
            self.receipts, self.others = members.receipts, others

    def digest(self, member: str) -> bytes:
        """SHA-256 of a member."""
        members = self.members
        return members.digest(member) if isinstance(members, Container) else hashlib.sha256(members[member]).digest()

    def say(
        self, check: str, what: str, receipt: Receipt | None = None, *, member: str = "", claimed: str = ""
    ) -> None:
        self.findings.append(
            Finding(
                check=check,
                what=what,
                receipt=receipt.id if receipt else claimed,
                member=receipt.member if receipt else member,
            )
        )

    def json(self, name: str, check: str) -> Any:
        """A JSON member that is an object; None, with a finding, where it is not."""
        if name not in self.members:
            return None  # the manifest check has said so
        try:
            value = read_json(self.members[name])
        except NotCanonical as error:
            self.say(check, str(error), member=name)
            return None
        if not isinstance(value, dict):
            self.say(check, "not a JSON object", member=name)
            return None
        return value
