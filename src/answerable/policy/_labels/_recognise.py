"""Personal data and secrets in text, recognised by their form and by the checks they carry in themselves.

No model and no list of names: what has no form of its own (a name, an address, an illness) is not found here.
`docs/concepts/labels.md`, "Personal data".
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from answerable.policy._labels._checksums import NATIONAL_IDS, is_card, is_iban

__all__ = ["KINDS", "LONGEST", "SECRETS", "Found", "Recogniser", "find_all", "find_links", "hidden_codes"]

LONGEST = 512
"""No match is longer; a stream that is looked through keeps back as much."""


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """Something recognised in a text, at `text[start:end]`."""

    start: int
    end: int
    kind: str
    value: str


Recogniser = Callable[[str], Iterator[Found]]

_MARKS = re.compile(r"[ .\-/]")
_DIGITS = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?!\w)")
_EMAIL = re.compile(r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
_PHONE = re.compile(
    r"(?<![\w.+-])(?:\+|00)[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,4}\)?){2,6}(?![\w-])|\(\d{3}\) ?\d{3}-\d{4}(?!\w)"
)
_IP = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4})(?![\w.:]\w|\w)")
_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[A-Za-z0-9+/=\s]{0,400}"
    r"|(?<!\w)(?:sk-[\w-]{16,200}|sk_(?:live|test)_\w{16,64}|gh[opsur]_\w{30,64}|github_pat_\w{30,100}"
    r"|glpat-[\w-]{16,64}|xox[abprs]-[\w-]{10,100}|AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}|AIza[\w-]{30,40}"
    r"|npm_\w{30,50}|pypi-\w{30,200}|hf_\w{30,50}"
    r"|eyJ[\w-]{10,200}\.eyJ[\w-]{10,200}\.[\w-]{10,80})(?![\w-])"
)
_GIVEN = re.compile(
    r"(?i)\b(?:api[_ -]?key|secret(?:[_ -]?key)?|access[_ -]?token|auth[_ -]?token|token|password|passwd|pwd)\b"
    r"[\"']?\s{0,3}(?:=|:|is)\s{0,3}[\"']?([^\s\"',;]{6,128})"
)
# A number is a one-time code only where the text says so; digits alone are nobody's secret.
_CODE = re.compile(
    r"(?i)\b(?:code|pin|otp|passcode|one-time password)\b[^\d\n]{0,40}?(?<![\w.-])(\d{4,8})(?![\w-])(?!\.\d)"
    r"|(?<![\w.-])(\d{4,8})(?![\w-])[^\d\n]{0,25}\b(?:code|pin|otp|passcode)\b"
)
_LINK = re.compile(r"(?i)\b(?:https?://|www\.)[^\s<>\"'`)\]}]{3,300}")
_BARE_LINK = re.compile(
    r"(?i)(?<![\w@./-])(?:[a-z0-9-]{1,63}\.){1,4}(?:com|net|org|io|ly|co|me|info|biz|xyz|app|dev)/\S{1,200}"
)


def _cards(text: str) -> Iterator[Found]:
    for match in _DIGITS.finditer(text):
        if is_card(_MARKS.sub("", match[0])):
            yield Found(match.start(), match.end(), "card", match[0])


def _ibans(text: str) -> Iterator[Found]:
    for match in _IBAN.finditer(text):
        said = match[0]
        # A word in capitals may follow an IBAN written in groups: the longest beginning that checks out counts.
        for end in range(len(said), 14, -1):
            if said[end - 1] != " " and is_iban(said[:end].replace(" ", "")):
                yield Found(match.start(), match.start() + end, "iban", said[:end])
                break


def _national_ids(text: str) -> Iterator[Found]:
    for pattern, is_valid in NATIONAL_IDS.values():
        for match in pattern.finditer(text):
            number = match[0].strip(" \t\n:#.")
            if is_valid(_MARKS.sub("", number)):
                yield Found(match.end() - len(number), match.end(), "national-id", number)


def _plain_pattern(kind: str, pattern: re.Pattern[str]) -> Recogniser:
    def find(text: str) -> Iterator[Found]:
        for match in pattern.finditer(text):
            group = next((n for n in range(1, (match.lastindex or 0) + 1) if match[n] is not None), 0)
            yield Found(match.start(group), match.end(group), kind, match[group])

    return find


def _phones(text: str) -> Iterator[Found]:
    for match in _PHONE.finditer(text):
        if 8 <= sum(char.isdigit() for char in match[0]) <= 15:
            yield Found(match.start(), match.end(), "phone", match[0])


def _addresses(text: str) -> Iterator[Found]:
    for match in _IP.finditer(text):
        try:
            address = ipaddress.ip_address(match[0])
        except ValueError:
            continue
        if not address.is_unspecified:
            yield Found(match.start(), match.end(), "ip", match[0])


_OURS: dict[str, tuple[Recogniser, ...]] = {
    "key": (_plain_pattern("key", _KEY), _plain_pattern("key", _GIVEN)),
    "code": (_plain_pattern("code", _CODE),),
    "national-id": (_national_ids,),  # before cards: some have as many digits, and both checks right
    "card": (_cards,),
    "iban": (_ibans,),
    "email": (_plain_pattern("email", _EMAIL),),
    "phone": (_phones,),
    "ip": (_addresses,),
}
KINDS = frozenset(_OURS)
SECRETS = frozenset({"key", "code"})
"""Kinds that nobody but their owner should have."""


def find_all(text: str, kinds: frozenset[str] = KINDS, *, further: Sequence[Recogniser] = ()) -> list[Found]:
    """What is recognised in a text, in order and without overlaps: the longest at a place counts.

    Args:
        kinds: which of ours.
        further: recognisers beside ours.
    """
    found = [each for kind, those in _OURS.items() if kind in kinds for find in those for each in find(text)]
    found += [each for find in further for each in find(text)]
    kept: list[Found] = []
    for each in sorted(found, key=lambda one: (one.start, -one.end)):
        if not kept or each.start >= kept[-1].end:
            kept.append(each)
    return kept


def find_links(text: str) -> list[str]:
    """The links in a text, without the punctuation that follows them."""
    return [match[0].rstrip(".,;:!?") for pattern in (_LINK, _BARE_LINK) for match in pattern.finditer(text)]


def hidden_codes(text: str) -> frozenset[str]:
    """Secrets that a text holds, as they would be copied out of it."""
    return frozenset(each.value for each in find_all(text, SECRETS))
