"""Keys kept elsewhere than in a file: which keepers there are, and how each is asked to sign.

A keeper is a function that takes the public key and the options of the key file, and gives a `Keeper`.
`ssh-agent` is built in; others are found by the entry point `answerable.signers`.
"""

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol, cast

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from answerable.core import PluginError, Transient

__all__ = ["ElsewhereSigner", "Keeper", "KeeperUnusable", "SignerUnavailable", "kept_by"]

_BUILT_IN = {"ssh-agent": "answerable.ledger._drivers._ssh_agent:keep"}
_PROBE = b"answerable: is this the key?\n"  # no receipt and no checkpoint begins like this


@dataclass(eq=False, kw_only=True)
class SignerUnavailable(Transient):
    """A key that is kept elsewhere cannot be reached, so nothing is written."""

    code = "execution.signer_unavailable"
    what = "the key `{key}` did not sign: {reason}"
    why = "it is kept by `{keeper}`, and what is not signed is not on the record, so nothing is done"
    fix = "bring `{keeper}` back with this key; the gate goes on by itself"

    key: str
    keeper: str
    reason: str


@dataclass(eq=False, kw_only=True)
class KeeperUnusable(PluginError):
    """A key file names a keeper that is not there, there twice, or broken."""

    code = "plugin.keeper_unusable"
    what = "the keeper of keys `{keeper}` cannot be used: {problem}"
    why = "a gate that cannot sign must not start, and must not sign with anything else instead"
    fix = "install the package that brings it, or correct `signer` in the key file"

    keeper: str
    problem: str


class Keeper(Protocol):
    """Signs with a key that it does not give away. Any `OSError` or `ValueError` means that it did not."""

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature over exactly these bytes, 64 bytes (RFC 8032)."""


class ElsewhereSigner:
    """A `Signer` whose private key is with a keeper.

    Every signature is verified before it is used: a keeper that signs with another key, or wrongly, writes nothing.
    """

    def __init__(self, keeper: str, public_key: bytes, inner: Keeper) -> None:
        self.keeper = keeper
        self.public_key = public_key
        self.key_id = hashlib.sha256(public_key).hexdigest()
        self._inner = inner

    def sign(self, message: bytes) -> bytes:
        """The signature over exactly these bytes, 64 bytes.

        Raises:
            SignerUnavailable: the keeper is gone, refuses, or signs with something else.
        """
        try:
            signature = self._inner.sign(message)
            crypto_sign_open(signature + message, self.public_key)
        except BadSignatureError:
            raise self._unavailable("it signed with another key") from None
        except (OSError, ValueError) as error:
            raise self._unavailable(str(error) or type(error).__name__) from None
        return signature

    def probe(self) -> None:
        """Nothing, if the keeper signs.

        Raises:
            SignerUnavailable: it does not.
        """
        self.sign(_PROBE)

    def _unavailable(self, reason: str) -> SignerUnavailable:
        return SignerUnavailable(key=self.key_id[:16], keeper=self.keeper, reason=reason)


def kept_by(keeper: str, public_key: bytes, options: Mapping[str, str]) -> ElsewhereSigner:
    """The signer for a key that `keeper` keeps; it is not asked for anything yet.

    Raises:
        KeeperUnusable: there is no such keeper, or it does not take these options.
    """
    try:
        return ElsewhereSigner(keeper, public_key, _load(keeper)(public_key, dict(options)))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise KeeperUnusable(keeper=keeper, problem=str(error)) from None


def _load(keeper: str) -> Callable[[bytes, dict[str, str]], Keeper]:
    if keeper in _BUILT_IN:
        # SECURITY: nobody takes a built-in keeper's name.
        module, _, name = _BUILT_IN[keeper].partition(":")
        return cast(Callable[[bytes, dict[str, str]], Keeper], getattr(importlib.import_module(module), name))
    found = list(entry_points(group="answerable.signers", name=keeper))
    if len(found) != 1:
        owners = ", ".join(sorted(str(each.dist and each.dist.name) for each in found))
        raise KeeperUnusable(
            keeper=keeper, problem=f"{owners} all bring it" if found else "nothing installed brings it"
        )
    return cast(Callable[[bytes, dict[str, str]], Keeper], found[0].load())
