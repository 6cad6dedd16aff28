"""A connection to another IMAP server (RFC 3501), made with IMAPClient, and made again where it breaks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, LoginError

from mstore.base.errors import Denied, Invalid, Unavailable
from mstore.moving.foreign import Unreadable

TIMEOUT_S = 120.0
TRIES = 4
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the server is, and as whom to log in."""

    host: str
    port: int
    security: str
    """``tls``, ``starttls`` or ``none``."""
    user: str
    password: str
    authorization: str | None = None
    """Whose mail it is, where ``user`` is an administrator (RFC 4616)."""
    context: Any = None
    """For TLS."""


class Connection:
    """Another server, as one user of it sees it."""

    def __init__(self, remote: Remote) -> None:
        """Raises: Unavailable, Denied."""
        self._remote = remote
        self._selected: str | None = None
        self._is_reading = False
        """Answers are still to come, which who left off does not want any more."""
        self._client = self._connect()
        self._separator, self._prefix = "/", ""
        with suppress(IMAPClientError):
            personal = self._client.namespace().personal
            if personal:
                self._prefix, self._separator = personal[0][0] or "", personal[0][1] or "/"

    def close(self) -> None:
        """Log out."""
        with suppress(IMAPClientError, OSError):
            self._client.logout()

    def _our_name(self, theirs: str) -> str:
        if theirs.upper() == "INBOX":
            return "INBOX"
        levels = theirs.removeprefix(self._prefix).split(self._separator)
        return "/".join(level.replace("/", "_") for level in levels)

    def _their_name(self, ours: str) -> str:
        """What a mailbox is called there; their separator within a level becomes an underscore."""
        if ours == "INBOX":
            return ours
        levels = [level.replace(self._separator, "_") for level in ours.split("/")]
        return self._prefix + self._separator.join(levels)

    def _try(self, work: Callable[[], _Found]) -> _Found:
        """Do it, on a new connection where the one before breaks."""
        tries = 0
        while True:
            try:
                self._ready()
                return work()
            except (IMAPClientAbortError, OSError) as error:
                tries += 1
                self._reconnect(tries, error)
            except IMAPClientError as error:
                raise Unreadable(f"{self._remote.host}: {error}") from error

    def _ready(self) -> IMAPClient:
        """The connection, a new one where the one before has been left in the midst of an answer."""
        if self._is_reading:
            self._drop()
            self._client = self._connect()
        return self._client

    def _reconnect(self, tries: int, error: Exception) -> None:
        """Connect again, unless that has been tried often enough. Raises: Unavailable, Denied."""
        self._drop()
        if tries >= TRIES:
            raise Unavailable(f"{self._remote.host}: {error}") from error
        self._client = self._connect()

    def _drop(self) -> None:
        with suppress(IMAPClientError, OSError):
            self._client.shutdown()

    def _connect(self) -> IMAPClient:
        remote = self._remote
        self._selected, self._is_reading = None, False
        try:
            tls = remote.security == "tls"
            context = remote.context if tls else None
            client = IMAPClient(remote.host, remote.port, ssl=tls, ssl_context=context, timeout=TIMEOUT_S)
            client.normalise_times = False
            if remote.security == "starttls":
                client.starttls(remote.context)
            if remote.authorization is None:
                client.login(remote.user, remote.password)
            else:
                client.plain_login(remote.user, remote.password, remote.authorization)
        except LoginError as error:
            raise Denied(f"{remote.host} does not let {remote.user} in: {error}") from error
        except (IMAPClientError, OSError) as error:
            raise Unavailable(f"{remote.host}:{remote.port}: {error}") from error
        return client


def parse_address(text: str, security: str) -> tuple[str, int]:
    """HOST, HOST:PORT or [HOST]:PORT. Raises: Invalid."""
    host, colon, port = text.rpartition(":")
    if not colon or (text.count(":") > 1 and not text.startswith("[")):
        return text.strip("[]"), 993 if security == "tls" else 143
    if not port.isdigit() or not 0 < int(port) < 65536 or not host:
        raise Invalid(f"{text} is no HOST:PORT")
    return host.strip("[]"), int(port)
