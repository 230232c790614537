"""A notice as a signed HTTP request.

Source: Standard Webhooks 1.0, "Signature scheme" (symmetric, `v1`).
"""

import base64
import hmac
import time
from dataclasses import dataclass, field

import orjson

from answerable.policy._errors import NoticeInvalid, NoticeLost
from answerable.policy._notices import Notice

__all__ = ["Webhook"]

_TIMEOUT_S = 10
_SHORTEST_SECRET = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Tells an address, with requests whose signature shows that they are the gate's.

    Args:
        url: takes `POST` and answers with a status of 2xx once it has the notice.
        secret: base64 with or without `whsec_`, 24 bytes or more; the receiver has it too.
    """

    url: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        try:
            key = self._key()
        except ValueError:
            key = b""
        if len(key) < _SHORTEST_SECRET:
            raise NoticeInvalid(channel="webhook", problem=f"its secret is not base64 of {_SHORTEST_SECRET} bytes")
        if not self.url.startswith(("https://", "http://")):
            raise NoticeInvalid(channel="webhook", problem="its `url` is no address")

    @property
    def name(self) -> str:
        """What the gate's log calls it."""
        return f"webhook {self.url.partition('://')[2].partition('/')[0]}"

    async def tell(self, notice: Notice) -> None:
        """Deliver it; the same id however often it is tried."""
        import aiohttp  # a seventh of a gate's start, and most gates tell nobody

        body = orjson.dumps({"type": notice.kind, "data": dict(notice.said)})
        moment = str(int(time.time()))
        signed = b".".join((notice.id.encode(), moment.encode(), body))
        signature = base64.b64encode(hmac.digest(self._key(), signed, "sha256")).decode()
        headers = {
            "content-type": "application/json",
            "webhook-id": notice.id,
            "webhook-timestamp": moment,
            "webhook-signature": f"v1,{signature}",
        }
        try:
            # Followed, a redirect would take a signed notice to an address nobody declared.
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as client,
                client.post(self.url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoticeLost(channel=self.name, problem=type(error).__name__) from None
        if not 200 <= status < 300:
            raise NoticeLost(channel=self.name, problem=f"it answered {status}")

    def _key(self) -> bytes:
        return base64.b64decode(self.secret.removeprefix("whsec_"), validate=True)
