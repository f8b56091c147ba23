"""SEDA, the French standard for the exchange of archives (2.1, 2.2, 2.3): a transfer (SIP) checked,
or made. Source: https://francearchives.gouv.fr/seda/ and the SIP rules of Programme Vitam."""

from __future__ import annotations

NAMESPACE = "fr:gouv:culture:archivesdefrance:seda:v"
VERSIONS = ("2.1", "2.2", "2.3")
MANIFEST = "manifest.xml"
# Names in MessageDigest/@algorithm (Vitam's list), and hashlib's.
DIGESTS = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
}
WEAK_DIGESTS = {"MD5", "SHA-1"}
"""Both have known collisions: they find an accident, not a forgery."""
