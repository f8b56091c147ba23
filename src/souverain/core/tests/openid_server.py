"""A small OpenID Connect provider over real HTTP, with real keys, for what glewlwyd cannot do:
`acr`, userinfo signed for an audience, ES256, a logout that comes back by itself; and for every
way in which a provider, or somebody in its place, can lie. It is strict with its client."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CLIENT, SECRET = "cloud-proconnect", "secret-donné-par-proconnect"
# The parameters that ProConnect documents; it refuses a request with any other.
PROCONNECT_PARAMETERS = frozenset(
    [
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "claims",
        "state",
        "nonce",
        "prompt",
        "idp_hint",
        "login_hint",
    ]
)
Claims = dict[str, Any]


class Provider:
    """What a test sets: who signs in (`person`), and how the answers are changed."""

    def __init__(self, algorithm: str = "RS256") -> None:
        self.algorithm = algorithm
        self.key = _key(algorithm, "provider")
        self.stranger_key = _key(algorithm, "stranger")
        self.person: Claims = {}
        self.acr: str | None = "eidas1"
        self.change_id_token: Callable[[Claims], Any] = lambda claims: None
        self.change_userinfo: Callable[[Claims], Any] = lambda claims: None
        self.change_discovery: Callable[[Claims], Any] = lambda document: None
        self.sign_with: Any = None
        self.userinfo_type = "application/jwt"
        self.userinfo_padding = 0
        self.asked: list[Claims] = []
        self.closed: list[Claims] = []
        self._codes: dict[str, Claims] = {}
        self._access: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/api/v2"
        self.discovery_url = f"{self.url}/.well-known/openid-configuration"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # The endpoints ------------------------------------------------------------------------------
    def discovery(self) -> Claims:
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/jwks",
            "end_session_endpoint": f"{self.url}/session/end",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }
        self.change_discovery(document)
        return document

    def jwks(self) -> Claims:
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        public = json.loads(algorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": "une", "use": "sig", "alg": self.algorithm}]}

    def authorize(self, query: dict[str, str]) -> str:
        """Signs `person` in without asking; where the browser goes next."""
        if query.get("client_id") != CLIENT or query.get("response_type") != "code":
            raise ValueError("client_id or response_type")
        if len(query.get("state", "")) < 32 or len(query.get("nonce", "")) < 32:
            raise ValueError("state and nonce have at least 32 characters")
        self.asked.append(dict(query))
        code = secrets.token_urlsafe(16)
        self._codes[code] = dict(query)
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, form: dict[str, str]) -> Claims:
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or form.get("client_secret") != SECRET or form["client_id"] != CLIENT:
            raise ValueError("code or client")
        if form["redirect_uri"] != asked["redirect_uri"]:
            raise ValueError("redirect_uri")
        if "code_challenge" in asked:
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
                raise ValueError("code_verifier")
        now = int(time.time())
        claims: Claims = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": self.person["sub"],
            "iat": now,
            "exp": now + 60,
            "nonce": asked["nonce"],
        }
        if self.acr is not None:
            claims["acr"] = self.acr
        self.change_id_token(claims)
        access = secrets.token_urlsafe(16)
        self._access[access] = self.person["sub"]
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": 60,
            "id_token": self._signed(claims),
        }

    def userinfo(self, authorization: str) -> bytes:
        if authorization.removeprefix("Bearer ") not in self._access:
            raise ValueError("access token")
        claims = {**self.person, "iss": self.url, "aud": CLIENT}
        self.change_userinfo(claims)
        if self.userinfo_padding:
            return b" " * self.userinfo_padding
        if self.userinfo_type == "application/json":
            return json.dumps(claims).encode()
        return self._signed(claims).encode()

    def end_session(self, query: dict[str, str]) -> str:
        hint = jwt.decode(
            query["id_token_hint"],
            self.key.public_key(),
            algorithms=[self.algorithm],
            audience=CLIENT,
            options={"verify_exp": False},
        )
        self.closed.append(hint)
        return f"{query['post_logout_redirect_uri']}?{urlencode({'state': query['state']})}"

    def _signed(self, claims: Claims) -> str:
        if self.sign_with is not None:
            return str(self.sign_with(claims))
        return jwt.encode(claims, self.key, self.algorithm, headers={"kid": "une"})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                try:
                    self._get(parts.path.removeprefix("/api/v2"), query)
                except (ValueError, KeyError, jwt.PyJWTError) as error:
                    self._answer(400, "application/json", json.dumps({"error": str(error)}))

            def _get(self, path: str, query: dict[str, str]) -> None:
                if path == "/.well-known/openid-configuration":
                    self._answer(200, "application/json", json.dumps(provider.discovery()))
                elif path == "/jwks":
                    self._answer(200, "application/json", json.dumps(provider.jwks()))
                elif path == "/authorize":
                    self._go(provider.authorize(query))
                elif path == "/session/end":
                    self._go(provider.end_session(query))
                elif path == "/userinfo":
                    content = provider.userinfo(self.headers.get("Authorization", ""))
                    self._answer(200, provider.userinfo_type, content)
                else:
                    self._answer(404, "text/plain", "")

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                posted = parse_qs(self.rfile.read(length).decode())
                form = {name: values[0] for name, values in posted.items()}
                try:
                    self._answer(200, "application/json", json.dumps(provider.token(form)))
                except (ValueError, KeyError) as error:
                    self._answer(400, "application/json", json.dumps({"error": str(error)}))

            def _answer(self, status: int, kind: str, content: str | bytes) -> None:
                body = content.encode() if isinstance(content, str) else content
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _go(self, url: str) -> None:
                self.send_response(303)
                self.send_header("Location", url)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@cache
def _key(algorithm: str, owner: str) -> Any:
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
