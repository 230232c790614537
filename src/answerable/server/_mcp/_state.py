"""`requestState`: what the gate tells a client to send back, so that it is known again and nothing else is believed.

Source: Model Context Protocol 2026-07-28, "Multi round-trip requests: requestState".
"""

import base64
import hmac
import time
from collections.abc import Mapping
from typing import Any

import orjson

from answerable.core import stable_json
from answerable.server._mcp._ports import INVALID_PARAMS, RpcFailed

__all__ = ["StateSeal"]

_LIVES_S = 7 * 24 * 3600  # an approval may take days, and the client may ask until then
_MAC_BYTES = 32
_BOUND = ("name", "arguments", "uri", "ref", "argument")


class StateSeal:
    """Binds a state to the agent, the endpoint and the request it was given for, and to a time.

    What is sealed the client may read: it is told the same in `_meta`.

    Args:
        key: 32 bytes that outlive the process.
        audience: the endpoint.
    """

    def __init__(self, key: bytes, *, audience: str) -> None:
        self._key = key
        self._audience = audience

    def seal(self, state: Mapping[str, str], *, agent: str, method: str, params: Mapping[str, Any]) -> str:
        """The state for the client."""
        body = stable_json({**state, "until": int(time.time()) + _LIVES_S})
        return base64.urlsafe_b64encode(self._mac(body, agent, method, params) + body).decode().rstrip("=")

    def unseal(self, said: Any, *, agent: str, method: str, params: Mapping[str, Any]) -> dict[str, str]:
        """What was sealed; empty where the client sent none.

        Raises:
            RpcFailed: it was not sealed here, for this agent and this request, or too long ago.
        """
        if said is None:
            return {}
        try:
            # The one spelling that was given out: what follows or precedes it was changed.
            token = str(said).encode("ascii")
            whole = base64.b64decode(token + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(whole).rstrip(b"=") != token:
                raise ValueError
        except ValueError:
            raise _refused() from None
        mac, body = whole[:_MAC_BYTES], whole[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body, agent, method, params)):
            raise _refused()
        state = orjson.loads(body)
        if state.pop("until") < time.time():
            raise _refused()
        return {str(name): str(value) for name, value in state.items()}

    def _mac(self, body: bytes, agent: str, method: str, params: Mapping[str, Any]) -> bytes:
        bound = {name: params[name] for name in _BOUND if name in params}
        said = stable_json([self._audience, agent, method, bound, body.decode("latin-1")])
        return hmac.digest(self._key, said, "sha256")


def _refused() -> RpcFailed:
    return RpcFailed(INVALID_PARAMS, "this requestState was not given for this request, or too long ago")
