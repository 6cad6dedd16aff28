"""Mailboxes for tests; each one left on disk is checked for soundness at the end, unless damaged on
purpose."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mstore.store.check import check_mailbox
from mstore.store.mailbox import Mailbox

MakeMailbox = Callable[[], Mailbox]


@pytest.fixture
def make_mailbox(tmp_path: Path) -> Iterator[MakeMailbox]:
    """Makes new mailboxes; all are checked at the end."""
    made: list[Mailbox] = []
    numbers = itertools.count(1)

    def make() -> Mailbox:
        mailbox = Mailbox.create(tmp_path / f"{next(numbers):016x}", 7)
        mailbox.retain()
        made.append(mailbox)
        return mailbox

    yield make
    for mailbox in made:
        mailbox.close()
        if mailbox.path.exists():
            assert check_mailbox(mailbox.path) == []


@pytest.fixture
def mailbox(make_mailbox: MakeMailbox) -> Mailbox:
    """An empty mailbox."""
    return make_mailbox()
