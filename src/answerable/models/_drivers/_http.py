"""Asks a provider over HTTP, and tells its failures apart: one home for every driver and for the wire.

Source: OpenAI API reference, "Error codes"; Anthropic API reference, "Errors"; RFC 9110, section 10.2.3 (Retry-After).
"""

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

from answerable.http import AnswerBroken, HttpAnswer, HttpClient, NotConnected
from answerable.models._errors import ModelLost, ModelRejected, ModelUnavailable

__all__ = ["ProviderClient", "refusal_of"]

_BUSY = {408, 409, 425, 429}
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_LONGEST_WAIT_S = 3600
_HEADERS = {"accept-encoding": "identity", "content-type": "application/json"}


class ProviderClient:
    """Kept connections to one provider. Retries are the runtime's business, and times the caller's.

    Args:
        proxy: address of the proxy to go through.
        ca_file: certificates to trust instead of the usual ones.
        socket: path of the unix socket to go through, whatever host an address names.
    """

    def __init__(self, *, proxy: str = "", ca_file: str = "", socket: str = "") -> None:
        self._ca_file = ca_file
        self._http = HttpClient(headers=_HEADERS, trust=self._trust, proxy=proxy, socket=socket)

    @contextlib.asynccontextmanager
    async def post(self, url: str, body: bytes, *, headers: Mapping[str, str], model: str) -> AsyncIterator[HttpAnswer]:
        """Ask; leaving the block before the answer's end hangs up.

        Raises:
            ModelUnavailable: the provider was not reached.
            ModelLost: the connection broke.
        """
        try:
            async with self._http.ask("POST", url, body, headers=headers) as answer:
                yield answer
        except NotConnected as error:
            raise ModelUnavailable(model=model, reason=f"no connection ({error})") from None
        except AnswerBroken as error:
            raise ModelLost(model=model, reason=f"the connection broke ({error})") from None

    async def whole(self, url: str, body: bytes, *, headers: Mapping[str, str], model: str, within: timedelta) -> bytes:
        """The body of a 200, all of it within this time.

        Raises:
            ModelUnavailable, ModelRejected: nothing was used.
            ModelLost: the provider may have done the work.
        """
        try:
            async with (
                asyncio.timeout(within.total_seconds()),
                self.post(url, body, headers=headers, model=model) as answer,
            ):
                said = await answer.read()
        except TimeoutError:
            raise ModelLost(model=model, reason=f"none within {within.total_seconds():g} s") from None
        if answer.status != 200:
            raise refusal_of(model, answer.status, answer.headers, said)
        return said

    async def close(self) -> None:
        """Hang up."""
        await self._http.close()

    def _trust(self) -> ssl.SSLContext:
        import certifi

        return ssl.create_default_context(cafile=self._ca_file or certifi.where())


def refusal_of(name: str, status: int, headers: Mapping[str, str], body: bytes) -> ModelUnavailable | ModelRejected:
    """What a status other than 200 means: try again later, or never."""
    reason = _reason(body)
    if (status in _BUSY or status >= 500) and reason != "insufficient_quota":
        wait = _retry_after_s(headers)
        return ModelUnavailable(model=name, reason=f"HTTP {status} ({reason})", retry_after_s=wait)
    return ModelRejected(model=name, status=status, reason=reason)


def _reason(body: bytes) -> str:
    # Only identifiers: the provider's prose may quote the prompt, and an error's fields go to the log.
    try:
        error = json.loads(body)["error"]
        said = [error.get("code"), error.get("type")]
    except (ValueError, KeyError, TypeError, AttributeError):
        said = []
    return next((word for word in said if isinstance(word, str) and _IDENTIFIER.match(word)), "no reason given")


def _retry_after_s(headers: Mapping[str, str]) -> int:
    said = headers.get("retry-after", "")
    return min(int(said), _LONGEST_WAIT_S) if said.isascii() and said.isdigit() else 0
