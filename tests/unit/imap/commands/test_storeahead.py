"""STORE commands in a row: done together, answered as if each had been alone."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstore.imap.commands.storeahead import MOST_AHEAD
from mstore.imap.session import Session
from mstore.net.stream import Stream
from mstore.store.append import NewMessage, append
from tests.kit.dialogue import site
from tests.kit.faults import faults
from tests.kit.mailhost import MailHost
from tests.kit.scripted import ScriptedTransport, by_line, whole
from tests.kit.waiting import waiting_by_threads

COUNT = 12
BOXES = iter(range(1_000_000))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailHost]:
    path: Path = tmp_path_factory.mktemp("site")
    with waiting_by_threads(), site(path, {}) as host:
        yield host


def fill(host: MailHost, count: int = COUNT) -> str:
    """A new mailbox with messages of these UIDs, but for the third."""
    name = f"box{next(BOXES)}"
    host.account("joe").create(name)
    mailbox = host.account("joe").open(name)
    append(mailbox, [NewMessage(b"Subject: %d\r\n\r\n" % number, 1, number % 32) for number in range(count)])
    with mailbox.transaction() as tx:
        tx.expunge([2])
    mailbox.release()
    return name


def converse(host: MailHost, name: str, lines: list[bytes], together: bool) -> list[bytes]:
    """What is answered to the lines; ends with the flags of all messages."""
    text = b"".join(line + b"\r\n" for line in lines)
    begin = b"x LOGIN joe secret\r\ny SELECT %s\r\n" % name.encode()
    pieces = [begin, *(whole(text) if together else by_line(text)), b"z FETCH 1:* (UID FLAGS)\r\n"]
    transport = ScriptedTransport(pieces)
    Session(Stream(transport), host.service()).run()
    answers = b"".join(transport.sent).split(b"\r\n")
    return answers[[answer[:4] for answer in answers].index(b"y OK") + 1 :]


def groups(host: MailHost, name: str) -> int:
    """How many groups the mailbox has seen."""
    mailbox = host.account("joe").open(name)
    mailbox.refresh()
    modseq = mailbox.highest_modseq
    mailbox.release()
    return modseq


NUMBERS = st.integers(1, COUNT + 2).map(str)
FLAGS = st.sampled_from(
    [r"(\Seen)", r"(\seen \FLAGGED)", "()", r"\Draft", r"(\Deleted urgent)", r"(\Recent)", "("]
)
COMMANDS = st.builds(
    " ".join,
    st.tuples(
        st.sampled_from(["STORE", "UID STORE", "UID STORE", "uid store"]),
        st.one_of(NUMBERS, NUMBERS, st.sampled_from(["1:3", "2,4", "*", "0", "4294967295", "99999999999"])),
        st.sampled_from(
            ["+FLAGS", "-FLAGS", "FLAGS", "+FLAGS.SILENT", "flags.silent", "(UNCHANGEDSINCE 3) +FLAGS"]
        ),
        FLAGS,
    ),
)
OTHERS = st.sampled_from(
    ["NOOP", "UID FETCH 4 FLAGS", "ENABLE CONDSTORE", "EXPUNGE", "FETCH 1 FLAGS", "nonsense"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.one_of(COMMANDS, COMMANDS, COMMANDS, OTHERS), max_size=30))
def test_together_they_are_answered_as_one_by_one(host: MailHost, commands: list[str]) -> None:
    lines = [b"t%d %s" % (number, command.encode()) for number, command in enumerate(commands)]
    told = [converse(host, fill(host), lines, together) for together in (True, False)]
    # What a session has changed with one lock has one MODSEQ.
    together, alone = ([re.sub(rb"MODSEQ \(?\d+\)?", b"", line) for line in lines] for lines in told)
    assert together == alone


def test_what_is_there_shares_one_group(host: MailHost) -> None:
    uids = [uid for uid in range(1, COUNT + 1) if uid != 3]
    name = fill(host)
    before = groups(host, name)
    lines = [rb"t%d UID STORE %d +FLAGS (\Answered)" % (uid, uid) for uid in uids]
    answers = converse(host, name, lines, together=True)
    assert groups(host, name) == before + 1
    assert [answer for answer in answers if b" OK UID" in answer] == [
        b"t%d OK UID STORE completed" % uid for uid in uids
    ]
    assert converse(host, name, [line.replace(b"+", b"-") for line in lines], together=False)
    assert groups(host, name) > before + 2


def test_they_are_no_more_than_so_many(host: MailHost) -> None:
    name = fill(host, 3 * MOST_AHEAD)
    before = groups(host, name)
    lines = [b"t UID STORE %d FLAGS.SILENT (\\Draft)" % uid for uid in range(4, 3 * MOST_AHEAD)]
    converse(host, name, lines, together=True)
    assert groups(host, name) == before + 3


def test_without_space_on_the_disk_each_is_refused(host: MailHost) -> None:
    name = fill(host)
    lines = [b"t%d UID STORE %d +FLAGS (\\Answered)" % (uid, uid) for uid in (4, 5, 6)]
    converse(host, name, [], together=True)  # Nothing is \\Recent any more.
    before = converse(host, name, [], together=True)
    with faults() as system:
        system.fail("pwrite")
        refused = converse(host, name, lines, together=True)
    assert [answer[:5] for answer in refused[:3]] == [b"t4 NO", b"t5 NO", b"t6 NO"]
    assert converse(host, name, [], together=True) == before
