"""Whether a number is what it looks like: the checks that cards, accounts and national ids carry in themselves."""

import re
from collections.abc import Callable, Mapping

__all__ = ["NATIONAL_IDS", "is_card", "is_iban"]

_IBAN_LENGTHS = {
    each[:2]: int(each[2:])
    for each in re.findall(
        r"\w+",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 "
        "FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 "
        "LU20 LV21 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 "
        "SK24 SM27 TL23 TN24 TR26 UA29 VA22 VG24 XK20",
    )
}
"""Source: SWIFT, "IBAN Registry"."""


def is_card(digits: str) -> bool:
    """A payment card's number: length, a range that is given out, and the Luhn digit. Source: ISO/IEC 7812-1."""
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and len(set(digits)) > 1 and _luhn(digits)


def is_iban(text: str) -> bool:
    """An account number that fits its country's length and its check digits. Source: ISO 13616-1."""
    length = _IBAN_LENGTHS.get(text[:2])
    if length != len(text) or not text[2:4].isdigit():
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def _us_ssn(text: str) -> bool:
    area, group, serial = text[:3], text[3:5], text[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _gb_nino(text: str) -> bool:
    return text[0] not in "DFIQUV" and text[1] not in "DFIOQUV" and text[:2] not in ("BG", "GB", "NK", "KN", "TN", "NT")


def _de_tax_id(text: str) -> bool:
    """Source: ISO 7064, MOD 11,10; one of the first ten digits stands two or three times."""
    most = max(text[:10].count(digit) for digit in set(text[:10]))
    if text[0] == "0" or most not in (2, 3):
        return False
    product = 10
    for digit in text[:10]:
        product = 2 * ((product + int(digit)) % 10 or 10) % 11
    return (11 - product) % 10 == int(text[10])


def _fr_nir(text: str) -> bool:
    number = text[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(text[13:])


def _es_dni(text: str) -> bool:
    number = int(text[:-1].translate(str.maketrans("XYZ", "012")))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == text[-1]


_IT_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
"""What a character counts for at an odd place: digits as the first ten letters."""


def _it_code(text: str) -> bool:
    odd = sum(_IT_ODD[int(char) if char.isdigit() else ord(char) - ord("A")] for char in text[0:15:2])
    even = sum(int(char) if char.isdigit() else ord(char) - ord("A") for char in text[1:15:2])
    return chr((odd + even) % 26 + ord("A")) == text[15]


def _nl_bsn(text: str) -> bool:
    return int(text) > 0 and _weighted(text, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _pl_pesel(text: str) -> bool:
    is_date = 1 <= int(text[2:4]) % 20 <= 12 and 1 <= int(text[4:6]) <= 31
    return is_date and _weighted(text, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def _br_cpf(text: str) -> bool:
    def digit(of: str) -> int:
        return _weighted(of, tuple(range(len(of) + 1, 1, -1))) * 10 % 11 % 10

    return len(set(text)) > 1 and digit(text[:9]) == int(text[9]) and digit(text[:10]) == int(text[10])


NATIONAL_IDS: Mapping[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "us-ssn": (re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), _us_ssn),
    "gb-nino": (re.compile(r"(?<!\w)[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D](?!\w)"), _gb_nino),
    "de-tax-id": (re.compile(r"(?<![\w-])\d{2} ?\d{3} ?\d{3} ?\d{3}(?![\w-])"), _de_tax_id),
    "fr-nir": (re.compile(r"(?<!\w)[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}(?!\w)"), _fr_nir),
    "es-dni": (re.compile(r"(?<!\w)(?:\d{8}|[XYZ]\d{7})-?[A-Z](?!\w)"), _es_dni),
    "it-code": (re.compile(r"(?<!\w)[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?!\w)"), _it_code),
    "nl-bsn": (re.compile(r"(?<=bsn)[\s:#.]{1,3}\d{9}(?!\w)|(?<=BSN)[\s:#.]{1,3}\d{9}(?!\w)"), _nl_bsn),
    "pl-pesel": (re.compile(r"(?<![\w-])\d{11}(?![\w-])"), _pl_pesel),
    "br-cpf": (re.compile(r"(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\w-])"), _br_cpf),
}
"""National ids by country: how each is written, and its own check; the check gets it without marks."""
