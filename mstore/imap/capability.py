"""What is announced, in which state (RFC 3501 §6.1.1, §7.2.1, RFC 9051 §6.1.1).

Only what is there and complete stands here; a client may rely on every word. The administrator may switch
words off, for all or for some accounts; what they stand for is then neither announced nor enabled.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache

from mstore.base.numset import MAX_NUMBER
from mstore.base.values import DORMANT_CAPABILITIES
from mstore.imap.state import NOT_AUTHENTICATED
from mstore.net.service import Service
from mstore.net.stream import Stream

ALWAYS = (
    b"IMAP4rev1 LITERAL+ SASL-IR ID IDLE NAMESPACE UIDPLUS UNSELECT CHILDREN",
    b"ENABLE CONDSTORE QRESYNC MOVE MULTIAPPEND UNAUTHENTICATE SAVEDATE OBJECTID REPLACE PREVIEW BINARY",
    b"CATENATE",
    b"ESEARCH SEARCHRES WITHIN PARTIAL MULTISEARCH CONTEXT=SEARCH I18NLEVEL=1 INPROGRESS",
    b"SORT SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS",
    b"ACL RIGHTS=texk QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE QUOTASET",
    b"STATUS=SIZE LIST-EXTENDED LIST-STATUS LIST-MYRIGHTS SPECIAL-USE CREATE-SPECIAL-USE",
    b"COMPRESS=DEFLATE METADATA LIST-METADATA NOTIFY",
    b"IMAP4rev2 UTF8=ACCEPT",
)
DORMANT = frozenset(word.encode("ascii") for word in DORMANT_CAPABILITIES)
"""What is off until the administrator switches it on, for all or for some."""
LITERAL_PLUS, LITERAL_MINUS = b"LITERAL+", b"LITERAL-"
APPENDLIMIT = b"APPENDLIMIT"
NOTHING: frozenset[bytes] = frozenset()


def may_send_password(service: Service, tls: bool) -> bool:
    """Whether a password may come over this connection as it is."""
    return tls or bool(service.settings.cleartext_login_enable)


def append_limit(service: Service) -> int:
    """The size of a message that APPEND takes (RFC 7889 §2)."""
    return min(service.settings.message_size_limit, MAX_NUMBER)


def mechanisms(service: Service, stream: Stream) -> tuple[str, ...]:
    """The SASL mechanisms that AUTHENTICATE offers on this connection."""
    return service.authenticate.names("imap", stream, may_send_password(service, stream.tls))


@lru_cache(maxsize=1024)
def switched_off(service: Service, user: str | None = None) -> frozenset[bytes]:
    """The words, in capitals, that this user, or everybody (None), does not have.

    They are those that the administrator has switched off, and those dormant ones not switched on.
    """
    settings = service.settings
    on = settings.imapd_enable_capability | _words_for(settings.imapd_enable_capability_for, user)
    off = settings.imapd_disable_capability | _words_for(settings.imapd_disable_capability_for, user)
    return off | (DORMANT - on)


def _words_for(given: Iterable[tuple[str, frozenset[bytes]]], user: str | None) -> frozenset[bytes]:
    """All words of the lines whose glob matches a user."""
    return NOTHING.union(
        *[words for glob, words in given if user is not None and fnmatchcase(user.lower(), glob)]
    )


@lru_cache(maxsize=64)
def capabilities(
    service: Service, tls: bool, state: int, off: frozenset[bytes] = DORMANT, sasl: tuple[str, ...] = ()
) -> bytes:
    """The capability list, as it stands behind ``CAPABILITY``, without the words that are ``off``.

    ``sasl`` are the mechanisms that are offered before login.

    RFC 7888 §5: where LITERAL+ is off there is LITERAL- still.
    """
    words = [*b" ".join(ALWAYS).split(b" "), *sorted(DORMANT)]
    if LITERAL_PLUS in off:
        words[words.index(LITERAL_PLUS)] = LITERAL_MINUS
    if APPENDLIMIT not in off:
        words.append(b"%b=%d" % (APPENDLIMIT, append_limit(service)))
    if state == NOT_AUTHENTICATED:
        if service.tls is not None and not tls:
            words.append(b"STARTTLS")
        if not may_send_password(service, tls):
            # The second is this product's own word for it, older than the first.
            words += [b"LOGINDISABLED", b"X-LOGIN-COMMAND-DISABLED"]
        words += [b"AUTH=" + name.encode() for name in sasl]
    return b" ".join([word for word in words if word.upper() not in off])
