"""Settings of the one program. Everything has an embedded default; the environment overrides.

PORT, DATABASE_URL, SOUVERAIN_HOME, SOUVERAIN_PUBLIC_URL and the variables that the manifests
declare are the whole configuration.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
from csp.constants import NONE, SELF

from souverain import __version__, faults
from souverain.config.installed import installed
from souverain.core import departement
from souverain.core.openid import config as openid
from souverain.core.staticfiles import IMMUTABLE_URL

SOURCE = Path(__file__).parents[1]
PROJECT = Path(__file__).parents[3]


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:
        return int(text)
    raise SystemExit(f"PORT={text} : un nombre de 1 à 65535 est attendu.")


HOME = Path(os.environ.get("SOUVERAIN_HOME") or PROJECT / "var").absolute()
PORT = _port(os.environ.get("PORT") or "8000")
PUBLIC_URL = os.environ.get("SOUVERAIN_PUBLIC_URL", f"http://localhost:{PORT}").rstrip("/")
VERSION = __version__

_public = urlsplit(PUBLIC_URL)
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
SECURE = _public.scheme == "https"
if not SECURE and _public.hostname not in _LOOPBACK:
    raise SystemExit(
        f"SOUVERAIN_PUBLIC_URL={PUBLIC_URL} : hors de cette machine, l'adresse doit être en https."
    )


def _secret_key() -> str:
    """Made once, readable by this account only."""
    HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = HOME / "secret-key"
    if not path.exists():
        # Under its name in one step: a start that was cut leaves no empty key behind.
        descriptor, partial = tempfile.mkstemp(prefix=".secret-key-", dir=HOME)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(64))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
        Path(partial).unlink()
    return path.read_text()


try:
    SECRET_KEY = _secret_key()
except OSError as error:
    raise SystemExit(
        f"SOUVERAIN_HOME={HOME} : ce compte doit pouvoir lire et modifier ce dossier. "
        f"{faults.of_file(error) or error}"
    ) from error
DEBUG = False
ALLOWED_HOSTS = [_public.hostname or "localhost", *_LOOPBACK]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
ROOMS = installed(["core", "territory", "vault", "street", "portal"])
DECOUPAGE = PROJECT / "web/node_modules/@etalab/decoupage-administratif/data"
STREET_MODELS = PROJECT / "build/models"
NAMES = departement.named(os.environ.get("SOUVERAIN_DEPARTEMENT") or "21")
DEPARTEMENT = NAMES.number
DEPARTEMENT_SIREN = os.environ.get("SOUVERAIN_DEPARTEMENT_SIREN", "")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    *[f"souverain.{room}" for room in ROOMS],
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "souverain.core.openid",
    "csp",
    "django_vite",
]

MIDDLEWARE = [
    "souverain.core.api.ApiMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "souverain.core.middleware.NulMiddleware",
    "souverain.core.middleware.AccessMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "souverain.config.urls"
ASGI_APPLICATION = "souverain.config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [SOURCE / "core" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "souverain.core.shell.context",
            ],
        },
    }
]

# Records -----------------------------------------------------------------------------------------
DATABASE_URL = os.environ.get("DATABASE_URL") or f"sqlite:///{HOME / 'souverain.sqlite3'}"
try:
    DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=None)}
except ValueError:
    # Without the address: it may hold a password.
    raise SystemExit(
        "DATABASE_URL : une adresse postgresql://… ou sqlite:///… est attendue."
    ) from None
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # synchronous=FULL: what was acknowledged survives a power cut, as on PostgreSQL.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        " PRAGMA foreign_keys=ON; PRAGMA cache_size=-32000; PRAGMA mmap_size=268435456;",
    }
else:
    # Each request runs in a thread of its own: connections come from one pool per process.
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    DATABASES["default"]["OPTIONS"] = {"pool": {"min_size": 1, "max_size": 16, "timeout": 20}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "cache",
        # Limits on requests are counted here: others' keys must not push a count out.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

# People ------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "core.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("email", "full_name")},
    },
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "souverain.core.accounts.AccountAdapter"
SOCIALACCOUNT_ADAPTER = "souverain.core.accounts.SocialAccountAdapter"
OPENID = openid.read(os.environ)
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Cloud Côte-d'Or] "
# Nobody makes us write to strangers.
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_REAUTHENTICATION_TIMEOUT = 900
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    "login_failed": "10/m/ip,5/5m/key",
    "reset_password": "20/m/ip,5/m/key",
    "reauthenticate": "10/m/user",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_FORMS = {
    "add_webauthn": "souverain.core.passkeys.Add",
    "authenticate_webauthn": "souverain.core.passkeys.Authenticate",
    "login_webauthn": "souverain.core.passkeys.Login",
    "reauthenticate_webauthn": "souverain.core.passkeys.Reauthenticate",
}
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not SECURE
MFA_TOTP_ISSUER = NAMES.cloud
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE

# Transport and browser ---------------------------------------------------------------------------
SECURE_SSL_REDIRECT = SECURE
SECURE_HSTS_SECONDS = 63_072_000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = SECURE
SECURE_REDIRECT_EXEMPT = [r"^health$"]
SECURE_REFERRER_POLICY = "same-origin"
if os.environ.get("SOUVERAIN_BEHIND_PROXY") == "1":
    ALLAUTH_TRUSTED_PROXY_COUNT = 1
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "connect-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        "worker-src": [SELF],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# Static files: the islands that Vite built, and the rooms' own -----------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = HOME / "static"
WEB_BUILD = PROJECT / "build" / "web"
STATICFILES_DIRS = [WEB_BUILD] if WEB_BUILD.is_dir() else []
DJANGO_VITE = {"default": {"manifest_path": WEB_BUILD / "manifest.json", "static_url_prefix": ""}}
WHITENOISE_IMMUTABLE_FILE_TEST = IMMUTABLE_URL
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "souverain.core.staticfiles.ViteAwareManifestStorage"},
}

# Words and time ----------------------------------------------------------------------------------
LANGUAGE_CODE = "fr"
TIME_ZONE = "Europe/Paris"
USE_TZ = True
USE_I18N = True

# Mail leaves through `core.notifications`, which asks `core.egress` ------------------------------
TSA_URL = os.environ.get("SOUVERAIN_TSA_URL", "")
SMTP_URL = os.environ.get("SOUVERAIN_SMTP_URL", "")
DEFAULT_FROM_EMAIL = os.environ.get("SOUVERAIN_MAIL_FROM") or f"cloud@{NAMES.domain}"
EMAIL_BACKEND = "souverain.core.notifications.OutboxBackend"

# Objects: a folder, or any S3 --------------------------------------------------------------------
OBJECTS_URL = os.environ.get("SOUVERAIN_OBJECTS_URL") or f"file://{HOME / 'objects'}"
# The parity of the vault: a folder on another disk, or any S3.
PARITY_URL = os.environ.get("SOUVERAIN_PARITY") or str(HOME / "parity")
if "://" not in PARITY_URL:
    PARITY_URL = Path(PARITY_URL).absolute().as_uri()

DATA_UPLOAD_MAX_MEMORY_SIZE = 2_500_000
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "souverain.core.logs.WithoutSecrets",
            "fmt": "{asctime} {levelname} {name} {message}",
            "style": "{",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
