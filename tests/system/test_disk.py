"""Trouble with the disk, through real daemons and clients: every client gets a clear answer, nothing that was
acknowledged is lost, and service is back when the trouble is over, without anybody's help.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.clients import Line
from bench.corpus import message
from tests.kit.clients import Imap, WrongAnswer
from tests.kit.instance import SERVICES, Instance, runtime_user, wait_for

Make = Callable[..., Instance]
WORDS = re.compile(r"No space|Read-only|File too large|Too many open files|unable to open database")


def lmtp_answer(store: Instance, user: str, text: bytes) -> bytes:
    """The reply to one delivery, whatever it is."""
    client = store.lmtp()
    client.send(b"MAIL FROM:<>\r\nRCPT TO:<%s>\r\nDATA\r\n" % user.encode())
    replies = [client.line() for _ in range(3)]
    if not replies[2].startswith(b"354"):
        client.close()
        return replies[1] if replies[1][:1] != b"2" else replies[2]
    client.send(text + b".\r\n")
    answer = client.line()
    client.close()
    return answer


def answer(client: Imap, command: bytes) -> bytes:
    """The last line of the answer to a command, without its tag."""
    tag = client.start(command)
    lines = client.until(tag + b" ").splitlines()
    return lines[-1].split(b" ", 1)[1]


def append(client: Imap, text: bytes, mailbox: bytes = b"INBOX") -> bytes:
    """The answer to an APPEND."""
    return answer(client, b"APPEND %s {%d+}\r\n%s" % (mailbox, len(text), text))


def numbers_in(store: Instance, user: str, mailbox: str = "INBOX") -> list[int]:
    """The numbers of all messages of a mailbox, each compared with what was sent."""
    client = store.imap(user)
    count = client.select(mailbox)
    bodies = client.bodies() if count else []
    client.logout()
    found = []
    for body in bodies:
        number, size = map(int, re.search(rb"<(\d+)\.(\d+)@bench", body).groups())  # type: ignore[union-attr]
        assert body.endswith(message(number, size))
        found.append(number)
    return found


def set_limit(pid: int, what: int, limit: tuple[int, int]) -> tuple[int, int]:
    """Set a limit of another process, as its user; gives what it was."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                user = runtime_user()
                os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
                os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
            _, hard = resource.prlimit(pid, what)
            before = resource.prlimit(pid, what, (limit[0], hard))
            os.write(writer, b"%d %d" % before)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        soft, hard = map(int, file.read().split())
    return soft, hard


@contextmanager
def limited(what: int, limit: int, *pids: int) -> Iterator[None]:
    """Lower a limit of other processes for a while."""
    before = [(pid, set_limit(pid, what, (limit, 0))) for pid in pids]
    try:
        yield
    finally:
        for pid, was in before:
            set_limit(pid, what, was)


class Disk:
    """A file system of its own beneath the mail of an instance."""

    def __init__(self, store: Instance, size: str) -> None:
        self.path = store.mail_path
        self._mount("-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs")
        user = runtime_user()
        os.chown(self.path, user.pw_uid, user.pw_gid)

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments, str(self.path)], check=True, capture_output=True)

    def grow(self, size: str) -> None:
        """Make it larger."""
        self._mount("-o", f"remount,size={size}")

    def allow_writing(self, allowed: bool) -> None:
        """Make it read-only, or writable."""
        self._mount("-o", f"remount,{'rw' if allowed else 'ro'}")

    def free_bytes(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_bsize

    def remove(self) -> None:
        """Unmount it, whoever uses it."""
        subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)


@pytest.fixture
def on_disk(make_store: Make) -> Iterator[Callable[[str], tuple[Instance, Disk]]]:
    """Makes instances whose mail lies on a small file system."""
    disks: list[Disk] = []

    def make(size: str) -> tuple[Instance, Disk]:
        store = make_store(["joe", "ann"], workers=1)
        try:
            disks.append(Disk(store, size))
        except (subprocess.CalledProcessError, FileNotFoundError, PermissionError):
            pytest.skip("no file system can be mounted here")
        return store, disks[-1]

    yield make
    for disk in disks:
        disk.remove()


