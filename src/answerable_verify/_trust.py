"""What the verifier brings along: which keys are the gate's and the log's.

Format: `docs/formats/trust.md`.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from answerable_verify._json import NotCanonical, read_json
from answerable_verify._keys import BadKey, key_id, read_pem
from answerable_verify._people import read_person_key

__all__ = ["BadTrust", "Trust", "claimed_trust", "read_trust"]

FORMAT = "answerable-trust/1"
_GATE_KEY = re.compile(r"gate_key(_[0-9]+)?")
_PERSON_KEY = re.compile(r"person_key(_[0-9]+)?")
_LARGEST_BYTES = 1024 * 1024


class BadTrust(ValueError):
    """A trust file, or the bundle's own list of keys, that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The pinned keys.

    Args:
        origin: of the log, which is also its key's name.
        log_key: raw Ed25519 key that signs checkpoints.
        gate_keys: raw Ed25519 keys that sign receipts, by key id.
        people_keys: ids of the P-256 keys with which people sign answers; empty where it names none.
    """

    origin: str
    log_key: bytes
    gate_keys: Mapping[str, bytes]
    people_keys: frozenset[str] = frozenset()


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
        said = tomllib.loads(body.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadTrust(f"trust file `{path}` is not TOML: {error}") from None
    if said.get("format") != FORMAT:
        raise BadTrust(f'trust file `{path}` does not say format = "{FORMAT}"')
    gates = [value for name, value in sorted(said.items()) if _GATE_KEY.fullmatch(name)]
    trust = _trust(f"trust file `{path}`", said.get("origin"), said.get("log_key"), gates)
    try:
        people = [read_person_key(str(value)) for name, value in said.items() if _PERSON_KEY.fullmatch(name)]
    except BadKey as error:
        raise BadTrust(f"trust file `{path}` has a person's key that is {error}") from None
    return replace(trust, people_keys=frozenset(people))


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
    return _trust(
        "`keys.json`",
        log.get("origin"),
        log.get("pem"),
        [gate.get("pem") if isinstance(gate, dict) else None for gate in gates],
    )


def _trust(where: str, origin: Any, log_pem: Any, gate_pems: list[Any]) -> Trust:
    if not isinstance(origin, str) or not origin:
        raise BadTrust(f"{where} names no log origin")
    if not gate_pems:
        raise BadTrust(f"{where} holds no gate key")
    raw = []
    for pem in (log_pem, *gate_pems):
        try:
            if not isinstance(pem, str):
                raise BadKey("missing")
            raw.append(read_pem(pem))
        except BadKey as error:
            raise BadTrust(f"{where} has a key that is {error}") from None
    log_key, *gate_keys = raw
    if log_key in gate_keys:
        raise BadTrust(f"{where} uses one key for log and gate: each role has its own")
    return Trust(origin=origin, log_key=log_key, gate_keys={key_id(key): key for key in gate_keys})
