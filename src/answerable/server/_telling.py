"""Errors in the words of the dialect that asked, so that an unchanged SDK raises what it knows.

Source: OpenAI API reference, "Error codes"; Anthropic API reference, "Errors".
"""

from dataclasses import dataclass

import orjson

from answerable.action import OutcomeUnknown
from answerable.core import AnswerableError, Refused
from answerable.models import DialectName, ModelLost, ModelRejected, ModelUnavailable, ModelUnknown
from answerable.policy import BudgetExceeded
from answerable.runtime import Held, QueueFull, SessionUnknown
from answerable.server._errors import GateStopping, KeyMissing, KeyRefused, RequestMalformed

__all__ = ["Told", "tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An error as a response."""

    status: int
    body: bytes
    headers: dict[str, str]


_OF_KIND: tuple[tuple[type[AnswerableError] | tuple[type[AnswerableError], ...], int, str, str], ...] = (
    ((KeyMissing, KeyRefused), 401, "authentication_error", "authentication_error"),
    (GateStopping, 503, "server_error", "overloaded_error"),
    (RequestMalformed, 400, "invalid_request_error", "invalid_request_error"),
    ((ModelUnknown, SessionUnknown), 404, "invalid_request_error", "not_found_error"),
    (QueueFull, 429, "rate_limit_error", "rate_limit_error"),
    (BudgetExceeded, 429, "insufficient_quota", "rate_limit_error"),
    (Refused, 403, "permission_error", "permission_error"),
    (ModelUnavailable, 503, "server_error", "overloaded_error"),
    (ModelLost, 504, "server_error", "api_error"),
    (OutcomeUnknown, 409, "server_error", "api_error"),
)


def tell(error: AnswerableError, dialect: DialectName) -> Told:
    """The error in a dialect's own form."""
    status, chat, messages = 502, "server_error", "api_error"
    for kind, *found in _OF_KIND:
        if isinstance(error, kind):
            status, chat, messages = found  # type: ignore[assignment]
            break
    if isinstance(error, ModelRejected):
        status = error.status if 400 <= error.status < 500 else 502
        chat = messages = "invalid_request_error"
    said: dict[str, object]
    if dialect == "chat":
        said = {"error": {"message": error.message, "type": chat, "param": None, "code": error.code}}
    else:
        said = {"type": "error", "error": {"type": messages, "message": error.message, "code": error.code}}
    # Both SDKs would try a 409 or 429 again by themselves; a refusal stays one.
    is_for_now = isinstance(error, ModelUnavailable | ModelLost | GateStopping | QueueFull)
    headers = {"x-should-retry": "true" if is_for_now else "false"}
    if isinstance(error, ModelUnavailable | QueueFull) and error.retry_after_s:
        headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, Held):
        headers["answerable-approval"] = error.approval
    return Told(status=status, body=orjson.dumps(said), headers=headers)
