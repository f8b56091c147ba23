"""A private copy of Debian's `glewlwyd`, a real OpenID Connect provider: SQLite, loopback, a
temporary folder. Set up through its own administration API, as an administrator would."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

SCHEMA = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
WEBAPP = Path("/usr/share/glewlwyd/webapp")
PAGES_CONFIG = Path("/usr/share/glewlwyd/templates/config.json")
CLIENT, SECRET, PASSWORD = "cloud-cotedor", "un-secret-de-client", "mot-de-passe-chez-glewlwyd"
# What Debian's database holds at first; changed here by nobody, the copy lives for one test run.
ADMIN = {"username": "admin", "password": "password"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Glewlwyd:
    def __init__(self, folder: Path, redirect_uri: str, after_logout: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.issuer = f"{self.url}/api/oidc"
        self.discovery_url = f"{self.issuer}/.well-known/openid-configuration"
        self._configure()
        with (folder / "glewlwyd.out").open("wb") as log:
            self.process = subprocess.Popen(
                ["glewlwyd", f"--config-file={folder / 'glewlwyd.conf'}"], stdout=log, stderr=log
            )
        try:
            self._wait()
            self.admin = requests.Session()
            self._ask("POST", "auth/", ADMIN)
            self._set_up(redirect_uri, after_logout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def _configure(self) -> None:
        database = self.folder / "glewlwyd.sqlite3"
        with sqlite3.connect(database) as connection:
            connection.executescript(SCHEMA.read_text())
        # Its pages, whole: Debian ships links that the server does not follow.
        pages = self.folder / "pages"
        shutil.copytree(WEBAPP, pages, ignore=shutil.ignore_patterns("config.json"))
        shutil.copy(PAGES_CONFIG, pages / "config.json")
        (self.folder / "glewlwyd.conf").write_text(
            f'port={self.port}\nbind_address="127.0.0.1"\nexternal_url="{self.url}"\n'
            'login_url="login.html"\napi_prefix="api"\nlog_mode="file"\nlog_level="WARNING"\n'
            f'log_file="{self.folder / "glewlwyd.log"}"\n'
            f'static_files_path="{pages}"\n'
            'cookie_secure=0\nsession_expiration=3600\nsession_key="GLEWLWYD2_SESSION_ID"\n'
            'admin_scope="g_admin"\nprofile_scope="g_profile"\nhash_algorithm="SHA512"\n'
            'user_module_path="/usr/lib/glewlwyd/user"\n'
            'client_module_path="/usr/lib/glewlwyd/client"\n'
            'user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"\n'
            'plugin_module_path="/usr/lib/glewlwyd/plugin"\n'
            f'database = {{ type = "sqlite3" path = "{database}" }};\n'
            "static_files_mime_types = ("
            '{ extension = ".html" mime_type = "text/html" },'
            '{ extension = ".css" mime_type = "text/css" },'
            '{ extension = ".js" mime_type = "application/javascript" },'
            '{ extension = ".json" mime_type = "application/json" });\n'
        )

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                requests.get(f"{self.url}/config", timeout=2)
                return
            except requests.ConnectionError:
                log = (self.folder / "glewlwyd.out").read_text()
                assert self.process.poll() is None and time.monotonic() < deadline, log
                time.sleep(0.05)

    def _ask(self, method: str, path: str, body: Any) -> None:
        answer = self.admin.request(method, f"{self.url}/api/{path}", json=body, timeout=10)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"

    def _set_up(self, redirect_uri: str, after_logout: str) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        listed = {"multiple": False, "read": True, "write": True}
        self._ask(
            "PUT",
            "mod/user/database",
            {
                "module": "database",
                "display_name": "Personnes",
                "parameters": {
                    "use-glewlwyd-connection": True,
                    "data-format": {"verified": listed, "siret": listed},
                },
                "order_rank": 0,
                "readonly": False,
            },
        )
        self._ask("PUT", "mod/user/database/reset/", {})
        for scope in ("email", "profile"):
            self._ask("POST", "scope/", {"name": scope, "display_name": scope, "scheme": {}})
        self._ask(
            "POST",
            "mod/plugin/",
            {
                "module": "oidc",
                "name": "oidc",
                "display_name": "OpenID Connect",
                "parameters": {
                    "iss": self.issuer,
                    "jwt-type": "rsa",
                    "jwt-key-size": "256",
                    "key": private,
                    "cert": public.decode(),
                    "jwks-show": True,
                    "code-duration": 60,
                    "access-token-duration": 60,
                    "refresh-token-duration": 600,
                    "auth-type-code-enabled": True,
                    "auth-type-refresh-enabled": True,
                    "allow-non-oidc": False,
                    "subject-type": "public",
                    "pkce-allowed": True,
                    "pkce-required": True,
                    "name-claim": "mandatory",
                    "email-claim": "mandatory",
                    "claims": [
                        {
                            "name": "email_verified",
                            "user-property": "verified",
                            "type": "boolean",
                            "boolean-value-true": "oui",
                            "boolean-value-false": "non",
                            "mandatory": True,
                        },
                        {
                            "name": "siret",
                            "user-property": "siret",
                            "type": "string",
                            "mandatory": True,
                        },
                    ],
                    "session-management-allowed": True,
                    "session-cookie-name": "GLEWLWYD2_OIDC_SID",
                    "session-cookie-expiration": 3600,
                    "front-channel-logout-allowed": True,
                    "back-channel-logout-allowed": False,
                },
            },
        )
        self._ask(
            "POST",
            "client/",
            {
                "client_id": CLIENT,
                "name": "Cloud Côte-d'Or",
                "confidential": True,
                "password": SECRET,
                "client_secret": SECRET,
                "enabled": True,
                "redirect_uri": [redirect_uri],
                "post_logout_redirect_uri": after_logout,
                "authorization_type": ["code"],
                "token_endpoint_auth_method": ["client_secret_post"],
                "scope": [],
            },
        )

    def add_person(
        self, username: str, email: str, *, verified: bool = True, siret: str = ""
    ) -> None:
        """A person of the provider, who has already let the cloud read their name and address."""
        person = {
            "username": username,
            "name": username.title(),
            "email": email,
            "password": PASSWORD,
            "enabled": True,
            "scope": ["openid", "email", "profile"],
            "verified": "oui" if verified else "non",
        }
        self._ask("POST", "user/", {**person, "siret": siret} if siret else person)
        session = self.session_of(username)
        answer = session.put(
            f"{self.url}/api/auth/grant/{CLIENT}",
            json={"scope": "openid email profile"},
            timeout=10,
        )
        assert answer.status_code == 200, answer.text

    def session_of(self, username: str) -> requests.Session:
        """The person's own browser at the provider, signed in there."""
        session = requests.Session()
        answer = session.post(
            f"{self.url}/api/auth/",
            json={"username": username, "password": PASSWORD},
            timeout=10,
        )
        assert answer.status_code == 200, answer.text
        return session
