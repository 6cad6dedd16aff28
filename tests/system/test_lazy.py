"""Nothing is imported once a daemon has given up its rights: its library may be out of reach by then."""

from __future__ import annotations

import imaplib
import poplib

import pytest

from tests.kit.instance import PASSWORD, Instance

pytestmark = pytest.mark.system

MESSAGE = (
    b"From: =?iso-8859-15?Q?Andr=E9?= <andre@example.org>\r\nTo: joe@example.org\r\n"
    b"Subject: =?koi8-r?B?8NLJ18XU?=\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=shift_jis\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\ngrGC8YLJgr+CzQ==\r\n"
)


def test_nothing_is_imported_after_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    with Instance(workers=1) as instance:
        instance.deliver("joe", MESSAGE)
        instance.deliver("joe", MESSAGE + b"x" * 70 + b"\r\n" * 6000)
        imap = imaplib.IMAP4(*instance.imap_address)
        with pytest.raises(imaplib.IMAP4.error):
            imap.login("joe", "wrong")
        imap.login("joe", PASSWORD)
        imap.create("p&AOQA5A-")
        imap.append("INBOX", "(keyword)", None, MESSAGE)  # type: ignore[arg-type]
        imap.select()
        for charset in ("utf-8", "iso-8859-15", "koi8-r"):
            assert imap.search(charset, "BODY", '"x"', "SENTSINCE", "1-Jan-2000")[0] == "OK"
        assert imap.fetch("1:*", "(ENVELOPE BODYSTRUCTURE BODY.PEEK[1] RFC822.SIZE INTERNALDATE)")[0] == "OK"
        imap.copy("1:2", "p&AOQA5A-")
        imap.store("1", "+FLAGS", "\\Deleted")
        imap.expunge()
        imap.logout()
        pop3 = poplib.POP3(*instance.pop3_address)
        pop3.user("joe")
        pop3.pass_(PASSWORD)
        assert pop3.retr(1)[1]
        pop3.quit()
        logs = set((instance.ms_path / "log").glob("*.log")) - {instance.ms_path / "log" / "msadm.log"}
        assert len(logs) > 3
        for path in logs:
            _, ready, after = path.read_text().partition("event=started")
            assert ready, path
            late = [
                line.rsplit("|", 1)[1].strip()
                for line in after.splitlines()
                if line.startswith("import time:")
            ]
            assert late == [], f"{path.name}: imported too late: {late}"
