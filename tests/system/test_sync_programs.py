"""Programs that keep a copy of an account in step with it, both ways: mbsync over STARTTLS, OfflineIMAP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.kit.instance import PASSWORD, Instance
from tests.kit.programs import (
    CERTIFICATE,
    flags_by_subject,
    mailboxes_of,
    maildir_messages,
    needs,
    run,
    secret_file,
    unix,
    with_attachment,
    with_tls,
    without_header,
)

UMLAUTS = "Entw&APw-rfe &- mehr"
JAPANESE = "&ZeVnLIqe-"


class Copy:
    """A tree of Maildirs that a program keeps."""

    def __init__(self, path: Path, marks: tuple[bytes, ...]) -> None:
        self.path = path
        self._marks = marks
        path.mkdir()

    def file_of(self, text: bytes, mailbox: str = "") -> Path:
        """The file of a message."""
        for file in maildir_messages(self.path / mailbox):
            if without_header(file.read_bytes(), *self._marks) == unix(text):
                return file
        raise AssertionError(f"not in the copy of {mailbox or 'anything'}")

    def subjects(self, mailbox: str) -> set[str]:
        """The subjects of a mailbox's messages."""
        lines = (
            line
            for file in maildir_messages(self.path / mailbox)
            for line in file.read_bytes().splitlines()
            if line.startswith(b"Subject: ")
        )
        return {line[9:].decode() for line in lines}

    def mark(self, text: bytes, mailbox: str, flags: str) -> None:
        """Give a message these flags, and move it out of ``new``."""
        file = self.file_of(text, mailbox)
        name = file.name.split(":2,")[0]
        file.rename(file.parent.parent / "cur" / f"{name}:2,{flags}")

    def add(self, text: bytes, mailbox: str) -> None:
        """A new message, in a Maildir that is made if need be."""
        for part in ("cur", "new", "tmp"):
            (self.path / mailbox / part).mkdir(parents=True, exist_ok=True)
        (self.path / mailbox / "new" / "1700000000.1_1.test").write_bytes(unix(text))

    def state(self) -> list[str]:
        """All names: they carry the flags."""
        return [str(file.relative_to(self.path)) for file in maildir_messages(self.path)]


def fill(store: Instance) -> None:
    """Twelve messages in INBOX, three in a mailbox with umlauts, two in one of Japanese signs."""
    client = store.imap("joe")
    client.append_all([with_attachment(number) for number in range(12)], False)
    for name, numbers in ((UMLAUTS, range(20, 23)), (JAPANESE, range(30, 32))):
        client.command(b'CREATE "%b"' % name.encode())
        client.append_all([with_attachment(number) for number in numbers], False, f'"{name}"')
    client.logout()


def change_both_sides(store: Instance, copy: Copy, names: dict[str, str]) -> None:
    """Flags, removals, messages and mailboxes, on the server and in the copy."""
    client = store.imap("joe")
    client.select()
    client.command(b"STORE 1:3 +FLAGS.SILENT (\\Seen \\Answered)")
    client.command(b"STORE 4 +FLAGS.SILENT (\\Deleted)")
    client.command(b"EXPUNGE")
    client.append(with_attachment(40))
    client.command(b'CREATE "from the server"')
    client.append(with_attachment(41), '"from the server"')
    client.logout()
    copy.mark(with_attachment(8), "INBOX", "FS")
    copy.file_of(with_attachment(9), "INBOX").unlink()
    copy.add(with_attachment(50), "INBOX")
    copy.mark(with_attachment(20), names[UMLAUTS], "RS")
    copy.add(with_attachment(51), names["from the copy"])


