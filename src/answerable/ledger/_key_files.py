"""Where the keys of gate and log are kept, and how one takes the place of another.

`keys/gate.key` and `keys/log.key` hold a private key in PEM, or say where else the key is: then they are
TOML with its public half (`docs/guides/keys.md`, "Keep a key in an SSH agent"). A new key waits as
`gate.next.key`; it counts once the record names it.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from answerable.core import ConfigError, TenantId
from answerable.ledger._drivers._ssh_agent import list_ed25519
from answerable.ledger._key_lives import KeyLife
from answerable.ledger._keys import FileSigner, KeyFileUnsafe, read_or_make_secret
from answerable.ledger._ports import Signer
from answerable.ledger._reader import Reader
from answerable.ledger._receipt import SYSTEM, Draft, control_run
from answerable.ledger._signers import ElsewhereSigner, KeeperUnusable, kept_by

__all__ = [
    "KeyLost",
    "KeyRetired",
    "KeyRoleTaken",
    "check_fit",
    "check_key",
    "find_in_ssh_agent",
    "key_draft",
    "key_path",
    "open_signer",
    "open_signers",
    "write_key",
]


@dataclass(eq=False, kw_only=True)
class KeyRetired(ConfigError):
    """The key is to sign again after it was retired."""

    code = "config.key_retired"
    what = "the {role} key `{key}` was retired at {at}, and nothing is signed with it any more"
    why = "whoever verifies this record refuses what a key signed after its time"
    fix = "run `answerable keys rotate {role}` to have a new one"

    role: str
    key: str
    at: str


@dataclass(eq=False, kw_only=True)
class KeyLost(ConfigError):
    """The file of a key in use is gone."""

    code = "config.key_lost"
    what = "the {role} key `{key}` is in use, and `{path}` is not there"
    why = "a new key made silently would sign what nobody who verifies this record believes"
    fix = "restore the file from a backup; where there is none, `answerable keys rotate {role}` makes a new key"

    role: str
    key: str
    path: str


@dataclass(eq=False, kw_only=True)
class KeyRoleTaken(ConfigError):
    """One key is to serve two roles."""

    code = "config.key_role_taken"
    what = "the key `{key}` is to be the {role}'s, and is the {other}'s already"
    why = "gate, log and witness keep each other honest only while each has a key of its own"
    fix = "give the {role} its own key: move its file in `keys/` away, and a new one is made"

    key: str
    role: str
    other: str


def key_path(directory: Path, role: str, *, is_next: bool = False) -> Path:
    """The file of a role's key in a data directory."""
    return directory / "keys" / f"{role}{'.next' if is_next else ''}.key"


def open_signer(path: Path) -> Signer:
    """The key that a file holds or points to; a new one in the file where there is no file.

    Raises:
        KeyFileUnsafe: others may read the file, or it is neither a private key nor says where one is.
        PluginError: it names a keeper that is not installed.
    """
    if not path.exists():
        return FileSigner.open(path)
    body = read_or_make_secret(path, lambda: b"")
    if body.lstrip().startswith(b"-----BEGIN"):
        return FileSigner.open(path)
    try:
        said = tomllib.loads(body.decode("utf-8"))
        keeper, public = said.pop("signer"), load_pem_public_key(said.pop("public").encode())
        if not isinstance(public, Ed25519PublicKey) or not all(isinstance(each, str) for each in said.values()):
            raise ValueError
    except (ValueError, KeyError, AttributeError):
        problem = "it holds neither a private key in PEM nor `signer` and `public` of one kept elsewhere"
        raise KeyFileUnsafe(path=str(path), reason=problem) from None
    return kept_by(str(keeper), public.public_bytes(Encoding.Raw, PublicFormat.Raw), said)


def write_key(path: Path, *, signer: str, public: bytes, options: Mapping[str, str]) -> None:
    """Say in a file where a key is kept; nothing secret is in it.

    Args:
        public: raw Ed25519 key, 32 bytes.
    """
    pem = Ed25519PublicKey.from_public_bytes(public).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    said = {"signer": signer, "public": pem.decode(), **options}
    lines = (f"{name} = {_quoted(value)}\n" for name, value in said.items())
    path.unlink(missing_ok=True)
    read_or_make_secret(path, lambda: "".join(lines).encode())


