"""neomutt in a terminal of its own, driven by keys: what it does must be on the server afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.instance import PASSWORD, Instance
from tests.kit.programs import (
    CERTIFICATE,
    flags_by_subject,
    mailboxes_of,
    needs,
    run_in_terminal,
    secret_file,
    unix,
    with_attachment,
    with_tls,
)


def settings(store: Instance, password: str = PASSWORD, authenticators: str = "login") -> Path:
    """A configuration that asks nothing and waits for nothing."""
    lines = [
        "set imap_user=joe",
        f"set imap_pass={password}",
        f"set imap_authenticators='{authenticators}'",
        "set ssl_starttls=yes",
        "set ssl_force_tls=yes",
        f"set certificate_file={CERTIFICATE}",
        f"set folder=imap://localhost:{store.imap_address[1]}/",
        f"set spoolfile=imap://localhost:{store.imap_address[1]}/INBOX",
        "set record=''",
        "set quit=yes",
        "set delete=yes",
        "set confirmappend=no",
        "set confirmcreate=no",
        "set auto_tag=yes",
        "set sleep_time=0",
        "set wait_key=no",
        "set mark_old=no",
        "set resolve=no",
        "set sort=mailbox-order",
        "set pipe_decode=no",
        "set mail_check=1",
        "set imap_idle=yes",
        "set imap_condstore=yes",
        "set imap_qresync=yes",
        "set imap_check_subscribed=no",
        f"set header_cache={store.path}/cache",
    ]
    return secret_file(store.path / "neomuttrc", "\n".join(lines) + "\n")


@needs("neomutt")
def test_neomutt_reads_flags_moves_and_deletes(make_store: Callable[..., Instance]) -> None:
    store = with_tls(make_store)
    client = store.imap("joe")
    client.append_all([with_attachment(number) for number in range(8)], False)
    client.command(b"CREATE Archive")
    rc, piped = settings(store), store.path / "piped"

    def neomutt(keys: str) -> None:
        run_in_terminal("neomutt", "-n", "-F", str(rc), "-e", f"push '{keys}'", home=store.path)

    neomutt(
        "<jump>1<enter><display-message><exit>"
        "<jump>2<enter><flag-message>"
        "<jump>3<enter><save-message>=Archive<enter>"
        "<jump>4<enter><delete-message>"
        f"<jump>5<enter><pipe-message>cat >{piped}<enter>"
        "<jump>6<enter><copy-message>=Copies<enter>"
        "<sync-mailbox>"
        "<change-folder>=Archive<enter><jump>1<enter><display-message><exit><quit>"
    )
    assert piped.read_bytes() == unix(with_attachment(4))
    assert mailboxes_of(store) == {"INBOX", "Archive", "Copies"}
    inbox = flags_by_subject(store, "INBOX")
    assert set(inbox) == {f"attachment {number}" for number in (0, 1, 4, 5, 6, 7)}
    assert "\\Seen" in inbox["attachment 0"] and "\\Flagged" in inbox["attachment 1"]
    assert "\\Seen" not in inbox["attachment 6"]
    assert set(flags_by_subject(store, "Archive")) == {"attachment 2"}
    assert set(flags_by_subject(store, "Copies")) == {"attachment 5"}

    # A second run resumes from the cache: QRESYNC tells it what has changed since.
    client.select()
    client.command(b"STORE 1 +FLAGS.SILENT (\\Answered)")
    client.command(b"STORE 2 +FLAGS.SILENT (\\Deleted)")
    client.command(b"EXPUNGE")
    client.append(with_attachment(9))
    neomutt(
        "<tag-pattern>~s attachment<enter><tag-prefix><set-flag>!"
        "<untag-pattern>.<enter><search>attachment 9<enter>"
        f"<pipe-message>cat >{piped}<enter><quit>"
    )
    assert piped.read_bytes() == unix(with_attachment(9))
    inbox = flags_by_subject(store, "INBOX")
    assert set(inbox) == {f"attachment {number}" for number in (0, 4, 5, 6, 7, 9)}
    assert all("\\Flagged" in flags for flags in inbox.values()), inbox
    assert "\\Answered" in inbox["attachment 0"]
    store.stop()


@needs("neomutt")
@pytest.mark.parametrize(
    ("options", "mechanism"),
    [
        ([], "PLAIN"),
        # It asks GNU SASL where PLAIN does not work. What that likes best there is bound to the channel,
        # for which this version of neomutt has no data: it would go on to LOGIN.
        (["sasl-enable-plain off", "sasl-enable-scram-sha-256-plus off"], "SCRAM-SHA-256"),
    ],
)
def test_neomutt_logs_in_by_sasl(
    make_store: Callable[..., Instance], options: list[str], mechanism: str
) -> None:
    """It is told no mechanism; what it takes must work with the password and with an app password."""
    store = with_tls(make_store, options=options)
    store.imap("joe").append(with_attachment(1))
    app = store.msadm("user", "app-password", "add", "joe", "mutt").stdout.strip()
    for password in (PASSWORD, app):
        rc, piped = settings(store, password, ""), store.path / "piped"
        keys = f"<jump>1<enter><pipe-message>cat >{piped}<enter><quit>"
        run_in_terminal("neomutt", "-n", "-F", str(rc), "-e", f"push '{keys}'", home=store.path)
        assert piped.read_bytes() == unix(with_attachment(1))
        piped.unlink()
        said = (store.ms_path / "log" / "imapd.log").read_text()
        assert re.findall(r"event=login .*mechanism=(\S+)", said)[-1] == mechanism
    assert re.search("event=app-password-used .*user=joe label=mutt ", store.log_text())
    store.tolerated.append("event=login-failed")
    store.stop()
