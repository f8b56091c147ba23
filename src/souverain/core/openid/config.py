"""Which provider, read once from the environment. Nothing here needs Django."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

WELL_KNOWN = "/.well-known/openid-configuration"

# What each demanded level accepts (ProConnect's « niveaux d'assurance eidas »): identity and
# second factor are two axes, so that the levels are not one ladder.
_EIDAS = {
    "eidas0": ("eidas0", "eidas0-mfa", "eidas1", "eidas1-mfa", "eidas2", "eidas3"),
    "eidas0-mfa": ("eidas0-mfa", "eidas1-mfa", "eidas2", "eidas3"),
    "eidas1": ("eidas1", "eidas1-mfa", "eidas2", "eidas3"),
    "eidas1-mfa": ("eidas1-mfa", "eidas2", "eidas3"),
    "eidas2": ("eidas2", "eidas3"),
    "eidas3": ("eidas3",),
}


@dataclass(frozen=True)
class OpenID:
    """A provider. `proconnect` adds that federation's own rules to the standard ones."""

    discovery_url: str
    client_id: str
    client_secret: str
    proconnect: bool
    name: str
    accepted_acr: tuple[str, ...]

    @property
    def scopes(self) -> tuple[str, ...]:
        if self.proconnect:
            return ("openid", "given_name", "usual_name", "email", "siret")
        return ("openid", "profile", "email")


def read(environ: Mapping[str, str]) -> OpenID | None:
    """The provider that the environment names, or None. A set-up that cannot be right ends the
    program with a French sentence, rather than a sign-in page that fails later."""
    discovery_url = environ.get("SOUVERAIN_OIDC_DISCOVERY_URL", "")
    if not discovery_url:
        return None
    require_safe(discovery_url)
    if not discovery_url.endswith(WELL_KNOWN):
        raise SystemExit(f"SOUVERAIN_OIDC_DISCOVERY_URL : l'adresse doit finir par {WELL_KNOWN}.")
    client_id = environ.get("SOUVERAIN_OIDC_CLIENT_ID", "")
    client_secret = environ.get("SOUVERAIN_OIDC_CLIENT_SECRET", "")
    if not client_id or not client_secret:
        raise SystemExit(
            "SOUVERAIN_OIDC_CLIENT_ID et SOUVERAIN_OIDC_CLIENT_SECRET sont nécessaires avec "
            "SOUVERAIN_OIDC_DISCOVERY_URL."
        )
    kind = environ.get("SOUVERAIN_OIDC_KIND") or "oidc"
    if kind not in ("oidc", "proconnect"):
        raise SystemExit("SOUVERAIN_OIDC_KIND : proconnect ou oidc.")
    proconnect = kind == "proconnect"
    demanded = environ.get("SOUVERAIN_OIDC_ACR") or ("eidas1" if proconnect else "")
    return OpenID(
        discovery_url=discovery_url,
        client_id=client_id,
        client_secret=client_secret,
        proconnect=proconnect,
        name="ProConnect"
        if proconnect
        else environ.get("SOUVERAIN_OIDC_NAME") or "mon organisation",
        accepted_acr=_EIDAS.get(demanded, (demanded,)) if demanded else (),
    )


def require_safe(url: str) -> None:
    """End the program unless the address is https (plain http on this very machine only)."""
    if not is_safe(url):
        raise SystemExit(f"{url} : l'adresse doit être en https.")


def is_safe(url: object) -> bool:
    """Whether an address of the provider may carry secrets."""
    try:
        parts = urlsplit(str(url))
        parts.port  # noqa: B018 - raises ValueError when it is not a number
    except ValueError:
        return False
    home = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and home))
