"""App passwords: made here, never chosen, so a fast keyed digest is enough to keep them by.

Sixteen letters and digits out of 32 are 80 random bits; no machine tries them all. They are written in fours
(``k7mv-2xqp-…``) and read with or without the hyphens, in either case. Mechanisms that do not send them make
something of what was typed: those that compare digests know it with hyphens and without, SCRAM with them.
"""

from __future__ import annotations

import hmac
import secrets
import time
import unicodedata
from collections.abc import Iterable
from typing import Protocol

from mstore.accounts.accounts import AccountRecord
from mstore.accounts.apppasswords import AppKeys, AppPassword
from mstore.accounts.keys import Keys
from mstore.auth.keying import Keeping, make_scram_keys
from mstore.base import blocking
from mstore.base.errors import Invalid, MStoreError
from mstore.base.ids import AccountId
from mstore.base.log import Log

LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without l, o, 0 and 1, which look like each other."""
LENGTH = 16
SERVICES = ("imap", "pop3", "lmtp")
MAX_LABEL_BYTES = 64
DAY_S = 86_400

_log = Log()


class UseKeeper(Protocol):
    """Where the day of an app password's last use is kept (``mstore.accounts.passwords``)."""

    def note_app_used(self, account_id: AccountId, label: str, day: int) -> None: ...


def make_app_password() -> str:
    """A new app password, as it is shown."""
    return show("".join(secrets.choice(LETTERS) for _ in range(LENGTH)))


def show(letters: str) -> str:
    """An app password as it is shown."""
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


def make_app_keys(letters: bytes, keeping: Keeping, own: Keys | None) -> AppKeys:
    """What is to be kept of an app password for mechanisms that do not send it.

    The keys of SCRAM go by salt and iterations of the account's ``own``; where it has none there are none.
    """
    shown = show(letters.decode()).encode()
    scram = {
        name: make_scram_keys(shown, name, like.iterations, like.salt)
        for name, like in (own.scram.items() if own is not None else ())
        if name in keeping.scram
    }
    return AppKeys(scram, shown if keeping.secret else None)


def are_current(keys: AppKeys, keeping: Keeping, own: Keys | None) -> bool:
    """Whether these are all the keys that would be made now."""
    wanted = {
        name: (like.salt, like.iterations)
        for name, like in (own.scram.items() if own is not None else ())
        if name in keeping.scram
    }
    found = {name: (made.salt, made.iterations) for name, made in keys.scram.items()}
    return found == wanted and (keys.secret is not None) == keeping.secret


def spellings(app: AppPassword) -> tuple[bytes, ...]:
    """What somebody may have typed who has an app password, as far as it is kept itself."""
    secret = app.keys.secret
    return () if secret is None else (secret, secret.replace(b"-", b""))


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


def note_use(kept: UseKeeper, record: AccountRecord, app: AppPassword, peer: str) -> None:
    """Say in the log which app password was right, and keep the day, behind the login."""
    _log.info("app-password-used", user=record.name, label=app.label, peer=peer or None)
    today = int(time.time()) // DAY_S
    if app.used_day != today:
        blocking.spawn(_keep_day, kept, record.id, app.label, today)


def _keep_day(kept: UseKeeper, account_id: AccountId, label: str, day: int) -> None:
    try:
        kept.note_app_used(account_id, label, day)
    except MStoreError as error:
        _log.error("app-password-use-not-kept", error=str(error))


def check_label(label: str) -> None:
    """Pass what may be the label of an app password.

    Raises: Invalid.
    """
    if not label.strip() or len(label.encode("utf-8", "replace")) > MAX_LABEL_BYTES:
        raise Invalid(f"a label has 1 to {MAX_LABEL_BYTES} bytes")
    if not label.isprintable() or any(unicodedata.category(c) in ("Cc", "Cs", "Cf") for c in label):
        raise Invalid("a label cannot contain control or unprintable characters")
