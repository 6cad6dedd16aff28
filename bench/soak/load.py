"""The clients of a soak: deliverers, IMAP readers and writers, POP3 clients; each goes on, whatever dies."""

from __future__ import annotations

import random
import re
import threading
import time

from bench.clients import Imap, Lmtp, Pop3, WrongAnswer
from bench.corpus import message
from bench.soak.ledger import BEGUN, GONE, HELD, SENT, Ledger
from tests.kit.instance import PASSWORD, Instance

MAILBOXES = ("INBOX", "work", "done")
LIMIT_S = 45.0
_SEEN = re.compile(rb"FETCH \(UID (\d+) .*?<(\d+)\.(\d+)@bench", re.DOTALL)
_VALIDITY = re.compile(rb"UIDVALIDITY (\d+)")
_CODE = re.compile(r"(NO|BAD|BYE|-ERR|45\d|55\d)( \[[A-Z/]+\]| [245]\.\d\.\d)?[^\\'\"]{,40}")
_MOST = 400
"""What a mailbox is kept to, about; so that much is removed, and its bytes are given back."""


class Client(threading.Thread):
    """One client that connects again whenever its connection is lost."""

    def __init__(self, store: Instance, ledger: Ledger, user: str, seed: str) -> None:
        super().__init__(daemon=True, name=f"{type(self).__name__} {user}")
        self.store, self.ledger, self.user = store, ledger, user
        self.random = random.Random(seed)
        self.ending = threading.Event()
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.ending.is_set():
                try:
                    self.session()
                except WrongAnswer as error:
                    found = _CODE.search(str(error))
                    self.ledger.refused(found[0] if found else str(error)[:60])
                except (OSError, TimeoutError) as error:
                    self.ledger.refused(type(error).__name__)
                time.sleep(self.random.uniform(0.01, 0.1))
        except BaseException as error:
            self.failed = error

    def session(self) -> None:
        """Connect, work for a while, leave."""
        raise NotImplementedError

    def turns(self) -> range:
        return range(self.random.randint(5, 60))

    def size(self) -> int:
        return self.random.choice(
            (900, 2000, 4000, 4000, 8000, 30_000 if self.random.random() < 0.7 else 300_000)
        )

    def make(self) -> tuple[int, bytes]:
        """A new message and its number."""
        size = self.size()
        number = self.ledger.number(size)
        return number, message(number, size)


class Deliverer(Client):
    """Hands messages over, to one user or to several."""

    def __init__(self, store: Instance, ledger: Ledger, users: list[str], seed: str) -> None:
        super().__init__(store, ledger, users[0], seed)
        self.users = users

    def session(self) -> None:
        client = Lmtp(self.store.lmtp_path, LIMIT_S)
        try:
            for _ in self.turns():
                if self.ending.is_set():
                    return
                users = self.users if self.random.random() < 0.2 else [self.random.choice(self.users)]
                number, text = self.make()
                for user in users:
                    self.ledger.note(SENT, user, number)
                self._deliver(client, users, number, text)
                time.sleep(0.004)
            client.quit()
        finally:
            client.close()

    def _deliver(self, client: Lmtp, users: list[str], number: int, text: bytes) -> None:
        rcpt = b"".join(b"RCPT TO:<%s>\r\n" % user.encode() for user in users)
        client.send(b"MAIL FROM:<s@bench.example>\r\n%sDATA\r\n" % rcpt)
        for _ in range(len(users) + 1):
            client.reply(b"250")
        client.reply(b"354")
        client.send(text + b".\r\n")
        refusal = None
        for user in users:
            try:
                client.reply(b"250")
                self.ledger.note(HELD, user, number)
            except WrongAnswer as error:
                refusal = error
        if refusal:
            raise refusal


