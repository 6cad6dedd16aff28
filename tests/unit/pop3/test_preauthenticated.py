"""Sessions that administrators have: they begin in a user's maildrop (``msadm talk``)."""

from __future__ import annotations

from mstore.net.stream import Stream
from mstore.pop3.session import Session
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport
from tests.unit.pop3.test_session import FIRST, fill


def test_a_session_begun_as_somebody_is_in_his_maildrop_or_ends(host: MailHost) -> None:
    fill(host, FIRST)
    for user, expected in (("joe", b"+OK maildrop has 1 message"), ("nobody", b"-ERR [AUTH] ")):
        transport = ScriptedTransport([b"STAT\r\n"])
        session = Session(Stream(transport), host.service())
        session.preauthenticate(user)
        session.run()
        first, _, rest = transport.said.partition(b"\r\n")
        assert first.startswith(expected)
        assert rest == (b"+OK 1 %d\r\n" % len(FIRST) if user == "joe" else b"")
