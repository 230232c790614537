"""Where the gate's own credentials are kept: an encrypted file, or the environment.

The file is `credentials.sealed` in the data directory, AES-256-GCM under a key in `keys/vault.key`. It keeps secrets
out of backups and of files that are copied about; whoever may act as the gate's user can open it, as the gate does.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from answerable.core import ConfigError, format_time
from answerable.ledger import read_or_make_secret

__all__ = ["CredentialMissing", "CredentialVault", "EnvironmentVault", "SealedVault", "VaultDamaged"]

FILE = "credentials.sealed"
_HEAD = b"answerable-vault/1\n"


@dataclass(eq=False, kw_only=True)
class CredentialMissing(ConfigError):
    """A credential that something names is not kept anywhere."""

    code = "config.credential_missing"
    what = "the credential `{credential}` is not {place}"
    why = "without it the gate would ask in nobody's name, so it does not ask"
    fix = "put it there: `answerable credentials set {credential}`, or set the variable that the configuration names"

    credential: str
    place: str


@dataclass(eq=False, kw_only=True)
class VaultDamaged(ConfigError):
    """The file of credentials cannot be opened."""

    code = "config.vault_damaged"
    what = "the credentials in `{path}` cannot be opened: {problem}"
    why = "the file was changed, or is of another key than `keys/vault.key`"
    fix = "restore both from the same backup; or remove the file, and set each credential again"

    path: str
    problem: str


class CredentialVault(Protocol):
    """Keeps secrets by name."""

    def secret(self, name: str) -> str:
        """The secret.

        Raises:
            CredentialMissing: there is none of this name.
        """


class EnvironmentVault:
    """Secrets in environment variables.

    Args:
        environment: as the process was started with it.
        variables: the variable of each credential.
    """

    def __init__(self, environment: Mapping[str, str], variables: Mapping[str, str]) -> None:
        self._environment = environment
        self._variables = variables

    def secret(self, name: str) -> str:
        variable = self._variables.get(name, "")
        found = self._environment.get(variable, "").strip() if variable else ""
        if not found:
            raise CredentialMissing(credential=name, place=f"in the environment as {variable or 'any variable'}")
        return found


class SealedVault:
    """Secrets in an encrypted file. Each use reads the file, so that what was set just now counts."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._key = directory / "keys" / "vault.key"

    def secret(self, name: str) -> str:
        found = self._read().get(name)
        if found is None:
            raise CredentialMissing(credential=name, place="in the vault")
        return found["secret"]

    def names(self) -> dict[str, str]:
        """The credentials, each with when it was set (RFC 3339 UTC)."""
        return {name: kept["set"] for name, kept in sorted(self._read().items())}

    def put(self, name: str, secret: str) -> None:
        """Keep a secret, in the place of one of this name."""
        self._write({**self._read(), name: {"secret": secret, "set": format_time(datetime.now(UTC))}})

    def remove(self, name: str) -> None:
        """Keep it no more.

        Raises:
            CredentialMissing: there is none of this name.
        """
        kept = self._read()
        if kept.pop(name, None) is None:
            raise CredentialMissing(credential=name, place="in the vault")
        self._write(kept)

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            body = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        if not body.startswith(_HEAD) or len(body) < len(_HEAD) + 28:
            raise VaultDamaged(path=str(self._path), problem="it is not of its format")
        if not self._key.exists():
            raise VaultDamaged(path=str(self._path), problem="its key is gone")
        nonce, sealed = body[len(_HEAD) : len(_HEAD) + 12], body[len(_HEAD) + 12 :]
        try:
            found: dict[str, dict[str, str]] = orjson.loads(self._seal().decrypt(nonce, sealed, _HEAD))
        except (InvalidTag, ValueError):
            raise VaultDamaged(path=str(self._path), problem="what is in it is not what was sealed") from None
        return found

    def _write(self, kept: dict[str, dict[str, str]]) -> None:
        nonce = os.urandom(12)
        body = _HEAD + nonce + self._seal().encrypt(nonce, orjson.dumps(kept), _HEAD)
        fresh = self._path.with_name(f".{FILE}.{os.getpid()}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def _seal(self) -> AESGCM:
        return AESGCM(read_or_make_secret(self._key, lambda: os.urandom(32)))
