"""RFC 3161 timestamps of a checkpoint, against the verifier's own roots.

An answer is read here strictly, and only what has to hold is handed on: `rfc3161-client` (the extra `timestamps`)
gets it with the certificates that lead to a root, and with nothing that nobody signed. Both have to agree.
`VERIFY.sh` checks timestamps with `openssl ts` alone.

Format: `docs/formats/log.md`, "Timestamps". Why both: `docs/decisions/0041`.
"""

from collections.abc import Sequence
from datetime import datetime

from answerable_verify._certificates import Certificate, path_to, read_certificate
from answerable_verify._der import NotDer
from answerable_verify._stamp import read_stamp

__all__ = ["BadTimestamp", "can_read", "stamped_at"]


class BadTimestamp(ValueError):
    """Bytes that are no timestamp of the text by an authority that is trusted."""


def can_read() -> bool:
    """Whether the library that reads timestamps is installed."""
    import importlib.util

    return importlib.util.find_spec("rfc3161_client") is not None


def stamped_at(answer: bytes, text: bytes, roots: Sequence[bytes]) -> datetime:
    """When the authority saw the text; its certificates need to have been valid then, not now.

    Args:
        answer: the authority's response, DER.
        text: what was stamped.
        roots: certificates to trust, PEM.

    Raises:
        BadTimestamp: it is none, of another text, or of no authority under these roots.
    """
    from cryptography.x509 import load_der_x509_certificate
    from rfc3161_client import VerifierBuilder, decode_timestamp_response

    try:
        stamp = read_stamp(answer)
        if not stamp.is_of(text):
            raise BadTimestamp("of another text")
        trusted = _readable(roots)
        found = path_to(stamp.leaf, [*stamp.certificates, *trusted], trusted, stamp.at)
        if not found:
            raise BadTimestamp("no path to a root of the trust file")
        path, root = found
        verifier = VerifierBuilder().add_root_certificate(load_der_x509_certificate(root.whole)).build()
        verifier.verify_message(decode_timestamp_response(stamp.anew(path)), text)
    except Exception as error:  # noqa: BLE001 - libraries raise what they please at hostile bytes: none of it holds
        raise BadTimestamp(str(error)[:200]) from None
    return stamp.at


def _readable(roots: Sequence[bytes]) -> list[Certificate]:
    """The certificates that something can lead to: those that are read as certificates of a token are."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import InvalidVersion, load_pem_x509_certificate

    found = []
    for pem in dict.fromkeys(roots):
        try:
            found.append(read_certificate(load_pem_x509_certificate(pem).public_bytes(Encoding.DER)))
        except (NotDer, InvalidVersion):
            continue
    return found
