"""NOTIFY's arguments: what they mean, and what they cannot mean."""

from __future__ import annotations

import pytest

from mstore.imap.errors import Bad, No
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.grammar.notify import (
    EXPUNGE,
    FLAG,
    MAX_GROUPS,
    NAME,
    NEW,
    SUBSCRIPTION,
    EventGroup,
    NotifyRequest,
    SelectedEvents,
    parse_notify,
)
from mstore.imap.grammar.sources import MAX_NAMES, Source


def parse(text: bytes, has_metadata: bool = True) -> NotifyRequest | None:
    return parse_notify(Cursor(b" " + text), has_metadata)


def test_none_and_the_simplest_set() -> None:
    assert parse(b"none") is None
    assert parse(b"SET (personal NONE)") == NotifyRequest(
        False, SelectedEvents(), (EventGroup(Source(b"PERSONAL"), frozenset()),)
    )


def test_all_filters() -> None:
    request = parse(
        b"SET STATUS (Selected-Delayed (MessageNew MessageExpunge FlagChange)) (inboxes (mailboxname))"
        b' (subscribed NONE) (subtree a NONE) (subtree-one (a "b c") NONE) (mailboxes &AOQ- (MailboxName))'
    )
    assert request is not None and request.counts
    assert request.selected == SelectedEvents(True, True, True)
    assert [group.source for group in request.groups] == [
        Source(b"INBOXES"),
        Source(b"SUBSCRIBED"),
        Source(b"SUBTREE", ("a",)),
        Source(b"SUBTREE-ONE", ("a", "b c")),
        Source(b"MAILBOXES", ("ä",)),
    ]


def test_events_and_items() -> None:
    request = parse(b"SET (selected (MessageNew (UID ENVELOPE) MessageExpunge))")
    assert request is not None
    assert [item.name for item in request.selected.items] == [b"UID", b"ENVELOPE"]
    assert not request.selected.flags and not request.selected.delayed
    request = parse(b"SET (personal (SubscriptionChange MailboxName MailboxName))")
    assert request is not None and request.groups[0].events == {NAME, SUBSCRIPTION}
    request = parse(b"SET (personal (FlagChange MessageExpunge MessageNew))")
    assert request is not None and request.groups[0].events == {NEW, EXPUNGE, FLAG}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"NONE ",
        b"SET",
        b"SET ",
        b"SET STATUS",
        b"SETSTATUS (personal NONE)",
        b"SET personal NONE",
        b"SET (personal)",
        b"SET (personal NONE",
        b"SET (personal NONE) ",
        b"SET  (personal NONE)",
        b"SET (personal ())",
        b"SET (personal MessageNew)",
        b"SET (personal (MessageNew ()))",
        b"SET (personal (MailboxName) NONE)",
        b"SET (selected (MessageNew (UID MessageExpunge))",
        b"SET (mailboxes NONE)",
        b"SET (mailboxes (a b NONE)",
        b"SET (selected (FlagChange))",
        b"SET (selected (MessageNew MessageExpunge ServerMetadataChange))",
        b"SET (selected NONE) (selected NONE)",
        b"SET (personal (MessageNew (UID) MessageExpunge))",
        b"SET" + b" (personal NONE)" * (MAX_GROUPS + 1),
        b"SET (mailboxes (" + b" ".join([b"a"] * (MAX_NAMES + 1)) + b") NONE)",
        b"SET (personal (" + b" ".join([b"MailboxName"] * 51) + b"))",
    ],
)
def test_what_it_cannot_be(text: bytes) -> None:
    with pytest.raises(Bad):
        parse(text)


@pytest.mark.parametrize("events", [b"AnnotationChange MessageNew MessageExpunge", b"MailboxName x-more"])
def test_events_that_there_are_not_are_refused_when_all_is_read(events: bytes) -> None:
    with pytest.raises(No) as raised:
        parse(b"SET (personal (" + events + b"))")
    assert raised.value.code is not None and raised.value.code.startswith(b"BADEVENT (MessageNew ")
    with pytest.raises(Bad):
        parse(b"SET (personal (" + events + b")) x")


def test_events_of_annotations_are_none_where_there_are_no_annotations() -> None:
    assert parse(b"SET (personal (MailboxMetadataChange))") is not None
    with pytest.raises(No) as raised:
        parse(b"SET (personal (MailboxMetadataChange))", has_metadata=False)
    assert raised.value.code is not None and b"Metadata" not in raised.value.code