def assert_same(store: Instance, copy: Copy, names: dict[str, str]) -> None:
    """Both sides have what each of them had changed."""
    expected = {
        "INBOX": {f"attachment {number}" for number in (0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 40, 50)},
        UMLAUTS: {"attachment 20", "attachment 21", "attachment 22"},
        JAPANESE: {"attachment 30", "attachment 31"},
        "from the server": {"attachment 41"},
        "from the copy": {"attachment 51"},
    }
    assert mailboxes_of(store) == set(expected)
    for name, subjects in expected.items():
        flags = flags_by_subject(store, f'"{name}"')
        assert (name, set(flags)) == (name, subjects)
        assert (name, copy.subjects(names.get(name, name))) == (name, subjects)
        if name == "INBOX":
            assert flags["attachment 8"] == {"\\Seen", "\\Flagged"}
            assert flags["attachment 1"] == {"\\Seen", "\\Answered"}
        if name == UMLAUTS:
            assert flags["attachment 20"] == {"\\Seen", "\\Answered"}
    assert copy.file_of(with_attachment(2), "INBOX").name.endswith(":2,RS")
    copy.file_of(with_attachment(41), "from the server")


@needs("mbsync")
def test_mbsync_over_starttls_carries_changes_both_ways(make_store: Callable[..., Instance]) -> None:
    store = with_tls(make_store)
    fill(store)
    copy = Copy(store.path / "copy", (b"x-tuid:",))
    rc = secret_file(
        store.path / "mbsyncrc",
        f"IMAPStore store\nHost localhost\nPort {store.imap_address[1]}\nUser joe\nPass {PASSWORD}\n"
        f"SSLType STARTTLS\nCertificateFile {CERTIFICATE}\nAuthMechs LOGIN\n\n"
        f"MaildirStore local\nPath {copy.path}/\nInbox {copy.path}/INBOX\nSubFolders Verbatim\n\n"
        "Channel all\nFar :store:\nNear :local:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\n"
        f"Sync All\nSyncState {copy.path}/.state-\n",
    )
    def sync() -> None:
        run("mbsync", "-c", str(rc), "-a", home=store.path)

    sync()
    names = {"from the copy": "from the copy", UMLAUTS: UMLAUTS, JAPANESE: JAPANESE}
    if (copy.path / "日本語").exists():  # mbsync 1.5
        names.update({UMLAUTS: "Entwürfe & mehr", JAPANESE: "日本語"})
    assert len(copy.state()) == 17 and copy.subjects(names[JAPANESE]) == {"attachment 30", "attachment 31"}
    change_both_sides(store, copy, names)
    sync()
    assert_same(store, copy, names)
    before = copy.state()
    sync()
    assert copy.state() == before
    assert_same(store, copy, names)
    store.stop()


@needs("offlineimap")
def test_offlineimap_carries_changes_both_ways(store: Instance) -> None:
    fill(store)
    copy = Copy(store.path / "copy", (b"x-offlineimap:",))
    rc = secret_file(
        store.path / "offlineimaprc",
        f"[general]\naccounts = joe\nmetadata = {store.path}/state\n\n"
        "[Account joe]\nlocalrepository = copy\nremoterepository = store\n\n"
        f"[Repository copy]\ntype = Maildir\nlocalfolders = {copy.path}\n\n"
        f"[Repository store]\ntype = IMAP\nremotehost = 127.0.0.1\nremoteport = {store.imap_address[1]}\n"
        f"remoteuser = joe\nremotepass = {PASSWORD}\nssl = no\nstarttls = no\n"
        "auth_mechanisms = PLAIN, LOGIN\ncreatefolders = yes\n",
    )
    names: dict[str, str] = {"from the copy": "from the copy", UMLAUTS: UMLAUTS}

    def sync() -> None:
        run("offlineimap", "-c", str(rc), "-1", "-u", "basic", home=store.path)

    sync()
    assert len(copy.state()) == 17 and copy.subjects(JAPANESE) == {"attachment 30", "attachment 31"}
    change_both_sides(store, copy, names)
    sync()
    assert_same(store, copy, names)
    before = copy.state()
    sync()
    assert copy.state() == before
    assert_same(store, copy, names)
