"""What the verifier brings along: which keys are the gate's and the log's.

Format: `docs/formats/trust.md`.
"""

import contextlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.x509 import InvalidVersion, load_pem_x509_certificate

from answerable_verify._json import NotCanonical, read_json
from answerable_verify._keys import BadKey, key_id, read_pem
from answerable_verify._people import read_person_key
from answerable_verify._report import ISOLATIONS
from answerable_verify._watchers import BadVerifierKey, Cosigner, read_cosigner

__all__ = ["BadTrust", "Trust", "claimed_trust", "read_trust"]

FORMAT = "answerable-trust/1"
_DATED = ("gate_key", "log_key", "person_key")
_NUMBERED = re.compile(r"(gate_key|log_key|person_key|witness|monitor|tsa_root)(_[0-9]+)?(_from|_until)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
_LINE = re.compile(r"""[ \t]*([A-Za-z0-9_]+[ \t]*=[ \t]*"([^"\\]|\\n)*"[ \t]*)?(#.*)?""")
"""What a shell reads as well as a reader of TOML does."""
_LARGEST_BYTES = 1024 * 1024


class BadTrust(ValueError):
    """A trust file, or the bundle's own list of keys, that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The pinned keys.

    Args:
        origin: of the log, which is also its key's name.
        log_key: raw Ed25519 key that signs checkpoints; `earlier_log_keys`: others that did.
        gate_keys: raw Ed25519 keys that sign receipts, by key id.
        people_keys: ids of the P-256 keys with which people sign answers; empty where it names none.
        periods: from when and until when a key was in use, RFC 3339, by key id; either may be empty.
        witnesses: who cosigns the log's checkpoints.
        quorum: how many of them are enough.
        monitors: who cosigns a checkpoint after checking every receipt under it.
        tsa_roots: certificates of time-stamping authorities, PEM.
        isolation: how far agents must at least have been kept from the gate; empty for no matter.
    """

    origin: str
    log_key: bytes
    gate_keys: Mapping[str, bytes]
    people_keys: frozenset[str] = frozenset()
    periods: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    witnesses: tuple[Cosigner, ...] = ()
    quorum: int = 0
    monitors: tuple[Cosigner, ...] = ()
    tsa_roots: tuple[bytes, ...] = ()
    earlier_log_keys: tuple[bytes, ...] = ()
    isolation: str = ""

    @property
    def log_keys(self) -> tuple[bytes, ...]:
        """Every key that may have signed a checkpoint."""
        return (self.log_key, *self.earlier_log_keys)


def read_trust(path: Path | str) -> Trust:
    """The trust that a file states.

    Raises:
        BadTrust: the file is missing, too large, not TOML, or states no usable keys.
    """
    try:
        with Path(path).open("rb") as file:
            body = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise BadTrust(f"trust file `{path}` cannot be read: {error.strerror}") from None
    if len(body) > _LARGEST_BYTES:
        raise BadTrust(f"trust file `{path}` is larger than 1 MiB")
    try:
        text = body.decode("utf-8")
        said = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadTrust(f"trust file `{path}` is not TOML: {error}") from None
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        if not _LINE.fullmatch(line):
            raise BadTrust(f'trust file `{path}` has a line that is not name = "value": line {number}')
    if said.get("format") != FORMAT:
        raise BadTrust(f'trust file `{path}` does not say format = "{FORMAT}"')
    where = f"trust file `{path}`"
    numbered: dict[str, list[tuple[str, Any]]] = {}
    for name, value in sorted(said.items()):
        found = _NUMBERED.fullmatch(name)
        # What is misspelt would silently not be asked for.
        if name not in ("format", "origin", "quorum", "isolation") and (
            not found or (found[3] and found[1] not in _DATED) or not isinstance(value, str)
        ):
            raise BadTrust(f"{where} says `{name[:80]}`, which is not known or not text")
        if found and not found[3]:
            numbered.setdefault(found[1], []).append((name, value))
    gates, logs = numbered.get("gate_key", []), numbered.get("log_key", [])
    trust = _trust(where, said.get("origin"), [value for _, value in logs], [value for _, value in gates])
    ids = [(name, key_id(read_pem(pem))) for name, pem in (*gates, *logs)]
    try:
        ids += [(name, read_person_key(pem)) for name, pem in numbered.get("person_key", [])]
    except BadKey as error:
        raise BadTrust(f"{where} has a person's key that is {error}") from None
    if len({each for _, each in ids}) < len(ids):
        raise BadTrust(f"{where} names one key twice")
    isolation = said.get("isolation", "")
    if isolation not in ("", *ISOLATIONS):
        raise BadTrust(f"{where}: `isolation` is none of {', '.join(ISOLATIONS)}")
    return replace(
        trust,
        isolation=isolation,
        people_keys=frozenset(each for name, each in ids if name.startswith("person_key")),
        periods={each: period for name, each in ids if any(period := _period(where, said, name))},
        tsa_roots=tuple(_certificate(where, pem) for _, pem in numbered.get("tsa_root", [])),
        **_watchers(where, trust, numbered, said.get("quorum")),
    )


def claimed_trust(body: bytes) -> Trust:
    """The keys a bundle says of itself: they show that it is self-consistent, and nothing more.

    Raises:
        BadTrust: `keys.json` is not of its format.
    """
    try:
        said = read_json(body)
    except NotCanonical as error:
        raise BadTrust(f"`keys.json` is {error}") from None
    log = said.get("log") if isinstance(said, dict) else None
    gates = said.get("gate") if isinstance(said, dict) else None
    if not isinstance(log, dict) or not isinstance(gates, list):
        raise BadTrust("`keys.json` names no gate and log keys")
    earlier = log.get("earlier", [])
    return _trust(
        "`keys.json`",
        log.get("origin"),
        [log.get("pem"), *(earlier if isinstance(earlier, list) else [None])],
        [gate.get("pem") if isinstance(gate, dict) else None for gate in gates],
    )


def _trust(where: str, origin: Any, log_pems: list[Any], gate_pems: list[Any]) -> Trust:
    if not isinstance(origin, str) or not origin:
        raise BadTrust(f"{where} names no log origin")
    if not gate_pems:
        raise BadTrust(f"{where} holds no gate key")
    raw = []
    for pem in (*(log_pems or [None]), *gate_pems):
        try:
            if not isinstance(pem, str):
                raise BadKey("missing")
            raw.append(read_pem(pem))
        except BadKey as error:
            raise BadTrust(f"{where} has a key that is {error}") from None
    gate_keys = raw[len(log_pems) :]
    log_key, *earlier = raw[: len(log_pems)]
    if set(gate_keys) & {log_key, *earlier}:
        raise BadTrust(f"{where} uses one key for log and gate: each role has its own")
    return Trust(
        origin=origin,
        log_key=log_key,
        gate_keys={key_id(key): key for key in gate_keys},
        earlier_log_keys=tuple(earlier),
    )


def _watchers(where: str, trust: Trust, numbered: Mapping[str, list[tuple[str, Any]]], said: Any) -> dict[str, Any]:
    """SECURITY: whoever signs the log, its receipts or as one witness does not count as another witness."""
    taken = {*trust.log_keys, *trust.gate_keys.values()}
    found: dict[str, list[Cosigner]] = {"witness": [], "monitor": []}
    for role, cosigners in found.items():
        for name, vkey in numbered.get(role, []):
            try:
                cosigner = read_cosigner(vkey)
            except BadVerifierKey as error:
                raise BadTrust(f"{where}: `{name}` is no verifier key: {error}") from None
            if cosigner.public_key in taken:
                raise BadTrust(f"{where}: the key of `{name}` is there in another role, or twice: each has its own")
            taken.add(cosigner.public_key)
            cosigners.append(cosigner)
    count = len(found["witness"])
    quorum = count if said is None else int(said) if isinstance(said, str) and said.isdecimal() else -1
    if (count or said is not None) and not 1 <= quorum <= count:
        raise BadTrust(f'{where}: `quorum` is not a number from "1" to the number of its witnesses, {count}')
    return {"witnesses": tuple(found["witness"]), "quorum": quorum, "monitors": tuple(found["monitor"])}


def _period(where: str, said: Mapping[str, Any], name: str) -> tuple[str, str]:
    times = []
    for end in ("from", "until"):
        time = said.get(f"{name}_{end}", "")
        if time and not _TIME.fullmatch(time):
            raise BadTrust(f"{where}: `{name}_{end}` is not a time like 2026-11-21T00:00:00Z")
        # Receipts write six decimals: brought to the same form, times compare as text.
        times.append(time and f"{time[:19]}.{time[20:-1]:0<6}Z")
    return times[0], times[1]


def _certificate(where: str, pem: str) -> bytes:
    try:
        with contextlib.suppress(InvalidVersion):  # which timestamps pass over, as they do one of version 1
            load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise BadTrust(f"{where} has a `tsa_root` that is not a certificate in PEM") from None
    return pem.encode()
