"""The file etc/nologin, as POP3 clients see it."""

import pytest

from mstore.pop3.session import Session
from tests.kit.mailhost import MailHost
from tests.kit.scripted import converse


def test_nologin_turns_everybody_away(host: MailHost) -> None:
    host.settings.nologin_path.write_text("back at noon\nsecond line\n")
    said = converse(Session, host.service(), b"USER joe\r\nPASS secret\r\n")
    assert said == b"-ERR [ALERT] back at noon\r\n"


@pytest.mark.parametrize("password", [b"secret", b"wrong"])
def test_nologin_turns_away_who_was_connected_already(host: MailHost, password: bytes) -> None:
    with host.connected(Session) as client, client.makefile("rb") as lines:
        assert lines.readline().startswith(b"+OK ")
        host.settings.nologin_path.write_text("back at noon\n")
        host.authority.reachable = False  # Nobody is asked, so nothing is judged or made.
        client.sendall(b"USER joe\r\nPASS " + password + b"\r\n")
        assert lines.readline().startswith(b"+OK ")
        assert lines.read() == b"-ERR [ALERT] back at noon\r\n"
