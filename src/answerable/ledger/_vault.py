"""What keeps text secret: subject keys, seals, salts and pseudonyms, all under one master key.

A text is sealed under a key that derives from the keys of every person it concerns, so erasing one
of those keys erases the text, its salts and with them all meaning of its commitments.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from answerable.core import EvidenceError, Mac, RunId, TenantId
from answerable.ledger._keys import read_or_make_secret

__all__ = ["PARTY", "Keyset", "ObjectErased", "SubjectKeys", "Vault", "commitment"]

PARTY = "party_"
"""What every pseudonym begins with."""

SubjectKeys = Callable[[TenantId, str], bytes | None]
"""Looks up a subject's wrapped key: `None` for a subject never seen."""

_CACHED_KEYSETS = 4096
_PSEUDONYM = re.compile(PARTY + "[0-9a-f]{16}").fullmatch


@dataclass(eq=False, kw_only=True)
class ObjectErased(EvidenceError):
    """A text on the record whose key is gone: erased, or never on this machine."""

    code = "evidence.object_erased"
    what = "the text of `{receipt}` cannot be read"
    why = "a key it was sealed under has been erased or is not in this data directory"
    fix = "its commitment and every proof still stand; restore the key store if this was not an erasure"

    receipt: str


@dataclass(frozen=True, slots=True)
class Keyset:
    """The keys for texts that concern one set of subjects."""

    subjects: tuple[str, ...]
    seal: AESGCM
    salts: Mac

    def salt(self, run: str, step: str, field: str) -> bytes:
        """The salt of one text, 32 bytes; the same whenever it is asked for."""
        return self.salts.digest(f"{run}\n{step}\n{field}".encode())

    def encrypt(self, text: bytes, name: str) -> bytes:
        """Nonce and AES-256-GCM ciphertext, bound to `name`."""
        nonce = os.urandom(12)
        return nonce + self.seal.encrypt(nonce, text, name.encode())

    def decrypt(self, sealed: bytes, name: str) -> bytes:
        """The text; raises `ObjectErased` where the keys do not open it."""
        try:
            return self.seal.decrypt(sealed[:12], sealed[12:], name.encode())
        except InvalidTag:
            raise ObjectErased(receipt=name) from None


class Vault:
    """All secrets of one data directory but the signing keys."""

    def __init__(self, path: Path) -> None:
        self._master = read_or_make_secret(path, lambda: os.urandom(32))
        self._tenants: dict[str, tuple[Mac, AESGCM, Keyset]] = {}
        self._subject_keys: dict[tuple[str, str], bytes] = {}
        """In clear, of new subjects, until they are on disk."""
        self._keysets: dict[tuple[str, tuple[str, ...]], Keyset] = {}
        self._called: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}
        self.unsaved: dict[tuple[str, str], bytes] = {}
        """Wrapped keys of new subjects, to be stored with the first receipt that uses them."""

    def run_key(self, tenant: TenantId, run: RunId) -> bytes:
        """The key that names a run's steps, 32 bytes."""
        return self._tenant(tenant)[0].digest(b"run\n" + run.encode())

    def pseudonym(self, tenant: TenantId, name: str) -> str:
        """What the record calls a person or system: linkable within a tenant, meaningless outside."""
        return PARTY + self._tenant(tenant)[0].digest(b"party\n" + name.encode()).hex()[:16]

    def called(self, tenant: TenantId, subjects: tuple[str, ...]) -> tuple[str, ...]:
        """The pseudonyms of these people, sorted, each once; one who is called by it already keeps it."""
        found = self._called.get((tenant, subjects))
        if found is None:
            names = {each if _PSEUDONYM(each) else self.pseudonym(tenant, each) for each in subjects}
            if len(self._called) >= _CACHED_KEYSETS:
                self._called.pop(next(iter(self._called)))
            found = self._called[tenant, subjects] = tuple(sorted(names))
        return found

    def tenant_keyset(self, tenant: TenantId) -> Keyset:
        """Keys for texts that name nobody and outlive an erasure."""
        return self._tenant(tenant)[2]

    def keyset(self, tenant: TenantId, subjects: tuple[str, ...], stored: SubjectKeys) -> Keyset:
        """Keys for texts that concern all of `subjects` (sorted); a new subject gets a key.

        Raises:
            KeyError: `stored` says that a subject's key was erased.
        """
        found = self._keysets.get((tenant, subjects))
        if found is None:
            material = b"".join(self._subject_key(tenant, subject, stored) for subject in subjects)
            both = _derive(material, b"seal and salt", 64)
            found = Keyset(subjects, AESGCM(both[:32]), Mac(both[32:]))
            if len(self._keysets) >= _CACHED_KEYSETS:
                self._keysets.pop(next(iter(self._keysets)))
            self._keysets[tenant, subjects] = found
        return found

    def new_key(self, tenant: TenantId, subject: str) -> bytes:
        """A wrapped key for a new subject, for a caller that stores it before anything is sealed under it."""
        nonce = os.urandom(12)
        return nonce + self._tenant(tenant)[1].encrypt(nonce, os.urandom(32), subject.encode())

    @property
    def mark(self) -> str:
        """Tells this vault from one with another master key, and nothing else."""
        return _derive(self._master, b"mark").hex()

    def forget(self, keys: Iterable[tuple[str, str]]) -> None:
        """These keys are not on disk, or not any more: nothing may be sealed under them."""
        for tenant, subject in list(keys):
            self.unsaved.pop((tenant, subject), None)
            self._subject_keys.pop((tenant, subject), None)
            for name in [name for name in self._keysets if name[0] == tenant and subject in name[1]]:
                del self._keysets[name]

    def saved(self, keys: Iterable[tuple[str, str]]) -> None:
        """These new keys are on disk."""
        for key in keys:
            self.unsaved.pop(key, None)
            self._subject_keys.pop(key, None)

    def _tenant(self, tenant: TenantId) -> tuple[Mac, AESGCM, Keyset]:
        found = self._tenants.get(tenant)
        if found is None:
            secret = _derive(self._master, b"tenant\n" + tenant.encode())
            keyset = Keyset((), AESGCM(_derive(secret, b"seal")), Mac(_derive(secret, b"salt")))
            found = self._tenants[tenant] = (Mac(secret), AESGCM(_derive(secret, b"wrap")), keyset)
        return found

    def _subject_key(self, tenant: TenantId, subject: str, stored: SubjectKeys) -> bytes:
        fresh = self._subject_keys.get((tenant, subject))
        if fresh is not None:
            return fresh
        wrap = self._tenant(tenant)[1]
        wrapped = stored(tenant, subject)
        if wrapped is None:
            key = os.urandom(32)
            nonce = os.urandom(12)
            self.unsaved[tenant, subject] = nonce + wrap.encrypt(nonce, key, subject.encode())
            self._subject_keys[tenant, subject] = key
            return key
        return wrap.decrypt(wrapped[:12], wrapped[12:], subject.encode())


def _derive(secret: bytes, info: bytes, length: int = 32) -> bytes:
    return HKDF(SHA256(), length, None, b"answerable v1\n" + info).derive(secret)


def commitment(salt: bytes, text: bytes) -> str:
    """`sha256:` name of salt and text together: says nothing of the text without the salt."""
    return "sha256:" + hashlib.sha256(salt + text).hexdigest()
