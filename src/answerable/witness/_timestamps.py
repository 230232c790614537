"""RFC 3161 timestamps: an authority outside says that a checkpoint existed at a time.

What is stamped is the checkpoint's text as the log signed it (its first three lines), so
`openssl ts -verify -data` checks it too.
"""

import hashlib
from dataclasses import dataclass

from answerable.core import EvidenceError, PluginError

__all__ = ["TimestampInvalid", "TimestampsNotInstalled", "ask_for", "check_answer"]

CONTENT_TYPE = "application/timestamp-query"


@dataclass(eq=False, kw_only=True)
class TimestampInvalid(EvidenceError):
    """What an authority answered is no timestamp of what was sent."""

    code = "evidence.timestamp_invalid"
    what = "`{url}` answered with no timestamp of this checkpoint: {problem}"
    why = "a timestamp is kept only if it is of exactly what was sent"
    fix = "ask the authority's operator, or use another authority"

    url: str
    problem: str


@dataclass(eq=False, kw_only=True)
class TimestampsNotInstalled(PluginError):
    """Timestamps are configured, and the library that reads them is not installed."""

    code = "plugin.timestamps_not_installed"
    what = "timestamps are asked for in `{file}`, and `rfc3161-client` is not installed"
    why = "it is an extra, because most gates need none"
    fix = "pip install 'answerable[timestamps]'"

    file: str


def ask_for(text: bytes) -> tuple[bytes, int]:
    """A request for a timestamp of a text, DER, and its nonce. It asks for the authority's certificate."""
    # Here, because it is an extra, and only those who ask for timestamps need it.
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    request = TimestampRequestBuilder().data(text).hash_algorithm(HashAlgorithm.SHA256).build()
    assert request.nonce is not None
    return request.as_bytes(), request.nonce


def check_answer(answer: bytes, text: bytes, *, nonce: int, url: str) -> None:
    """Check that an answer is of this request and text; whose it is, verifiers check against their own roots.

    Raises:
        TimestampInvalid: it is not.
    """
    from rfc3161_client import PKIStatus, decode_timestamp_response

    try:
        found = decode_timestamp_response(answer)
        status = PKIStatus(found.status)
        if status != PKIStatus.GRANTED:
            raise TimestampInvalid(url=url, problem=f"it is {status.name.lower()}")
        stamped = found.tst_info
    except ValueError as error:
        raise TimestampInvalid(url=url, problem=str(error)) from None
    if stamped.message_imprint.message != hashlib.sha256(text).digest() or stamped.nonce != nonce:
        raise TimestampInvalid(url=url, problem="it is of another text or another request")
