"""The mechanism ``rimap``: whoever can log in to an IMAP server elsewhere may log in here.

Each login is a connection of its own, closed as soon as the server has answered. Waiting for a server takes a
thread of this mechanism's and nobody else's.
"""

from __future__ import annotations

import contextlib
import socket
import time

from mstore.auth.bounded import Bounded
from mstore.auth.driver import Driver, Sources, StartTls
from mstore.auth.mechanisms.imaplogin import Dialogue, Tls
from mstore.auth.verdict import REFUSED, Verdict
from mstore.base.errors import Invalid, Unavailable
from mstore.base.values import RemoteHost

LIMIT = 32
TIMEOUT_S = 15.0
"""For all of it; with ``bounded.PATIENCE_S`` less than the client of authproxyd waits."""
IMAP, IMAPS = 143, 993


class RemoteImap:
    """Judges passwords by the LOGIN of a server elsewhere."""

    def __init__(
        self, remote: RemoteHost, mode: str, start_tls: StartTls, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._host = remote.host
        self._port = remote.port or (IMAPS if mode == "immediate" else IMAP)
        self._tls = Tls(mode, start_tls, remote.host)
        self._timeout_s = timeout_s
        self._threads = Bounded("rimap", LIMIT)

    def verify(self, login: str, password: bytes, peer: str = "", service: str = "") -> Verdict:
        """Judge a login.

        Raises: Unavailable when the server cannot be reached or gives no clear answer.
        """
        if b"\0" in password:  # no string of IMAP can have it
            return REFUSED
        return Verdict(True) if self._threads.call(self._ask, login.encode(), password) else REFUSED

    def close(self) -> None:
        """Nothing stays open between logins."""

    def _ask(self, name: bytes, password: bytes) -> bool:
        """One login; runs in a thread."""
        deadline_s = time.monotonic() + self._timeout_s
        where = f"rimap: {RemoteHost(self._host, self._port)}"
        try:
            connection = socket.create_connection((self._host, self._port), self._timeout_s)
            dialogue = Dialogue(connection, self._tls, deadline_s)
            try:
                return dialogue.login(name, password)
            finally:
                for each in (dialogue.connection, connection):
                    with contextlib.suppress(OSError):
                        each.close()
        except Unavailable as error:
            raise Unavailable(f"{where} {error}") from None
        except OSError as error:
            raise Unavailable(f"{where}: {error.strerror or error}") from None


def _make(sources: Sources) -> RemoteImap:
    settings = sources.settings
    if settings.authproxy_rimap_host is None:
        raise Invalid("authproxy-rimap-host: is needed by the mechanism rimap")
    # Python's resolver needs this one, which is imported at the first name otherwise.
    "".encode("idna")
    return RemoteImap(settings.authproxy_rimap_host, settings.authproxy_rimap_tls, sources.start_tls)


DRIVER = Driver(_make)
