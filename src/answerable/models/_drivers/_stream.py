"""Asks a provider over HTTP and gives its answer as it comes. Times are the caller's business, but for connecting."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from answerable.models._errors import ModelLost, ModelUnavailable

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpAnswer", "HttpClient"]

_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """An answer whose body has yet to come."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


class HttpClient:
    """One kept connection pool to one provider.

    Args:
        socket: path of the unix socket to go through, whatever host an address names.
    """

    def __init__(self, *, proxy: str = "", ca_file: str = "", socket: str = "") -> None:
        self._proxy = proxy
        self._ca_file = ca_file
        self._socket = socket
        self._client: httpx.AsyncClient | None = None

    @contextlib.asynccontextmanager
    async def post(self, url: str, body: bytes, *, headers: Mapping[str, str], model: str) -> AsyncIterator[HttpAnswer]:
        """Ask; leaving the block before the answer's end hangs up.

        Raises:
            ModelUnavailable: the provider was not reached.
            ModelLost: the connection broke.
        """
        import httpx

        try:
            async with self._connected().stream("POST", url, content=body, headers=dict(headers)) as response:
                yield HttpAnswer(status=response.status_code, headers=response.headers, chunks=response.aiter_raw())
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise ModelUnavailable(model=model, reason=f"no connection ({type(error).__name__})") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise ModelLost(model=model, reason=f"the connection broke ({type(error).__name__})") from None

    async def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _connected(self) -> "httpx.AsyncClient":
        if self._client is None:
            import httpx

            trust = ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True
            # SECURITY: nothing else from the environment; the gate's configuration is the whole truth.
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(None, connect=_CONNECT_S),
                limits=httpx.Limits(max_connections=None),
                headers={"accept-encoding": "identity"},
                proxy=self._proxy or None,
                transport=httpx.AsyncHTTPTransport(uds=self._socket) if self._socket else None,
                verify=trust,
                trust_env=False,
            )
        return self._client
