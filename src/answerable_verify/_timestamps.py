"""RFC 3161 timestamps of a checkpoint, against the verifier's own roots.

They need `rfc3161-client` (the extra `timestamps`); `VERIFY.sh` checks them with `openssl ts` alone.

Format: `docs/formats/log.md`, "Timestamps".
"""

from collections.abc import Sequence
from datetime import datetime

__all__ = ["BadTimestamp", "can_read", "stamped_at"]

_DIGESTS = frozenset({"2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.2", "2.16.840.1.101.3.4.2.3"})
"""SHA-256, SHA-384 and SHA-512: the library takes SHA-1 too."""


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
    from cryptography.x509 import load_pem_x509_certificate
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    builder = VerifierBuilder()
    for pem in dict.fromkeys(roots):
        builder = builder.add_root_certificate(load_pem_x509_certificate(pem))
    try:
        response = decode_timestamp_response(answer)
        if any(each.dotted_string not in _DIGESTS for each in response.signed_data.digest_algorithms):
            raise BadTimestamp("a digest other than SHA-256, SHA-384 and SHA-512")
        builder.build().verify_message(response, text)
        at = response.tst_info.gen_time
    except (ValueError, VerificationError) as error:
        raise BadTimestamp(str(error)[:200]) from None
    return at
