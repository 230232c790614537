"""What people's requests over HTTP have in common: a key of their own, a body in JSON, an answer that nobody keeps."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from answerable.app import Gate
from answerable.identity import AccessKey
from answerable.server._errors import PersonKeyRefused, RequestMalformed
from answerable.server._front import secret_of

__all__ = ["as_json", "body_of", "holder_of", "status_of_key"]


def holder_of(gate: Gate, request: Request) -> AccessKey:
    """The person whose key a request carries, in the roles on the key.

    Raises:
        PersonKeyRefused: it is nobody's.
    """
    secret = secret_of(request.headers)
    found = gate.person_keys.find(secret)
    if found is None:
        raise PersonKeyRefused(is_agent=gate.agent_keys.find(secret) is not None)
    return found


def status_of_key(error: PersonKeyRefused) -> int:
    """How a key that opens nothing is answered: an agent is known, and not let in."""
    return 403 if error.is_agent else 401


async def body_of(request: Request, *, most_bytes: int) -> Any:
    """The JSON that a request carries; an empty object where it carries nothing.

    Raises:
        RequestMalformed: it is too large, or no JSON.
    """
    body = await request.body()
    if len(body) > most_bytes:
        raise RequestMalformed(problem=f"its body is larger than {most_bytes} bytes")
    try:
        return orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        raise RequestMalformed(problem="its body is not JSON") from None


def as_json(said: Any, status: int = 200) -> Response:
    """An answer that no cache keeps."""
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(said), status, headers, media_type="application/json")
