"""Other people's clients: the standard library's, curl, mbsync and fetchmail."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import statistics
import subprocess
import time
from pathlib import Path

import pytest

from tests.kit.instance import PASSWORD, Instance
from tests.kit.programs import needs, run, unix, with_attachment


def test_the_standard_library_reads_what_smtplib_delivered(store: Instance) -> None:
    text = with_attachment(1)
    with smtplib.LMTP(str(store.lmtp_path)) as lmtp:
        assert lmtp.sendmail("zoe@test.example", ["joe@test.example"], text) == {}
    imap = imaplib.IMAP4(*store.imap_address)
    assert imap.login("joe", PASSWORD)[0] == "OK"
    assert imap.select()[1] == [b"1"]
    assert imap.search(None, "SUBJECT", '"attachment 1"')[1] == [b"1"]
    data = imap.fetch("1", "(FLAGS RFC822)")[1]
    assert data[0] is not None and data[0][1].endswith(text)  # type: ignore[union-attr]
    whole = data[0][1]  # type: ignore[index]
    imap.logout()
    pop = poplib.POP3(*store.pop3_address)
    pop.user("joe")
    pop.pass_(PASSWORD)
    assert pop.stat() == (1, len(whole))
    assert b"\r\n".join(pop.retr(1)[1]) + b"\r\n" == whole
    assert pop.uidl(1).startswith(b"+OK 1 ")
    pop.dele(1)
    pop.quit()
    imap = imaplib.IMAP4(*store.imap_address)
    imap.login("joe", PASSWORD)
    assert imap.select()[1] == [b"0"]
    imap.logout()


@needs("curl")
def test_curl_reads_a_message_and_lists_mailboxes(store: Instance) -> None:
    text = with_attachment(2)
    store.deliver("joe", text)
    base = f"imap://127.0.0.1:{store.imap_address[1]}"
    read = run("curl", "-s", "--user", f"joe:{PASSWORD}", f"{base}/INBOX;UID=1")
    assert read.endswith(text)
    assert b"INBOX" in run("curl", "-s", "--user", f"joe:{PASSWORD}", base + "/")
    pop = f"pop3://127.0.0.1:{store.pop3_address[1]}/1"
    assert run("curl", "-s", "--user", f"joe:{PASSWORD}", pop).endswith(text)
    upload = store.path / "upload"
    upload.write_bytes(with_attachment(3))
    run("curl", "-s", "--user", f"joe:{PASSWORD}", "-T", str(upload), f"{base}/INBOX")
    client = store.imap("joe")
    assert client.select() == 2 and client.bodies()[1] == with_attachment(3)
    client.logout()


@needs("mbsync")
@pytest.mark.timeout(900)
def test_mbsync_mirrors_an_account_both_ways(store: Instance) -> None:
    mirror = Mirror(store)
    client = store.imap("joe")
    mailboxes = {"INBOX": 600, "Archive": 250, "Archive/Entwürfe & mehr": 150}
    names = {"Archive/Entwürfe & mehr": '"Archive/Entw&APw-rfe &- mehr"'}
    number = 0
    for name, count in mailboxes.items():
        if name != "INBOX":
            client.command(b"CREATE " + names.get(name, name).encode())
        texts = [with_attachment(number + i) for i in range(count)]
        number += count
        client.append_all(texts, False, names.get(name, name))
    mirror.sync()
    assert mirror.contents() == sorted(unix(with_attachment(n)) for n in range(1000))

    # Now both sides change: the second run carries it over, the third has nothing to do.
    client.select()
    client.command(b"STORE 1:50 +FLAGS.SILENT (\\Seen \\Flagged)")
    client.command(b"STORE 51:60 +FLAGS.SILENT (\\Deleted)")
    client.command(b"EXPUNGE")
    mirror.add_local("INBOX", unix(with_attachment(5000)))
    mirror.delete_local(with_attachment(700))
    mirror.sync()
    assert client.select("INBOX") == 591
    assert unix(with_attachment(5000)) in [_without_mark(unix(body)) for body in client.bodies()]
    assert unix(with_attachment(700)) not in mirror.contents()
    assert client.select("Archive") == 249
    assert sum("FS" in path.name.split("2,")[-1] for path in mirror.files()) == 50
    before = mirror.state(), _server_state(store, [names.get(n, n) for n in mailboxes])
    mirror.sync()
    assert (mirror.state(), _server_state(store, [names.get(n, n) for n in mailboxes])) == before
    client.logout()


@needs("fetchmail")
@pytest.mark.parametrize("protocol", ["POP3", "IMAP"])
def test_fetchmail_takes_everything_once(store: Instance, protocol: str) -> None:
    texts = [with_attachment(n) for n in range(25)]
    for text in texts:
        store.deliver("joe", text)
    address = store.pop3_address if protocol == "POP3" else store.imap_address
    taken = store.path / "taken"
    rc = store.path / "fetchmailrc"
    rc.write_text(
        f"poll 127.0.0.1 protocol {protocol} port {address[1]} auth password "
        f'user "joe" password "{PASSWORD}" '
        f"sslproto '' no keep fetchall mda \"cat >>{taken}; echo =END= >>{taken}\"\n"
    )
    rc.chmod(0o600)
    home = {"FETCHMAILHOME": str(store.path), "PATH": "/usr/bin:/bin", "HOME": str(store.path)}
    done = subprocess.run(
        ["fetchmail", "-f", str(rc), "--nosyslog", "--pidfile", str(store.path / "fm.pid"), "-v"],
        env=home,
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    messages = taken.read_bytes().split(b"=END=\n")[:-1]
    assert len(messages) == 25
    for text, got in zip(texts, messages, strict=True):
        assert got.endswith(unix(text).partition(b"\n\n")[2]), got[:500]
    client = store.imap("joe")
    assert client.select() == 0
    client.logout()


class Mirror:
    """An mbsync channel between the store's joe and a Maildir tree."""

    def __init__(self, store: Instance) -> None:
        self.path = store.path / "mirror"
        self.path.mkdir()
        self._rc = store.path / "mbsyncrc"
        self._rc.write_text(
            f"IMAPStore store\nHost 127.0.0.1\nPort {store.imap_address[1]}\nUser joe\nPass {PASSWORD}\n"
            "SSLType None\nAuthMechs LOGIN\n\n"
            f"MaildirStore local\nPath {self.path}/\nInbox {self.path}/INBOX\nSubFolders Verbatim\n\n"
            f"Channel all\nFar :store:\nNear :local:\nPatterns *\nCreate Both\nExpunge Both\nSync All\n"
            f"SyncState {self.path}/.state-\n"
        )

    def sync(self) -> None:
        done = subprocess.run(
            ["mbsync", "-c", str(self._rc), "-a"],
            capture_output=True,
            timeout=600,
            env={"HOME": str(self.path)},
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]

    def files(self) -> list[Path]:
        return [path for path in self.path.rglob("*") if path.parent.name in ("cur", "new")]

    def contents(self) -> list[bytes]:
        return sorted(_without_mark(path.read_bytes()) for path in self.files())

    def state(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.files())

    def add_local(self, name: str, text: bytes) -> None:
        (self.path / name / "new" / "1700000000.1_1.test").write_bytes(text)

    def delete_local(self, text: bytes) -> None:
        wanted = unix(text)
        for path in self.files():
            if _without_mark(path.read_bytes()) == wanted:
                path.unlink()
                return
        raise AssertionError("not in the mirror")


