"""Mutated IMAP commands in every state: no fault, no delay, no answer outside the grammar."""

import os
import random
import time
from pathlib import Path

import pytest

from mstore.base.errors import Exists
from mstore.base.log import Log
from mstore.imap.session import Session
from mstore.net.stream import Stream
from mstore.store.access import Access
from mstore.store.append import NewMessage, append
from mstore.store.rights import ALL
from tests.kit.dialogue import make_message, site
from tests.kit.imapgrammar import Listener
from tests.kit.mutation import lines_of_dialogues, mutate
from tests.kit.scripted import ScriptedTransport
from tests.kit.transport import split_responses
from tests.kit.waiting import waiting_by_threads

COMMANDS = int(os.environ.get("FUZZ_COMMANDS", "1500"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
LONGEST_S = 5.0
BEGINNINGS = (
    b"",
    b"l LOGIN joe secret\r\n",
    b"l LOGIN joe secret\r\ns SELECT INBOX\r\n",
    b"l LOGIN joe secret\r\ns EXAMINE INBOX\r\n",
    b"l LOGIN ann secret\r\ns SELECT user/joe/work\r\n",
    b"l LOGIN root secret\r\n",
    b"l LOGIN joe secret\r\ne ENABLE IMAP4rev2\r\ns SELECT inbox\r\n",
    b"l LOGIN joe secret\r\ne ENABLE UTF8=ACCEPT\r\n",
    b"l LOGIN joe secret\r\ne ENABLE UIDONLY\r\ns SELECT INBOX\r\n",
    b"l AUTHENTICATE ANONYMOUS =\r\ns SELECT shared/bugs\r\n",
)
NAMES = (
    "fresh", "logged-in", "selected", "examined", "another-user", "administrator", "rev2", "utf8", "by-uid",
    "nobody",
)  # fmt: skip
OPTIONS = {"imapd_enable_capability": frozenset({b"UIDONLY"}), "sasl_enable": {"anonymous": True}}
FURTHER = (
    b"a FETCH 1:* (BODY.PEEK[HEADER.FIELDS (Subject From)]<0.10> ENVELOPE BODYSTRUCTURE)\r\n",
    b"a UID SEARCH OR (FROM x NOT SEEN) BEFORE 1-Jan-2020\r\n",
    b"a SEARCH CHARSET UTF-8 TEXT {2+}\r\nab NOT (KEYWORD a)\r\n",
    b"a SEARCH RETURN (MIN MAX COUNT SAVE PARTIAL -1:-2 UPDATE CONTEXT) OR OLDER 5 $\r\n",
    b"a UID SORT RETURN (ALL SAVE) (REVERSE DISPLAYFROM SUBJECT DATE) UTF-8 YOUNGER 90000 NOT UID $\r\n",
    b"a THREAD REFERENCES UTF-8 ALL\r\n",
    b"a UID THREAD REFS UTF-8 {4+}\r\nBODY x\r\n",
    b"a ESEARCH IN (subtree-one (work user/joe/work) personal mailboxes INBOX) RETURN (COUNT) TEXT a\r\n",
    b'a CANCELUPDATE "a" "b"\r\n',
    b"a FETCH $ UID\r\n",
    b"a UID STORE 1:2 -FLAGS.SILENT (\\Seen x)\r\n",
    b"a UID COPY 1 INBOX\r\n",
    b"a UID EXPUNGE 1:*\r\n",
    b"a SETACL user/joe/work ann lrswipkxtea\r\n",
    b"a SETACL INBOX {6+}\r\nanyone +lr-\r\n",
    b"a DELETEACL user/joe/work -group:x\r\n",
    b"a LISTRIGHTS shared/bugs ann\r\n",
    b"a MYRIGHTS user/joe/work\r\n",
    b"a COPY 1:* user/joe/work\r\n",
    b"a RENAME user/joe/work/x shared/bugs/x\r\n",
    b"a LIST user/%/ *\r\n",
    b"a SETQUOTA user/joe (STORAGE 9000 MESSAGE 200)\r\n",
    b"a GETQUOTAROOT user/joe/work\r\n",
    b"a APPEND INBOX (x) {5+}\r\nab\r\nc (\\Seen) {3+}\r\nx\r\n\r\n",
    b"a REPLACE 1 INBOX (\\Draft) {5+}\r\nab\r\nc\r\n",
    b"a UID REPLACE 2 user/joe/work {5+}\r\nab\r\nc\r\n",
    b"a FETCH 1:* (PREVIEW (LAZY) UID PREVIEW)\r\n",
    b"a FETCH 1:* (BINARY.SIZE[1] BINARY.PEEK[]<2.9> BINARY[1.2])\r\n",
    b"a APPEND INBOX ~{5+}\r\na\x00b\r\n\r\n",
    b"a APPEND INBOX (x) CATENATE (TEXT {3+}\r\nx\r\n URL \"/INBOX/;UID=1/;SECTION=1/;PARTIAL=0.4\")\r\n",
    b"a UID REPLACE 2 INBOX CATENATE (URL ;UID=2/;SECTION=HEADER URL /user/joe/work/;UID=1)\r\n",
    b"a MOVE 1:2 user/joe/work\r\n",
    b"a UID MOVE 1:* INBOX\r\n",
    b"a UNAUTHENTICATE\r\n",
    b"a FETCH 1:* (SAVEDATE EMAILID THREADID MODSEQ)\r\n",
    b"a SEARCH OR SAVEDON 1-Jan-2026 EMAILID M0123456789abcdef SAVEDATESUPPORTED\r\n",
    b"a STATUS INBOX (MAILBOXID APPENDLIMIT)\r\n",
    b"a ENABLE QRESYNC CONDSTORE\r\n",
    b"a SELECT INBOX (QRESYNC (7 1 1:9,12 (1,3:4 1,3:4)) CONDSTORE)\r\n",
    b"a EXAMINE user/joe/work (QRESYNC (7 3))\r\n",
    b"a UID FETCH 1:* (FLAGS MODSEQ) (CHANGEDSINCE 2 VANISHED)\r\n",
    b"a STORE 1:* (UNCHANGEDSINCE 3) +FLAGS.SILENT (\\Seen x)\r\n",
    b'a SEARCH OR MODSEQ "/flags/\\\\seen" all 3 NOT MODSEQ 4\r\n',
    b"a STATUS INBOX (HIGHESTMODSEQ UIDNEXT)\r\n",
    b'a LIST (SUBSCRIBED RECURSIVEMATCH) "" (% user/*) RETURN (STATUS (SIZE) MYRIGHTS)\r\n',
    b'a LIST "" * RETURN (METADATA (DEPTH 1) (/shared/x /private/y))\r\n',
    b'a LIST (SPECIAL-USE REMOTE) "" * RETURN (CHILDREN SUBSCRIBED)\r\n',
    b"a CREATE x (USE (\\Sent \\Drafts))\r\n",
    b"a STATUS INBOX (SIZE MESSAGES)\r\n",
    b"a SETMETADATA user/joe/work (/private/x {3+}\r\nabc /shared/y NIL)\r\n",
    b"a SETMETADATA INBOX (/private/x ~{3+}\r\na\0b /private/specialuse \"\\\\Sent\")\r\n",
    b"a GETMETADATA (DEPTH infinity MAXSIZE 5) INBOX (/private /shared/x)\r\n",
    b'a GETMETADATA "" /shared/comment\r\n',
    b"a ENABLE IMAP4rev2\r\n",
    b"a ENABLE UTF8=ACCEPT CONDSTORE\r\n",
    'a CREATE "caf\u00e9"\r\n'.encode(),
    'a CREATE "cafe\u0301/na\u0308ive"\r\n'.encode(),
    'a SELECT "cafe\u0301"\r\n'.encode(),
    'a RENAME "caf\u00e9" "cafe\u0301s"\r\n'.encode(),
    'a DELETE "cafe\u0301"\r\n'.encode(),
    'a LIST "" "caf\u00e9%" RETURN (SUBSCRIBED STATUS (MESSAGES RECENT SIZE))\r\n'.encode(),
    'a STATUS "cafe\u0301" (MESSAGES UNSEEN DELETED SIZE)\r\n'.encode(),
    'a SEARCH SUBJECT "\u00e4" SMALLER 99999999999 NOT NEW\r\n'.encode(),
    b'a SELECT "caf\xe9"\r\n',
    b"a FETCH 1:* (BODY[]<5000000000.6000000000> BINARY[1]<7.9> FLAGS)\r\n",
    "a APPEND INBOX UTF8 (~{16+}\r\nSubject: \u00e4\r\n\r\nx)\r\n".encode(),
    "a APPEND inbox {14+}\r\nSubject: \u00e4\r\n\r\n\r\n".encode(),
    "a APPEND INBOX CATENATE (UTF8 (~{13+}\r\nSubject: \u00e4\r\n) URL /INBOX/;UID=1)\r\n".encode(),
    b"a NOTIFY SET STATUS (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (Subject)]) MessageExpunge))"
    b" (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))\r\n",
    b"a NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange)) (subtree (user/joe x) NONE)\r\n",
    b"a NOTIFY SET STATUS (subscribed (MailboxMetadataChange ServerMetadataChange MessageNew MessageExpunge))"
    b" (mailboxes ({4+}\r\nwork shared/bugs) (AnnotationChange MessageNew MessageExpunge))\r\n",
    b"a NOTIFY NONE\r\n",
    b"a SEARCH RETURN (UPDATE (UID BODY[]) COUNT) UNSEEN\r\n",
)


def _fill(site_mail: Access, name: str) -> None:
    """Make a mailbox that ann may work with, and nobody too, if it is not there any more; fill it."""
    try:
        site_mail.create(name)
    except Exists:
        pass
    if not name.endswith("INBOX"):
        for identifier in ("ann", "anonymous"):
            site_mail.set_acl(name, identifier, "=", ALL)
    place = site_mail.place(name)
    mailbox = place.account.open(place.inner)
    append(mailbox, [NewMessage(make_message(number), number) for number in range(3)])
    mailbox.release()


@pytest.mark.parametrize("beginning", BEGINNINGS, ids=NAMES)
def test_mutated_commands(beginning: bytes, tmp_path: Path) -> None:
    lines = [*lines_of_dialogues(Path(__file__).parents[1] / "wire" / "imap"), *FURTHER]
    chance = random.Random(len(beginning) + 1000 * SEED)
    fd = os.open(tmp_path / "lines", os.O_CREAT | os.O_WRONLY)
    with waiting_by_threads(), site(tmp_path, OPTIONS) as host:
        service = host.service(log=Log(fd))
        joe, root = host.accounts.find("joe"), host.add("root")
        host.add("ann")
        site_mail = Access(host.store, host.accounts, root)
        sent = 0
        while sent < COMMANDS:
            if sent % 50 == 0:
                for record in filter(None, (joe, host.accounts.shared())):
                    host.accounts.set_quota(record, None, None)
                for name in ("user/joe/INBOX", "user/joe/work", "shared/bugs"):
                    _fill(site_mail, name)
            commands = [mutate(chance.choice(lines), lines, chance) for _ in range(10)]
            sent += len(commands)
            data = beginning + b"".join(commands)
            transport = ScriptedTransport([data])
            start = time.process_time()
            Session(Stream(transport), service).run()
            assert time.process_time() - start < LONGEST_S, data
            answers = b"".join(transport.sent)
            listener = Listener()
            for response in split_responses(answers):
                listener.check(response)
            assert b"SERVERBUG" not in answers, (data, (tmp_path / "lines").read_text()[-2000:])
    os.close(fd)
    assert "event=fault" not in (tmp_path / "lines").read_text()
