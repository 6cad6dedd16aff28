"""App passwords: made here, never chosen, so a fast keyed digest is enough to keep them by.

Sixteen letters and digits out of 32 are 80 random bits; no machine tries them all. They are written in fours
(``k7mv-2xqp-…``) and read with or without the hyphens, in either case.
"""

from __future__ import annotations

import hmac
import secrets
import unicodedata
from collections.abc import Iterable

from mstore.accounts.passwords import AppPassword
from mstore.base.errors import Invalid
from mstore.base.ids import AccountId

LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without l, o, 0 and 1, which look like each other."""
LENGTH = 16
SERVICES = ("imap", "pop3", "lmtp")
MAX_LABEL_BYTES = 64


def make_app_password() -> str:
    """A new app password, as it is shown."""
    letters = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
    return "-".join(letters[place : place + 4] for place in range(0, LENGTH, 4))


def normalise(password: bytes) -> bytes | None:
    """An app password without what does not count, or None for what cannot be one."""
    if not LENGTH <= len(password) <= 2 * LENGTH:
        return None
    letters = password.replace(b"-", b"").replace(b" ", b"").lower()
    return letters if len(letters) == LENGTH and not letters.strip(LETTERS.encode()) else None


def digest(site_key: bytes, account_id: AccountId, letters: bytes) -> bytes:
    """What is kept of an app password: of no use for another account or another site."""
    return hmac.digest(site_key, b"app password\0" + account_id.encode() + b"\0" + letters, "sha256")


def find_app(apps: Iterable[AppPassword], made: bytes) -> AppPassword | None:
    """The one of this digest."""
    found = None
    for app in apps:
        if hmac.compare_digest(app.digest, made):
            found = app
    return found


def is_for(app: AppPassword, service: str) -> bool:
    """Whether an app password may be used at a service; where that is unknown, only one that is for all."""
    return not app.services or service.removesuffix("d") in app.services


def check_label(label: str) -> None:
    """Pass what may be the label of an app password.

    Raises: Invalid.
    """
    if not label.strip() or len(label.encode("utf-8", "replace")) > MAX_LABEL_BYTES:
        raise Invalid(f"a label has 1 to {MAX_LABEL_BYTES} bytes")
    if not label.isprintable() or any(unicodedata.category(c) in ("Cc", "Cs", "Cf") for c in label):
        raise Invalid("a label cannot contain control or unprintable characters")
