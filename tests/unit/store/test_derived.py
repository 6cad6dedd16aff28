from __future__ import annotations

import os
from contextlib import closing

import numpy as np
import pytest

from mstore.mail.summary import ENVELOPE, PARTS, SEARCH, summarize
from mstore.store import derived
from mstore.store.append import NewMessage, append
from mstore.store.copy import copy
from mstore.store.mailbox import Mailbox
from tests.kit.mail import make_content, make_messages


@pytest.fixture(autouse=True, params=[derived.FEW_ROWS, 0], ids=["few by one", "all by windows"])
def few_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "FEW_ROWS", request.param)


def expected(numbers: list[int], slot: int) -> list[bytes]:
    return [summarize(make_content(number)).slots[slot] for number in numbers]


def test_what_was_computed_at_arrival_is_read_in_the_order_of_the_rows(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(300))
    rows = np.array([5, 0, 299, 7, 8, 9])
    numbers = [6, 1, 300, 8, 9, 10]
    found = mailbox.derived(rows, [ENVELOPE, SEARCH])
    assert found == [expected(numbers, ENVELOPE), expected(numbers, SEARCH)]
    assert mailbox.derived(np.arange(300), [PARTS]) == [expected(list(range(1, 301)), PARTS)]
    assert mailbox.derived(np.empty(0, np.int32), [PARTS]) == [[]]


def test_a_missing_file_is_made_again(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(5))
    mailbox.rest()
    os.unlink(mailbox.path / "derived")
    assert mailbox.derived(np.arange(5), [ENVELOPE])[0] == expected([1, 2, 3, 4, 5], ENVELOPE)
    assert (mailbox.path / "derived").exists()
    other = Mailbox(mailbox.path)
    assert other.columns.derived.tolist() == mailbox.columns.derived.tolist()
    assert other.derived(np.arange(5), [SEARCH])[0] == expected([1, 2, 3, 4, 5], SEARCH)


def test_damage_anywhere_is_noticed(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(4))
    path = mailbox.path / "derived"
    sound = path.read_bytes()
    wanted = [expected([1, 2, 3, 4], slot) for slot in (ENVELOPE, PARTS)]
    for at in range(0, len(sound), 13):
        mailbox.rest()
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 0x11]) + sound[at + 1 :])
        with closing(Mailbox(mailbox.path)) as other:
            assert other.derived(np.arange(4), [ENVELOPE, PARTS]) == wanted
    for size in (0, 10, 64, 70, 130, len(sound) - 1):
        mailbox.rest()
        path.write_bytes(sound[:size])
        with closing(Mailbox(mailbox.path)) as other:
            assert other.derived(np.arange(4), [ENVELOPE, PARTS]) == wanted


def test_damage_is_noticed_in_copies_as_well(mailbox: Mailbox, make_mailbox) -> None:
    append(mailbox, make_messages(4))
    path = mailbox.path / "derived"
    sound = path.read_bytes()
    wanted = [expected([1, 2, 4], slot) for slot in (ENVELOPE, PARTS)]
    target = make_mailbox()
    append(target, make_messages(1))
    for number, at in enumerate(range(0, len(sound), 31)):
        mailbox.rest()
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 0x11]) + sound[at + 1 :])
        copy(np.array([0, 1, 3]), mailbox, target)
        assert target.derived(np.arange(3) + 3 * number + 1, [ENVELOPE, PARTS]) == wanted
    path.write_bytes(sound)


def test_blobs_larger_than_a_window_are_read(mailbox: Mailbox) -> None:
    many = b"".join(b"--x\r\nContent-Type: text/plain; name=n%d\r\n\r\nhi\r\n" % n for n in range(9000))
    content = b'Content-Type: multipart/mixed; boundary="x"\r\nSubject: big\r\n\r\n' + many + b"--x--\r\n"
    append(mailbox, [*make_messages(1), NewMessage(content, 1), *make_messages(1, 2), NewMessage(content, 1)])
    size = (mailbox.path / "derived").stat().st_size
    found = mailbox.derived(np.arange(4), [1, PARTS])
    big = summarize(content).slots
    assert found[0][1] == found[0][3] == big[1]
    assert found[1][1] == big[PARTS]
    assert found[0][2] == expected([2], 1)[0]
    assert (mailbox.path / "derived").stat().st_size == size, "they were read, not computed again"


def test_a_reader_without_the_lock_computes_and_keeps_nothing(mailbox: Mailbox) -> None:
    append(mailbox, make_messages(2))
    mailbox.rest()
    os.unlink(mailbox.path / "derived")
    other = Mailbox(mailbox.path)
    with mailbox.transaction():
        assert other.derived(np.arange(2), [ENVELOPE])[0] == expected([1, 2], ENVELOPE)
    assert not (mailbox.path / "derived").exists()
