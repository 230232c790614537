"""Labels and origins of arguments, taken anew from the record and compared with what was decided on."""

from pathlib import Path
from typing import Any

import pytest

from answerable.app._tests.test_labels import INBOX, asking, sending
from answerable.ledger import ObjectErased, Reader, Receipt
from answerable.policy import recount_facts

pytestmark = pytest.mark.requirement("EV-6", "GV-4")


class Forged(Reader):
    """A record whose decided requests, or what receipts say of arguments, were written otherwise."""

    said: tuple[bytes, bytes] = (b"", b"")
    origin: tuple[str, str] = ("", "")

    def stored(self, commitment: str) -> tuple[bytes, bytes] | None:
        found = super().stored(commitment)
        return found and (found[0].replace(*self.said) if self.said[0] else found[0], found[1])

    def receipts(self, **of: Any) -> list[Receipt]:
        found = super().receipts(**of)
        for each in found:
            for said in each.predicate.get("authority", {}).get("provenance", ()):
                said["from"] = self.origin[1] if said["from"] == self.origin[0] else said["from"]
        return found


def forging(folder: Path, said: tuple[bytes, bytes], origin: tuple[str, str] = ("", "")) -> Forged:
    forged = Forged.open(folder / "data")
    assert isinstance(forged, Forged)
    forged.said, forged.origin = said, origin
    return forged


@pytest.mark.parametrize(
    ("said", "origin", "expected"),
    [
        ((b'"untrusted_arguments":["to"]', b'"untrusted_arguments":[]'), ("", ""), "untrusted_arguments"),
        ((b'"sends":[]', b'"sends":["link"]'), ("", ""), "sends"),
        ((b'"labels":["untrusted:inbox"]', b'"labels":["untrusted:ghost"]'), ("", ""), "labels"),
        ((b"", b""), ("untrusted", "user"), "provenance"),
    ],
)
def test_a_label_or_an_origin_that_was_recorded_wrongly_is_named(
    tmp_path: Path, said: tuple[bytes, bytes], origin: tuple[str, str], expected: str
) -> None:
    also = '@id("secret") forbid(principal, action, resource) when { context.labels.contains("secret:x") };'
    run = asking(tmp_path, "Read my mail", INBOX, sending("thief@evil.example"), also=also)
    forged = forging(tmp_path, said, origin)

    genuine = recount_facts(Reader.open(tmp_path / "data"), run)
    compared = recount_facts(forged, run)

    assert [each.differences for each in genuine] == [(), ()]
    assert not any(each.as_recorded for each in genuine)
    assert {difference[0] for difference in compared[-1].differences} == {expected}


def test_origins_are_taken_as_recorded_where_a_text_is_gone_or_the_rules_were_not_kept(tmp_path: Path) -> None:
    run = asking(tmp_path, "Write to bob@example.com", INBOX, sending("bob@example.com"))
    old = forging(tmp_path, (b'"declared":"sha256:', b'"declared":"sha257:'))

    class Erased(Reader):
        def text(self, receipt: Receipt) -> Any:
            raise ObjectErased(receipt=receipt.predicate["id"])

    again = [recount_facts(each, run)[-1] for each in (old, Erased.open(tmp_path / "data"))]

    left = ("provenance", "sends", "untrusted_arguments")
    assert [(each.differences, each.as_recorded) for each in again] == [((), left)] * 2
