"""cleartext-login-enable: who may send a password without TLS, by where a connection comes from."""

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


def test_what_has_not_been_looked_into_is_no() -> None:
    assert not Where.LOOPBACK
    assert CLEARTEXT.show(Where.LOOPBACK) == "loopback" and CLEARTEXT.show(True) == "on"
    with pytest.raises(ValueError, match="nor loopback"):
        CLEARTEXT.parse(["maybe"])
    with pytest.raises(ValueError, match="needs a value"):
        CLEARTEXT.parse([])
