"""What is announced, in which state (RFC 3501 §6.1.1, §7.2.1).

Only what is there and complete stands here; a client may rely on every word.
"""

from __future__ import annotations

from functools import lru_cache

from mstore.base.numset import MAX_NUMBER
from mstore.imap.state import NOT_AUTHENTICATED
from mstore.net.service import Service

ALWAYS = b" ".join(
    (
        b"IMAP4rev1 LITERAL+ SASL-IR ID IDLE NAMESPACE UIDPLUS UNSELECT CHILDREN",
        b"ENABLE CONDSTORE QRESYNC MOVE MULTIAPPEND UNAUTHENTICATE SAVEDATE OBJECTID REPLACE PREVIEW BINARY",
        b"CATENATE",
        b"ESEARCH SEARCHRES WITHIN PARTIAL MULTISEARCH CONTEXT=SEARCH I18NLEVEL=1 INPROGRESS",
        b"SORT SORT=DISPLAY ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS",
        b"ACL RIGHTS=texk QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE QUOTASET",
    )
)


def may_send_password(service: Service, tls: bool) -> bool:
    """Whether a password may come over this connection as it is."""
    return tls or service.settings.cleartext_login_enable


def append_limit(service: Service) -> int:
    """The size of a message that APPEND takes (RFC 7889 §2)."""
    return min(service.settings.message_size_limit, MAX_NUMBER)


def mechanisms(service: Service, tls: bool) -> tuple[bytes, ...]:
    """The SASL mechanisms that AUTHENTICATE offers on this connection."""
    if service.settings.may_use("plain") and may_send_password(service, tls):
        return (b"PLAIN",)
    return ()


@lru_cache(maxsize=16)
def capabilities(service: Service, tls: bool, state: int) -> bytes:
    """The capability list, as it stands behind ``CAPABILITY``."""
    words = [ALWAYS, b"APPENDLIMIT=%d" % append_limit(service)]
    if state == NOT_AUTHENTICATED:
        if service.tls is not None and not tls:
            words.append(b"STARTTLS")
        if not may_send_password(service, tls):
            # The second is this product's own word for it, older than the first.
            words += [b"LOGINDISABLED", b"X-LOGIN-COMMAND-DISABLED"]
        words += [b"AUTH=" + name for name in mechanisms(service, tls)]
    return b" ".join(words)
