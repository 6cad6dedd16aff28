"""What a connection is trusted with by where it comes from: clear text, and mail without a login."""

import socket
from typing import Any

import pytest

from mstore.base.options import Settings
from mstore.base.values import CLEARTEXT, Where
from mstore.net.service import Service, Tally
from workers.listeners import Listener
from workers.worker import Kind, make_sessions


@pytest.mark.parametrize(
    ("word", "near", "far"),
    [("on", True, True), ("off", False, False), ("loopback", True, False), ("1", True, True)],
)
def test_only_loopback_is_looked_into(word: str, near: bool, far: bool) -> None:
    nothing: Any = None
    settings = Settings(cleartext_login_enable=CLEARTEXT.parse([word]))
    service = Service(settings, nothing, nothing, nothing, None, Tally())
    seen: list[Service] = []

    def session(stream: object, given: Service) -> Any:
        seen.append(given)

    kind = Kind("imapd", "", session, nothing)
    make = make_sessions(kind, service)
    for peer in ("127.0.0.1", "::ffff:127.0.0.1", "192.0.2.1", "2001:db8::1"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            make(ours, peer, Listener(theirs))
    allowed = [given.settings.cleartext_login_enable for given in seen]
    assert list(map(bool, allowed)) == [near, near, far, far]
    # Few services: what follows from one is kept.
    assert len(set(map(id, seen))) == (2 if word == "loopback" else 1)


@pytest.mark.parametrize(("role", "trusted", "over_quota"), [
    ("", False, False), ("lmtpd", True, False), ("lmtpd-oq", True, True),
])  # fmt: skip
def test_only_who_comes_by_a_unix_socket_is_trusted(role: str, trusted: bool, over_quota: bool) -> None:
    nothing: Any = None
    service = Service(Settings(), nothing, nothing, nothing, None, Tally())
    seen: list[Service] = []
    make = make_sessions(Kind("lmtpd", "", lambda stream, given: seen.append(given), nothing), service)  # type: ignore[arg-type,func-returns-value]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        make(ours, "127.0.0.1", Listener(theirs, role=role))
    assert [(each.trusted, each.over_quota) for each in seen] == [(trusted, over_quota)]


def test_what_has_not_been_looked_into_is_no() -> None:
    assert not Where.LOOPBACK
    assert CLEARTEXT.show(Where.LOOPBACK) == "loopback" and CLEARTEXT.show(True) == "on"
    with pytest.raises(ValueError, match="nor loopback"):
        CLEARTEXT.parse(["maybe"])
    with pytest.raises(ValueError, match="needs a value"):
        CLEARTEXT.parse([])