def test_a_full_disk_and_then_a_larger_one(on_disk: Callable[[str], tuple[Instance, Disk]]) -> None:
    store, disk = on_disk("3m")
    store.tolerated.append(WORDS.pattern)
    store.start()
    reader = store.imap("ann")
    reader.append(message(500_000, 3000))
    reader.select()
    held: list[int] = []
    for number in range(1, 400):
        reply = lmtp_answer(store, "joe", message(number, 40_000))
        if not reply.startswith(b"250"):
            break
        held.append(number)
    assert reply.startswith(b"452 4.3.1 "), reply
    # what needs little room may still fit; all else is refused in words, and reading goes on
    writer = store.imap("joe")
    reply = append(writer, message(600_000, 60_000))
    assert reply.startswith(b"NO [") and b"space" in reply, reply
    tiny, refused = list[int](), b""
    for number in range(700_000, 702_000):
        refused = append(writer, message(number, 1500))
        if not refused.startswith(b"OK"):
            break
        tiny.append(number)
    assert refused.startswith(b"NO [") and b"space" in refused, refused
    assert writer.select() == len(held) + len(tiny)
    for command in (b"STORE 1 +FLAGS (\\Flagged)", b"STORE 1 +FLAGS (new-keyword)", b"CREATE box", b"NOOP"):
        assert answer(writer, command)[:2] in (b"OK", b"NO")
    assert b"BODY[]" in reader.command(b"FETCH 1 BODY.PEEK[]")
    pop = store.pop3("joe")
    assert pop.many(b"RETR 1").endswith(message(1, 40_000)[-200:])
    pop.command(b"QUIT")
    assert numbers_in(store, "joe") == held + tiny

    disk.grow("40m")
    assert lmtp_answer(store, "joe", message(800_000, 40_000)).startswith(b"250")
    assert append(writer, message(800_001, 60_000)).startswith(b"OK")
    assert answer(writer, b"STORE 1 +FLAGS (\\Flagged)").startswith(b"OK")
    assert append(reader, message(800_002, 4000)).startswith(b"OK")
    assert numbers_in(store, "joe") == [*held, *tiny, 800_000, 800_001]
    assert numbers_in(store, "ann") == [500_000, 800_002]
    reader.logout()
    writer.logout()
    store.stop()


def test_a_read_only_disk(on_disk: Callable[[str], tuple[Instance, Disk]]) -> None:
    store, disk = on_disk("20m")
    store.tolerated.append(WORDS.pattern)
    store.start()
    for number in range(1, 4):
        store.deliver("joe", message(number, 3000))
    store.stop()
    store.start()  # the daemons do not start on a disk that they cannot write
    disk.allow_writing(False)
    try:
        assert re.match(rb"45[12] 4\.3\.[01] ", reply := lmtp_answer(store, "joe", message(4, 3000))), reply
        assert re.match(rb"45[12] 4\.3\.[01] ", reply := lmtp_answer(store, "ann", message(5, 3000))), reply
        client = store.imap("joe")
        assert client.select() == 3
        assert b"BODY[]" in client.command(b"FETCH 2 BODY[]")
        commands = (
            b"STORE 1 +FLAGS (\\Deleted)",
            b"COPY 1 INBOX",
            b"CREATE box",
            b"SUBSCRIBE x",
        )
        for command in commands:
            reply = answer(client, command)
            assert reply.startswith(b"NO [") and b"Read-only" in reply, reply
        assert append(client, message(6, 3000)).startswith(b"NO [")
        assert answer(client, b"NOOP").startswith(b"OK")
        with pytest.raises(WrongAnswer, match=r"-ERR \[SYS/TEMP\]"):
            store.pop3("joe")  # the maildrop cannot be locked
    finally:
        disk.allow_writing(True)
    assert answer(client, b"STORE 1 +FLAGS (\\Flagged)").startswith(b"OK")
    assert append(client, message(7, 3000)).startswith(b"OK")
    assert lmtp_answer(store, "joe", message(8, 3000)).startswith(b"250")
    assert lmtp_answer(store, "ann", message(9, 3000)).startswith(b"250")
    client.logout()
    assert numbers_in(store, "joe") == [1, 2, 3, 7, 8]
    store.stop()