class Reader(Client):
    """An IMAP client that appends, flags, moves, removes and reads."""

    def __init__(self, store: Instance, ledger: Ledger, user: str, seed: str, parity: int = 0) -> None:
        super().__init__(store, ledger, user, seed)
        self.parity = parity
        self.mailbox = ""
        self.validity = 0
        self.seen: dict[int, int] = {}
        """The numbers of the messages of the mailbox, by UID."""

    def session(self) -> None:
        self.client = client = Imap(self.store.imap_address, LIMIT_S)
        try:
            client.login(self.user, PASSWORD)
            self.select(self.random.choice(MAILBOXES))
            actions = (
                [self.append] * 3 + [self.flag] * 4 + [self.move] * 2 + [self.remove] * 3 + [self.read] * 2
            )
            for _ in self.turns():
                if self.ending.is_set():
                    break
                self.random.choice(actions)()
                if self.random.random() < 0.1:
                    self.select(self.random.choice(MAILBOXES))
            client.logout()
        finally:
            client.close()

    def select(self, mailbox: str) -> None:
        """Select, and look what is there."""
        self.mailbox = mailbox
        self.seen = {}
        answer = self.client.command(b"SELECT " + mailbox.encode())
        found = _VALIDITY.search(answer)
        assert found
        self.validity = int(found[1])
        self.look()

    def look(self) -> None:
        answer = self.client.command(b"UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        self.seen = {int(uid): int(number) for uid, number, _ in _SEEN.findall(answer)}
        self.ledger.saw(self.user, self.mailbox, self.validity, self.seen)

    def some(self, most: int) -> list[int]:
        count = min(len(self.seen), self.random.randint(1, most))
        return sorted(self.random.sample(sorted(self.seen), count))

    def append(self) -> None:
        number, text = self.make()
        self.ledger.note(SENT, self.user, number)
        self.client.append(text, self.mailbox)
        self.ledger.note(HELD, self.user, number)

    def flag(self) -> None:
        for uid in self.some(1):
            number, value = self.seen[uid], self.random.random() < 0.5
            if number % 2 != self.parity:
                return  # the other reader's: it could not be said whose change was last
            self.ledger.note_flag(self.user, number, None)
            answer = self.client.command(b"UID STORE %d %sFLAGS (\\Flagged)" % (uid, b"+" if value else b"-"))
            if b"FETCH" in answer:
                self.ledger.note_flag(self.user, number, value)

    def move(self) -> None:
        uids = self.some(4)
        if not uids:
            return
        target = self.random.choice([name for name in MAILBOXES if name != self.mailbox])
        self.ledger.moved |= {(self.user, self.seen[uid]) for uid in uids}
        self.client.command(b"UID COPY %s %s" % (_set(uids), target.encode()))
        self.client.command(b"UID STORE %s +FLAGS.SILENT (\\Deleted)" % _set(uids))
        self.client.command(b"UID EXPUNGE %s" % _set(uids))
        for uid in uids:
            del self.seen[uid]

    def remove(self) -> None:
        """Expunge by UID; most when there is much."""
        uids = self.some(3 if len(self.seen) < _MOST else 60)
        if not uids:
            return
        numbers = [self.seen.pop(uid) for uid in uids]
        self.ledger.note(BEGUN, self.user, *numbers)
        answer = self.client.command(b"UID STORE %s +FLAGS.SILENT (\\Deleted)" % _set(uids))
        answer = self.client.command(b"UID EXPUNGE %s" % _set(uids))
        if answer.count(b"EXPUNGE\r\n") >= len(uids):
            self.ledger.note(GONE, self.user, *numbers)

    def read(self) -> None:
        """Read one message, every byte of which must be right, and look what else is new."""
        for uid in self.some(1):
            number = self.seen[uid]
            answer = self.client.command(b"UID FETCH %d BODY.PEEK[]" % uid)
            if b"BODY[]" in answer and message(number, self.ledger.sizes[number]) not in answer:
                self.ledger.wrong.append(f"UID {uid} of {self.user} {self.mailbox} is not message {number}")
        self.look()


class Collector(Client):
    """A POP3 client that fetches and deletes."""

    def session(self) -> None:
        client = Pop3(self.store.pop3_address, LIMIT_S)
        try:
            client.command(b"USER " + self.user.encode())
            client.command(b"PASS " + PASSWORD.encode())
            count = int(client.command(b"STAT").split()[1])
            numbers = []
            for place in range(1, min(count, 8) + 1):
                text = client.many(b"RETR %d" % place)
                found = re.search(rb"<(\d+)\.(\d+)@bench", text)
                assert found
                if not text.endswith(message(int(found[1]), int(found[2]))[-400:]):
                    self.ledger.wrong.append(
                        f"RETR gave {self.user} something else than message {found[1]!r}"
                    )
                client.command(b"DELE %d" % place)
                numbers.append(int(found[1]))
            self.ledger.note(BEGUN, self.user, *numbers)
            client.command(b"QUIT")
            self.ledger.note(GONE, self.user, *numbers)
        finally:
            client.close()
        time.sleep(0.3)


class Namer(Client):
    """An IMAP client that makes, renames and deletes mailboxes."""

    def session(self) -> None:
        client = Imap(self.store.imap_address, LIMIT_S)
        note = self.ledger.note_name
        try:
            client.login(self.user, PASSWORD)
            for _ in self.turns():
                if self.ending.is_set():
                    break
                name = f"box-{self.random.getrandbits(40):x}"
                self._try(client, b"CREATE " + name.encode(), [(name, True)])
                other = f"new-{self.random.getrandbits(40):x}"
                self._try(
                    client, b"RENAME %s %s" % (name.encode(), other.encode()), [(name, False), (other, True)]
                )
                if self.random.random() < 0.8:
                    self._try(client, b"DELETE " + other.encode(), [(other, False)])
                else:
                    note(self.user, other, True)
                time.sleep(0.05)
            client.logout()
        finally:
            client.close()

    def _try(self, client: Imap, command: bytes, then: list[tuple[str, bool]]) -> None:
        for name, _ in then:
            self.ledger.note_name(self.user, name, None)
        client.command(command)
        for name, there in then:
            self.ledger.note_name(self.user, name, there)


def _set(uids: list[int]) -> bytes:
    return b",".join(b"%d" % uid for uid in uids)


def make_clients(store: Instance, ledger: Ledger, users: list[str], seed: int) -> list[Client]:
    """The mix: for each user two readers, and some of each other kind."""
    clients: list[Client] = []
    for user in users:
        clients += [Reader(store, ledger, user, f"{seed}-{user}-{parity}", parity) for parity in (0, 1)]
        clients.append(Collector(store, ledger, user, f"{seed}-{user}-pop"))
    clients += [Deliverer(store, ledger, users, f"{seed}-lmtp-{place}") for place in range(3)]
    clients.append(Namer(store, ledger, users[0], f"{seed}-names"))
    return clients
