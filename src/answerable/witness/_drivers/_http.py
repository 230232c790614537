"""HTTP to witnesses, time-stamping authorities and logs: bounded in time and in size."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType

import httpx

from answerable.witness._errors import Unreachable
from answerable.witness._ports import HttpReply

__all__ = ["AsyncHttp", "fetching"]

_PATIENCE_S = 10
_MOST_BYTES = 1 << 20
_MOST_FETCHED_BYTES = 64 << 20


class AsyncHttp:
    """`Http` over one pool of connections."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(timeout=_PATIENCE_S, follow_redirects=False)

    async def __aenter__(self) -> "AsyncHttp":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def post(self, url: str, body: bytes, *, content_type: str) -> HttpReply:
        """Send a body."""
        return await self._ask("POST", url, content=body, headers={"content-type": content_type})

    async def get(self, url: str) -> HttpReply:
        """Fetch what is there."""
        return await self._ask("GET", url)

    async def _ask(
        self, method: str, url: str, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpReply:
        try:
            async with self._client.stream(method, url, content=content, headers=headers) as answer:
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > _MOST_BYTES:
                        raise Unreachable(url=url, problem=f"it sent more than {_MOST_BYTES} bytes")
                return HttpReply(status=answer.status_code, body=bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
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
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    with httpx.Client(timeout=_PATIENCE_S, headers=headers, follow_redirects=False) as client:

        def fetch(path: str) -> bytes | None:
            url = f"{prefix.rstrip('/')}/{path}"
            try:
                with client.stream("GET", url) as answer:
                    if answer.status_code == httpx.codes.NOT_FOUND:
                        return None
                    if answer.status_code != httpx.codes.OK:
                        raise Unreachable(url=url, problem=f"it answered {answer.status_code}")
                    body = bytearray()
                    for part in answer.iter_bytes():
                        body += part
                        if len(body) > _MOST_FETCHED_BYTES:
                            raise Unreachable(url=url, problem=f"it sent more than {_MOST_FETCHED_BYTES} bytes")
                    return bytes(body)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise Unreachable(url=url, problem=str(error) or type(error).__name__) from None

        yield fetch
