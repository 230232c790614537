"""Requests that do not go straight to a server: by a proxy, a unix socket, or to an address out of the ordinary."""

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from answerable.http._errors import AnswerBroken, NotConnected

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Around"]

_CONNECT_S = 10.0
_KEPT_S = 4.0


class Around:
    """Connections that aiohttp keeps.

    Args:
        headers: sent with every request.
        trust: certificates to trust.
        proxy: address of the proxy to go through.
        socket: path of the unix socket to go through.
    """

    def __init__(
        self, headers: Mapping[str, str], trust: Callable[[], ssl.SSLContext], *, proxy: str, socket: str
    ) -> None:
        self._headers = headers
        self._trust = trust
        self._proxy = proxy
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    @contextlib.asynccontextmanager
    async def ask(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        """Status, headers and body of the answer.

        Raises:
            NotConnected: nothing was sent.
            AnswerBroken: it may have been.
        """
        import aiohttp

        unreached = (
            aiohttp.ClientConnectorError,
            aiohttp.ClientHttpProxyError,
            aiohttp.ConnectionTimeoutError,
            aiohttp.InvalidURL,
        )
        try:
            # SECURITY: a redirect would take the credential elsewhere.
            async with self._connected().request(
                method, url, data=body or None, headers=headers, allow_redirects=False
            ) as response:
                said: dict[str, str] = {}
                for name, value in response.headers.items():
                    key = name.lower()
                    said[key] = f"{said[key]}, {value}" if key in said else value
                yield response.status, said, response.content.iter_any()
        except unreached as error:
            raise NotConnected(type(error).__name__) from None
        except (aiohttp.ClientError, OSError) as error:
            raise AnswerBroken(type(error).__name__) from None

    async def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _connected(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp

            # A connection through a socket is cheap, and the local model's server closes some that it was to keep.
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(self._socket, limit=0, force_close=True)
                if self._socket
                else aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_S, ssl=self._trust())
            )
            # SECURITY: nothing from the environment and no cookies; the gate's configuration is the whole truth.
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=dict(self._headers),
                proxy=self._proxy or None,
                trust_env=False,
                read_bufsize=1 << 20,
            )
        return self._session