def _server_state(store: Instance, mailboxes: list[str]) -> list[bytes]:
    client, answers = store.imap("joe"), []
    for name in mailboxes:
        client.select(name)
        answers += sorted(
            line for line in client.command(b"FETCH 1:* (UID FLAGS)").splitlines() if b"FETCH" in line
        )
    client.logout()
    return [line.replace(b" \\Recent", b"").replace(b"\\Recent", b"") for line in answers]


def _without_mark(text: bytes) -> bytes:
    """A message without the header by which mbsync knows its copies."""
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"X-TUID:"))


def test_a_client_that_sends_its_literals_in_small_pieces_is_not_kept_waiting(store: Instance) -> None:
    """imaplib sends the line end behind a literal by itself, and its system holds that back until it hears of
    the literal: 40 ms for each message, unless that is acknowledged at once. Beside it is one that sends both
    together, since a disk or a machine that is busy delays either."""
    client, together = imaplib.IMAP4(*store.imap_address, timeout=30), store.imap("joe")
    client.login("joe", PASSWORD)
    longer = []
    for number in range(50):
        text = with_attachment(number)
        began = time.monotonic()
        assert client.append("INBOX", "", "", text)[0] == "OK"
        between = time.monotonic()
        together.send(b"x APPEND INBOX {%d}\r\n" % len(text))
        assert together.line().startswith(b"+ ")
        together.send(text + b"\r\n")
        assert together.line().startswith(b"x OK ")
        longer.append(between - began - (time.monotonic() - between))
    assert statistics.median(longer) < 0.03, longer
    for each in (client, together):
        each.logout()
