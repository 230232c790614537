"""RFC 3161 timestamps of a checkpoint, against the verifier's own roots.

They need `rfc3161-client` (the extra `timestamps`); `VERIFY.sh` checks them with `openssl ts` alone.
"""

from collections.abc import Sequence
from datetime import datetime

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
    from cryptography.x509 import load_pem_x509_certificate
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    builder = VerifierBuilder()
    for pem in dict.fromkeys(roots):
        builder = builder.add_root_certificate(load_pem_x509_certificate(pem))
    try:
        response = decode_timestamp_response(answer)
        builder.build().verify_message(response, text)
        at = response.tst_info.gen_time
    except (ValueError, VerificationError) as error:
        raise BadTimestamp(str(error)[:200]) from None
    return at