def find_in_ssh_agent(named: str, place: str = "") -> bytes:
    """The raw public key that an SSH agent has under this comment, fingerprint or id.

    Args:
        place: the agent's socket; SSH_AUTH_SOCK's where it is empty.

    Raises:
        KeeperUnusable: the agent does not answer, or has no such Ed25519 key, or several.
    """
    try:
        found = [key for key, names in list_ed25519(place) if named in names]
    except (OSError, ValueError) as error:
        raise KeeperUnusable(keeper="ssh-agent", problem=str(error)) from None
    if len(found) != 1:
        problem = f"it has {len(found) or 'no'} Ed25519 key{'s' if found else ''} called `{named}`"
        raise KeeperUnusable(keeper="ssh-agent", problem=problem)
    return found[0]


def open_signers(reader: Reader, given: Mapping[str, Signer | None]) -> dict[str, Signer]:
    """The signer of each role: the one given, else the one in the data directory.

    A rotation that was broken off is finished first: a key that the record names takes its place, another goes.

    Raises:
        KeyRetired, KeyRoleTaken: a key is not to be used so.
        KeyLost: the key's file is gone.
        KeyFileUnsafe, PluginError: a key file cannot be used.
        SignerUnavailable: who keeps a key elsewhere does not sign.
    """
    lives = {life.id: life for life in reader.keys_of(SYSTEM)}
    roles = reader.key_roles()
    signers = {}
    for role, signer in given.items():
        if signer is None:
            _settle(reader.directory, role, lives)
            path = key_path(reader.directory, role)
            _check_there(path, role, [life for life in lives.values() if life.role == role])
            signer = open_signer(path)
        check_fit(role, signer, lives, roles)
        roles[signer.key_id] = role
        signers[role] = signer
    return signers


def check_fit(role: str, signer: Signer, lives: Mapping[str, KeyLife], roles: Mapping[str, str]) -> None:
    """Nothing, if this key may sign in this role, and does.

    Args:
        roles: the role in which each key was used before, by key id.

    Raises:
        KeyRetired, KeyRoleTaken, SignerUnavailable: it may not, or does not.
    """
    if (other := roles.get(signer.key_id, role)) != role:
        raise KeyRoleTaken(key=signer.key_id[:16], role=role, other=other)
    life = lives.get(signer.key_id)
    if life is not None and life.until:
        raise KeyRetired(role=role, key=signer.key_id[:16], at=life.until)
    if isinstance(signer, ElsewhereSigner):
        signer.probe()


def check_key(reader: Reader, role: str) -> None:
    """Nothing, if the key of this role in the data directory would sign. Changes nothing.

    Raises:
        KeyRetired, KeyRoleTaken, KeyLost, KeyFileUnsafe, PluginError, SignerUnavailable: as when a gate starts.
    """
    lives = {life.id: life for life in reader.keys_of(SYSTEM)}
    path = key_path(reader.directory, role)
    _check_there(path, role, [life for life in lives.values() if life.role == role])
    check_fit(role, open_signer(path), lives, reader.key_roles())


def key_draft(tenant: TenantId, role: str, signer: Signer, **more: str) -> Draft:
    """The receipt that a key is in use; in each tenant's log once."""
    control = {"role": role, "key": signer.public_key.hex(), "id": signer.key_id, "state": "in use", **more}
    if isinstance(signer, ElsewhereSigner):
        control["kept"] = signer.keeper
    once = f"key:{signer.key_id}" if tenant == SYSTEM else f"key:{signer.key_id}@{tenant}"
    return Draft(
        tenant=tenant, run=control_run(tenant), phase="key", agent="gate", once=once, members={"control": control}
    )


def _check_there(path: Path, role: str, lives: Sequence[KeyLife]) -> None:
    """SECURITY: only a record's first keys are made by themselves; a further one nobody would expect or trust."""
    if path.exists() or not lives:
        return
    last = lives[-1]
    if last.until:
        raise KeyRetired(role=role, key=last.id[:16], at=last.until)
    raise KeyLost(role=role, key=last.id[:16], path=str(path))


def _settle(directory: Path, role: str, known: Mapping[str, KeyLife]) -> None:
    waiting = key_path(directory, role, is_next=True)
    if not waiting.exists():
        return
    life = known.get(open_signer(waiting).key_id)
    if life is not None and life.role == role and life.is_in_use:
        os.replace(waiting, key_path(directory, role))
    else:
        waiting.unlink()
    handle = os.open(waiting.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
