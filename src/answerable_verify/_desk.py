"""What is on the verifier's desk while it works."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from answerable_verify._container import Container
from answerable_verify._json import NotCanonical, read_json
from answerable_verify._receipt import Receipt
from answerable_verify._report import Finding
from answerable_verify._trust import Trust

__all__ = ["Desk"]


@dataclass(slots=True)
class Desk:
    """What is on the verifier's desk: the bundle, the trust, and what was found so far.

    Args:
        damaged: ids of receipts that nobody trusted signed; `unreadable`: digests of those that cannot be read.
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
    unreadable: dict[str, bytes] = field(default_factory=dict)
    assurance: Literal["local", "witnessed", "witnessed+monitored"] = "local"
    isolation: str = ""

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
