"""An authorization server by Authlib over Flask: client credentials (RFC 6749) and token exchange (RFC 8693)."""

import secrets
import threading
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import BaseGrant, InvalidGrantError, TokenEndpointMixin, grants
from flask import Flask
from werkzeug.serving import make_server

__all__ = ["Issuer"]

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class _Client:
    """A confidential client, known by HTTP Basic."""

    def __init__(self, client_id: str, secret: str) -> None:
        self.client_id = client_id
        self._secret = secret

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str) -> str:
        return scope or ""

    def check_client_secret(self, secret: str) -> bool:
        return secrets.compare_digest(secret, self._secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("client_credentials", _EXCHANGE)


@dataclass
class Issuer:
    """The server; what it issued is known to whoever protects a resource with it.

    Args:
        issued: each token that is good, with its scope and the subject it stands for.
        lives_s: how long a token is said to live.
    """

    client_id: str = "gate"
    secret: str = "the-clients-own-secret"
    lives_s: int = 300
    subjects: dict[str, str] = field(default_factory=dict)
    issued: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        app = Flask("issuer")
        app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": self.lives_s}
        client = _Client(self.client_id, self.secret)
        server = AuthorizationServer(
            app,
            query_client=lambda client_id: client if client_id == self.client_id else None,
            save_token=self._save,
        )
        server.register_grant(grants.ClientCredentialsGrant)
        issuer = self

        class Exchange(BaseGrant, TokenEndpointMixin):  # type: ignore[misc]
            GRANT_TYPE = _EXCHANGE
            TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic",)

            def validate_token_request(self) -> None:
                self.request.client = self.authenticate_token_endpoint_client()
                form = self.request.form
                if form.get("subject_token_type") != "urn:ietf:params:oauth:token-type:access_token":
                    raise InvalidGrantError("no such kind of token")
                if form.get("subject_token") not in issuer.subjects:
                    raise InvalidGrantError("nobody's token")

            def create_token_response(self) -> Any:
                form = self.request.form
                said = {
                    "access_token": secrets.token_urlsafe(24),
                    "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                    "token_type": "Bearer",
                    "expires_in": issuer.lives_s,
                    "scope": form.get("scope", ""),
                }
                issuer.issued[said["access_token"]] = {
                    "scope": said["scope"],
                    "subject": issuer.subjects[form["subject_token"]],
                    "audience": form.get("audience", ""),
                }
                return 200, said, self.TOKEN_RESPONSE_HEADER

        server.register_grant(Exchange)

        @app.post("/token")
        def token() -> Any:
            from flask import request

            self.asked.append(dict(request.form))
            return server.create_token_response()

        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _save(self, token: dict[str, Any], request: Any) -> None:
        self.issued[token["access_token"]] = {
            "scope": token.get("scope", ""),
            "subject": self.client_id,
            "audience": "",
        }

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
