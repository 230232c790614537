"""Has an authorization server mint a token.

Source: RFC 6749 §2.3.1 (client password), §4.4 (client credentials), §5; RFC 8693 §2 (token exchange); RFC 8707
(resource indicators).
"""

import base64
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

__all__ = ["TokenEndpoint"]

_PATIENCE_S = 10.0
_MOST_BYTES = 256 * 1024


class TokenEndpoint:
    """Asks token endpoints; nothing is kept. Whatever goes wrong is an `OSError` that says no secret."""

    async def ask(self, url: str, form: Mapping[str, str], *, client: str = "", secret: str = "") -> dict[str, Any]:
        """The server's answer to a token request, an object with `access_token`.

        Args:
            client, secret: sent as HTTP Basic, each form-encoded first, where there is a secret.
        """
        import aiohttp
        import certifi

        headers = {"accept": "application/json"}
        if secret:
            pair = f"{quote(client, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        elif client:
            form = {**form, "client_id": client}
        trust = ssl.create_default_context()
        trust.load_verify_locations(certifi.where())
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=trust),
                    timeout=aiohttp.ClientTimeout(total=_PATIENCE_S),
                    cookie_jar=aiohttp.DummyCookieJar(),
                ) as session,
                # SECURITY: a redirect would take the client's secret elsewhere.
                session.post(url, data=dict(form), headers=headers, allow_redirects=False) as answer,
            ):
                body = await answer.content.read(_MOST_BYTES)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise OSError(f"its token endpoint was not reached ({type(error).__name__})") from None
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict):
            raise OSError(f"its token endpoint answered HTTP {status} and no JSON object")
        if status != 200 or not isinstance(said.get("access_token"), str):
            code = said.get("error")
            # Only a code of RFC 6749 §5.2 is passed on: a description may quote what was sent.
            known = code if isinstance(code, str) and code.replace("_", "").isalpha() and len(code) < 40 else "no code"
            raise OSError(f"its token endpoint answered HTTP {status} ({known})")
        return said
