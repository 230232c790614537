"""Where the gate's own credentials are kept: an encrypted file, or variables of the gate's process.

Each secret belongs to an environment (`production`), or to none. The file is `credentials.sealed` in the data
directory, AES-256-GCM under a key in `keys/vault.key`. It keeps secrets out of backups and of files that are copied
about; whoever may act as the gate's user can open it, as the gate does.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from answerable.core import ConfigError, format_time
from answerable.ledger import read_or_make_secret

__all__ = ["CredentialMissing", "CredentialVault", "EnvironmentVault", "KeptSecret", "SealedVault", "VaultDamaged"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSecret:
    """A secret as it is kept.

    Args:
        environment: where it belongs; empty for one that was kept before anything said.
        since: when it was set (RFC 3339 UTC); empty where nobody knows.
    """

    text: str = field(repr=False)
    environment: str = ""
    since: str = ""


class CredentialVault(Protocol):
    """Keeps secrets by name."""

    def find(self, name: str) -> KeptSecret:
        """The secret.

        Raises:
            CredentialMissing: there is none of this name.
        """


class EnvironmentVault:
    """Secrets in environment variables.

    Args:
        started_with: the variables of the process.
        variables: the variable of each credential, and the environment it belongs to.
    """

    def __init__(self, started_with: Mapping[str, str], variables: Mapping[str, tuple[str, str]]) -> None:
        self._started_with = started_with
        self._variables = variables

    def find(self, name: str) -> KeptSecret:
        variable, environment = self._variables.get(name, ("", ""))
        found = self._started_with.get(variable, "").strip() if variable else ""
        if not found:
            raise CredentialMissing(credential=name, place=f"in the environment as {variable or 'any variable'}")
        return KeptSecret(text=found, environment=environment)


class SealedVault:
    """Secrets in an encrypted file. Each use reads the file, so that what was set just now counts."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._key = directory / "keys" / "vault.key"

    def find(self, name: str) -> KeptSecret:
        found = self.all().get(name)
        if found is None:
            raise CredentialMissing(credential=name, place="in the vault")
        return found

    def all(self) -> dict[str, KeptSecret]:
        """What is kept, by name in their order."""
        return {
            name: KeptSecret(text=said["secret"], environment=said.get("environment", ""), since=said["set"])
            for name, said in sorted(self._read().items())
        }

    def put(self, name: str, secret: str, *, environment: str = "") -> str:
        """Keep a secret, in the place of one of this name; where it belongs.

        Args:
            environment: where it belongs; by default where the one did whose place it takes.
        """
        kept = self._read()
        environment = environment or kept.get(name, {}).get("environment", "")
        said = {"secret": secret, "set": format_time(datetime.now(UTC)), "environment": environment}
        self._write({**kept, name: said})
        return environment

    def bind(self, environment: str) -> list[str]:
        """Have the secrets that belong nowhere yet belong to this environment; their names."""
        kept = self._read()
        bound = sorted(name for name, said in kept.items() if not said.get("environment"))
        if bound:
            self._write({**kept, **{name: {**kept[name], "environment": environment} for name in bound}})
        return bound

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
        except OSError as error:
            raise VaultDamaged(path=str(self._path), problem=f"{error.strerror}") from None
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
