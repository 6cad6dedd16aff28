"""The first unseen message, found among all rows, is that of the view."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from mstore.base.flags import SEEN
from mstore.imap.commands import select
from mstore.store.append import append
from mstore.store.mailbox import Mailbox
from tests.kit.mail import make_messages


@pytest.mark.parametrize("seed", range(12))
def test_the_first_unseen_message(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(select, "_ROWS", 7)
    chance = random.Random(seed)
    append(mailbox, make_messages(chance.choice((1, 7, 40))))
    for _ in range(6):
        rows = mailbox.view().rows
        some = np.array([row for row in rows.tolist() if chance.random() < 0.3], np.int64)
        with mailbox.transaction() as tx:
            tx.flags(rows[: chance.randrange(len(rows) + 1)], "add", SEEN)
        with mailbox.transaction() as tx:
            tx.expunge(some)
        append(mailbox, make_messages(chance.choice((0, 1, 9))))
        view = mailbox.view()
        unseen = mailbox.columns.full.flags[view.rows] & np.uint64(SEEN) == 0
        wanted = int(unseen.argmax()) + 1 if unseen.any() else 0
        assert select.first_unseen(SimpleNamespace(mailbox=mailbox, view=view)) == wanted
