"""The lives of keys that sign, as receipts tell them: whose, from when, until when.

A key's life begins with a receipt of phase `key` and `state` `in use`, and ends with one that says
`retired` or `revoked`. Format: `docs/formats/receipt.md`, "Keys".
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from answerable.ledger._receipt import Receipt

__all__ = ["SIGNING_ROLES", "KeyLife", "key_lives"]

SIGNING_ROLES = ("gate", "log", "signer")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLife:
    """One key.

    Args:
        id: SHA-256 of the public key, 64 hexadecimal digits.
        role: `gate`, `log`, or `signer` for one with which a person signs.
        public: as its receipt has it: raw and in hexadecimal (gate, log), or SubjectPublicKeyInfo in base64 (signer).
        since, until: RFC 3339 UTC; `until` is empty while it is in use.
        person: of a person's key, what the record calls them.
        kept: where its private half was, as far as the record says: `file`, `ssh-agent`, …
        reason: why it was retired.
    """

    id: str
    role: str
    public: str
    since: str
    until: str = ""
    person: str = ""
    kept: str = ""
    reason: str = ""

    @property
    def is_in_use(self) -> bool:
        """Whether it may sign now."""
        return not self.until


def key_lives(receipts: Iterable[Receipt]) -> list[KeyLife]:
    """The keys that sign, by when they came into use; one that came back has a life for each time."""
    lives: list[KeyLife] = []
    open_: dict[str, int] = {}
    for receipt in receipts:
        if receipt.phase != "key":
            continue
        said, control = receipt.predicate, receipt.predicate["control"]
        if control["role"] not in SIGNING_ROLES:
            continue
        at = open_.get(control["id"])
        if control["state"] == "in use":
            if at is None:
                open_[control["id"]] = len(lives)
                lives.append(
                    KeyLife(
                        id=control["id"],
                        role=control["role"],
                        public=control["key"],
                        since=said["at"],
                        person=control.get("by", "") if control["role"] == "signer" else "",
                        kept=control.get("kept", "") or control.get("kind", ""),
                    )
                )
        elif at is not None:
            lives[at] = replace(lives[at], until=said["at"], reason=control.get("reason", ""))
            del open_[control["id"]]
    return lives
