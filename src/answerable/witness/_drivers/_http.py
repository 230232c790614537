"""HTTP to witnesses, time-stamping authorities and logs: bounded in time and in size."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from answerable.witness._errors import Unreachable
from answerable.witness._ports import HttpReply

if TYPE_CHECKING:
    import aiohttp

__all__ = ["AsyncHttp", "fetching"]

_PATIENCE_S = 10
_MOST_BYTES = 1 << 20
_MOST_FETCHED_BYTES = 64 << 20
_NOT_FOUND = 404


class AsyncHttp:
    """`Http` over one pool of connections."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "AsyncHttp":
        # Here, because every command imports this package and only those who ask others need it.
        import aiohttp

        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_PATIENCE_S), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, body: bytes, *, content_type: str) -> HttpReply:
        """Send a body."""
        return await self._ask("POST", url, data=body, headers={"content-type": content_type})

    async def get(self, url: str) -> HttpReply:
        """Fetch what is there."""
        return await self._ask("GET", url)

    async def _ask(
        self, method: str, url: str, *, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        import aiohttp

        assert self._session is not None
        try:
            async with self._session.request(method, url, data=data, headers=headers, allow_redirects=False) as answer:
                body = bytearray()
                async for part in answer.content.iter_any():
                    body += part
                    if len(body) > _MOST_BYTES:
                        raise Unreachable(url=url, problem=f"it sent more than {_MOST_BYTES} bytes")
                return HttpReply(status=answer.status, body=bytes(body))
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise Unreachable(url=url, problem=str(error) or type(error).__name__) from None


@contextlib.contextmanager
def fetching(prefix: str, *, secret: str = "") -> Iterator[Callable[[str], bytes | None]]:
    """Fetch files below a prefix, one after the other; None where there is none.

    Args:
        prefix: of a log, as its operator gives it.
        secret: lets a monitor read receipts.

    Raises:
        Unreachable: nobody answered in time, or with something else than a file.
    """
    # Here, because every command imports this package and only a monitor needs it.
    import http.client
    import urllib.error
    import urllib.request

    class Stay(urllib.request.HTTPRedirectHandler):
        """SECURITY: a redirect would take the secret elsewhere."""

        def redirect_request(self, req: Any, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> None:
            return None

    opener = urllib.request.build_opener(Stay)
    headers = {"authorization": f"Bearer {secret}"} if secret else {}

    def fetch(path: str) -> bytes | None:
        url = f"{prefix.rstrip('/')}/{path}"
        if not url.startswith(("http://", "https://")):
            raise Unreachable(url=url, problem="it is no http address")
        try:
            request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was looked at
            with opener.open(request, timeout=_PATIENCE_S) as answer:
                body: bytes = answer.read(_MOST_FETCHED_BYTES + 1)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == _NOT_FOUND:
                return None
            raise Unreachable(url=url, problem=f"it answered {error.code}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(url=url, problem=str(error) or type(error).__name__) from None
        if len(body) > _MOST_FETCHED_BYTES:
            raise Unreachable(url=url, problem=f"it sent more than {_MOST_FETCHED_BYTES} bytes")
        return body

    yield fetch