def test_a_limit_on_the_size_of_files(make_store: Make) -> None:
    store = make_store(["joe"], workers=1)
    store.tolerated.append(WORDS.pattern)
    store.start()
    held, refusals = [1], set[bytes]()
    store.deliver("joe", message(1, 3000))
    client = store.imap("joe")
    client.select()
    pids = [store.worker_pids(service)[0] for service in SERVICES]
    with limited(resource.RLIMIT_FSIZE, 20_000, *pids):
        for number in range(2, 40):
            reply = lmtp_answer(store, "joe", message(number, 3000))
            if reply.startswith(b"250"):
                held.append(number)
            else:
                assert reply.startswith(b"452 4.3.1 "), reply
            reply = append(client, message(1000 + number, 2000))
            if reply.startswith(b"OK"):
                held.append(1000 + number)
            else:
                refusals.add(reply)
        assert refusals and all(reply.startswith(b"NO [") and b"large" in reply for reply in refusals), (
            refusals
        )
        assert answer(client, b"STORE 1 +FLAGS (\\Seen)").startswith(b"OK")
        assert numbers_in(store, "joe") == held
    for number in range(50, 60):
        assert lmtp_answer(store, "joe", message(number, 3000)).startswith(b"250")
        assert append(client, message(1000 + number, 30_000)).startswith(b"OK")
        held += [number, 1000 + number]
    client.logout()
    assert numbers_in(store, "joe") == held
    store.stop()


def test_no_descriptors_left(make_store: Make) -> None:
    store = make_store(["joe", "ann"], workers=1)
    store.tolerated.append(WORDS.pattern + "|cannot-accept")
    store.start()
    store.deliver("joe", message(1, 3000))
    client, other = store.imap("joe"), store.imap("ann")
    client.command(b"CREATE box")
    client.select()
    imapd, lmtpd = (store.worker_pids(service)[0] for service in ("imapd", "lmtpd"))
    lmtp = store.lmtp()
    with limited(resource.RLIMIT_NOFILE, 3, imapd, lmtpd):
        for command in (b"SELECT box", b"STATUS box (MESSAGES)", b"CREATE second", b"SUBSCRIBE x"):
            reply = answer(client, command)
            assert reply.startswith(b"OK") or (reply.startswith(b"NO [") and b"open files" in reply), reply
        assert answer(other, b"SELECT INBOX")[:2] in (b"OK", b"NO")
        assert append(other, message(2, 3000))[:2] in (b"OK", b"NO")
        lmtp.send(b"MAIL FROM:<>\r\nRCPT TO:<ann>\r\nDATA\r\n")
        replies = [lmtp.line() for _ in range(3)]
        if replies[2].startswith(b"354"):
            lmtp.send(message(3, 3000) + b".\r\n")
            replies.append(lmtp.line())
        assert b"451 4.3.0 " in replies[-1] or replies[1].startswith(b"451 "), replies
        waiting = Line(store.imap_address)  # is accepted when there are descriptors again
    wait_for(lambda: waiting.line().startswith(b"* OK"), 30, lambda: "no greeting")
    waiting.close()
    lmtp.close()
    assert client.select("box") == 0
    assert append(client, message(4, 3000), b"box").startswith(b"OK")
    assert lmtp_answer(store, "ann", message(5, 3000)).startswith(b"250")
    assert 5 in numbers_in(store, "ann")
    try:
        client.logout()
        other.logout()
    except WrongAnswer as error:
        pytest.fail(str(error))
    store.stop()
