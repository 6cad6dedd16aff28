"""How a command fails, and which response code each failure of the store has.

``No`` and ``Bad`` end the command, ``Bye`` the session. Commands let errors of the store pass; the session
asks ``no_for`` for the answer. RFC 3501 §7.1, RFC 5530 §3.
"""

from __future__ import annotations

import errno

from mstore.base import errors

_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""A disk that is full or read-only: nothing is wrong with the server, and it passes (RFC 5530 §3)."""


class CommandFailed(Exception):
    """A command that ends otherwise than with OK."""


class Bad(CommandFailed):
    """Protocol error: unknown command, wrong state, syntax (RFC 3501 §7.1.3)."""

    def __init__(self, text: str, code: bytes | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


def uid_required() -> Bad:
    """A message number where the client has chosen to do without (RFC 9586 §3.2)."""
    return Bad("Only UIDs are in use", b"UIDREQUIRED")


class No(CommandFailed):
    """The command is understood and cannot be carried out (RFC 3501 §7.1.2)."""

    def __init__(self, text: str, code: bytes | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class Bye(CommandFailed):
    """The session ends now (RFC 3501 §7.1.5)."""

    def __init__(self, text: str, code: bytes | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


CODES: tuple[tuple[type[errors.MStoreError], bytes], ...] = (
    (errors.NotFound, b"NONEXISTENT"),
    (errors.Expunged, b"EXPUNGEISSUED"),
    (errors.UnknownEncoding, b"UNKNOWN-CTE"),
    (errors.Exists, b"ALREADYEXISTS"),
    (errors.UseRefused, b"USEATTR"),
    (errors.Invalid, b"CANNOT"),
    (errors.ReadOnly, b"READ-ONLY"),
    (errors.Denied, b"NOPERM"),
    (errors.Busy, b"INUSE"),
    (errors.LimitReached, b"LIMIT"),
    (errors.TooBig, b"TOOBIG"),
    (errors.OverQuota, b"OVERQUOTA"),
    (errors.Corrupt, b"CORRUPTION"),
    (errors.StorageFailed, b"SERVERBUG"),
    (errors.Unavailable, b"UNAVAILABLE"),
)


def no_for(error: errors.MStoreError) -> CommandFailed:
    """The NO that tells a client of a failure of the store, or the BYE where a new session is needed."""
    if isinstance(error, errors.Moved):
        return Bye(str(error), b"UNAVAILABLE")
    if isinstance(error, errors.StorageFailed) and getattr(error.__cause__, "errno", None) in _PASSING:
        return No(str(error), b"UNAVAILABLE")
    for kind, code in CODES:
        if isinstance(error, kind):
            return No(str(error) or kind.__name__, code)
    return No(str(error) or "Command failed", b"SERVERBUG")
