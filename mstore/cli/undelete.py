"""msadm undelete: what was expunged or deleted not long ago, brought back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from mstore.base.errors import Exists, Invalid, NotFound
from mstore.base.numset import NumSet, parse_numset
from mstore.base.values import duration
from mstore.cli.names import USER_OR_SHARED
from mstore.cli.place import open_mail
from mstore.cli.site import (
    Site,
    as_json,
    confirm,
    did_you_mean,
    find_or_shared,
    format_size,
    without_asking,
    write_json,
    write_table,
)
from mstore.mail.decode import decode_words
from mstore.mail.header import field_pairs, unfold
from mstore.store.access import Access
from mstore.store.account import Account
from mstore.store.directory import deleted_mailboxes
from mstore.store.mailbox import Mailbox
from mstore.store.spaces import OTHERS_PREFIX, SHARED_PREFIX
from mstore.store.undelete import Recoverable, open_deleted, open_expunged

_LONGEST_S = 36500 * 86400
_SHOWN_CHARACTERS = 40
_FIELDS = (b"date", b"from", b"subject")
_NAMELESS = "Recovered"
"""Where messages go of a deleted mailbox whose name is lost."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages are meant."""

    since_s: float
    uids: NumSet | None
    sender: str
    subject: str

    def has(self, message: Lost) -> bool:
        """Whether a message is one of them."""
        return (
            message.expunged_s >= self.since_s
            and self.sender in message.sender.casefold()
            and self.subject in message.subject.casefold()
            and (self.uids is None or any(a <= message.uid <= b for a, b in self.uids.resolve(0xFFFFFFFF)))
        )


@dataclass(frozen=True, slots=True)
class Source:
    """A mailbox, there or deleted, that messages can be brought back from."""

    name: str
    """Its name within the account."""
    is_deleted: bool
    open: Callable[[], AbstractContextManager[Recoverable]]


@dataclass(slots=True)
class Lost:
    """A message that can be brought back."""

    source: Source
    row: int
    uid: int
    expunged_s: float
    date: str
    sender: str
    subject: str
    size: int
    email_id: int
    still_in: str | None = None
    """A mailbox of the account where it is, or another copy of it."""
    came_to: str | None = None
    new_uid: int | None = None


@click.command()
@click.argument("who", type=USER_OR_SHARED, metavar="USER|shared/")
@click.option("--mailbox", metavar="NAME", help="Only what was in this mailbox, which may be deleted.")
@click.option("--since", metavar="WHEN", help="Only what went since then (2026-05-01, 2026-05-01T12:00, 3d).")
@click.option("--uid", "uids", metavar="SET", help="Only what had these UIDs (7, 3:9,12) in --mailbox.")
@click.option("--from", "sender", metavar="TEXT", default="", help="Only what has this in From.")
@click.option("--subject", metavar="TEXT", default="", help="Only what has this in Subject.")
@click.option("--into", metavar="NAME", help="Bring it back into this mailbox, which is made if need be.")
@click.option("--again", is_flag=True, help="Also what is still, or again, in some mailbox of the user.")
@click.option("--list", "only_list", is_flag=True, help="Show all that there is, and bring nothing back.")
@click.option("--dry-run", is_flag=True, help="Show what would be brought back.")
@without_asking
@as_json
@click.pass_obj
def undelete(
    config: Path,
    who: str,
    mailbox: str | None,
    since: str | None,
    uids: str | None,
    sender: str,
    subject: str,
    into: str | None,
    again: bool,
    only_list: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Bring back messages of USER that were expunged, as long as retain-expunged keeps them.

    They come back to where they were, or --into another mailbox, with new UIDs and with their flags but
    \\Deleted; a deleted mailbox is made again. What is in some mailbox of the user, moved there, copied, or
    brought back before, is left out. The daemons may run meanwhile, and sessions see at once what comes.

    Example: msadm undelete joe --list; msadm undelete joe --since 2d --subject invoice
    """
    if uids is not None and mailbox is None:
        raise click.UsageError("--uid needs --mailbox: UIDs mean something in one mailbox alone.")
    wanted = Wanted(_parse_since(since), _parse_uids(uids), sender.casefold(), subject.casefold())
    site = Site(config)
    retain_s = site.settings.retain_expunged * 86400
    with open_mail(site) as (accounts, access):
        record = find_or_shared(accounts, who)
        prefix = SHARED_PREFIX if who == SHARED_PREFIX else f"{OTHERS_PREFIX}{record.name}/"
        account = access.store.account(record)
        found: list[Lost] = []
        for source in _sources(account, prefix, mailbox):
            with source.open() as there:
                found += [lost for lost in _messages(source, there) if wanted.has(lost)]
        _find_live(account, found)
        if not only_list:
            found = _once(found, again)
        is_doing = not (only_list or dry_run)
        if is_doing and found:
            confirm(f"Bring back {len(found)} messages of {who}?", yes)
            _bring_back(access, account, prefix, found, into)
    _report(found, retain_s, as_json, is_doing)


def _parse_since(text: str | None) -> float:
    """A moment: a date, with or without a time, as the clock here shows it, or how long ago."""
    if text is None:
        return 0.0
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        pass
    try:
        return time.time() - float(duration(0, _LONGEST_S).parse([text]))
    except ValueError:
        raise Invalid(f"--since {text}: neither a date (2026-05-01) nor how long ago (3d)") from None


def _parse_uids(text: str | None) -> NumSet | None:
    if text is None:
        return None
    try:
        return parse_numset(text.encode())
    except Invalid:
        raise Invalid(f"--uid {text}: no set of UIDs, as 7 or 3:9,12") from None


def _sources(account: Account, prefix: str, only: str | None) -> list[Source]:
    """The mailboxes of an account, and its deleted ones, or those of a name.

    Raises: NotFound when there is none of that name.
    """
    deleted = [
        Source(found.name or _NAMELESS, True, partial(open_deleted, found))
        for found in deleted_mailboxes(account.path)
    ]
    there = [
        Source(name, False, partial(_open, account, name))
        for name, entry in account.mailboxes().items()
        if not entry.no_select
    ]
    if only is None:
        return there + deleted
    only = only.removeprefix(prefix)
    chosen = [source for source in deleted if source.name == only]
    if not chosen or only in account.mailboxes():
        try:
            name = account.entry(only).name
        except NotFound as error:
            known = [source.name for source in (*there, *deleted)]
            raise NotFound(f"{error}{did_you_mean(only, known)}") from None
        chosen += [source for source in there if source.name == name]
    return chosen


@contextmanager
def _open(account: Account, name: str) -> Iterator[Recoverable]:
    mailbox = account.open(name)
    try:
        with open_expunged(mailbox) as found:
            yield found
    finally:
        mailbox.release()


def _messages(source: Source, there: Recoverable) -> Iterator[Lost]:
    for row, entry in enumerate(there.entries):
        values = {name.lower(): value for name, value in reversed(field_pairs(there.header(row)))}
        date, sender, subject = (_text(values.get(name, b"")) for name in _FIELDS)
        uid, size, email_id = (int(entry[name]) for name in ("uid", "size", "email_id"))
        yield Lost(source, row, uid, int(entry["expunged"]) / 1000, date, sender, subject, size, email_id)


def _text(value: bytes) -> str:
    """A field's value as text that can be written."""
    return decode_words(unfold(value)).encode("utf-8", "replace").decode()


def _find_live(account: Account, found: Iterable[Lost]) -> None:
    """Find the mailboxes in which messages are that are to be brought back."""
    by_id: dict[int, list[Lost]] = {}
    for lost in found:
        by_id.setdefault(lost.email_id, []).append(lost)
    ids = np.array(sorted(by_id), np.uint64)
    for name, entry in account.mailboxes().items():
        if entry.no_select:
            continue
        mailbox = account.open_entry(entry)
        try:
            mailbox.refresh()
            live = mailbox.columns.email_id[mailbox.index.live_rows()]
        finally:
            mailbox.release()
        for email_id in ids[np.isin(ids, live)].tolist():
            for lost in by_id[email_id]:
                lost.still_in = lost.still_in or name


def _once(found: Iterable[Lost], again: bool) -> list[Lost]:
    """Of each message the one that was expunged last; none that is somewhere, unless ``again``."""
    latest: dict[int, Lost] = {}
    for lost in found:
        known = latest.get(lost.email_id)
        is_later = known is None or lost.expunged_s >= known.expunged_s
        if is_later and (again or lost.still_in is None):
            latest[lost.email_id] = lost
    return list(latest.values())


def _bring_back(
    access: Access, account: Account, prefix: str, found: Iterable[Lost], into: str | None
) -> None:
    chosen: dict[Source, list[Lost]] = {}
    for lost in found:
        chosen.setdefault(lost.source, []).append(lost)
    for source, messages in chosen.items():
        name = source.name if into is None else into.removeprefix(prefix)
        try:
            access.create(prefix + name)
        except Exists:
            pass
        target = account.open(name)
        try:
            with source.open() as there:
                _append(there, messages, target, name)
        finally:
            target.release()


def _append(there: Recoverable, messages: list[Lost], target: Mailbox, name: str) -> None:
    by_uid = {lost.uid: lost for lost in messages}

    def tell(pairs: list[tuple[Any, Any]]) -> None:
        for old, new in pairs:
            by_uid[int(old)].came_to, by_uid[int(old)].new_uid = name, int(new)

    uids = there.entries["uid"]  # some may be gone since they were found
    there.bring_back(np.flatnonzero(np.isin(uids, sorted(by_uid))).tolist(), target, tell)


def _report(found: list[Lost], retain_s: int, as_json: bool, is_done: bool) -> None:
    if as_json:
        write_json([_describe(lost, retain_s) for lost in found])
        return
    if found and not is_done:
        heads = ("MAILBOX", "UID", "EXPUNGED", "DATE", "FROM", "SUBJECT", "SIZE", "STILL IN")
        write_table(heads, [_row(lost) for lost in found], right=(1, 6))
    elif found:
        came = [lost for lost in found if lost.new_uid is not None]
        for name in dict.fromkeys(str(lost.came_to) for lost in came):
            click.echo(f"{name}: {sum(lost.came_to == name for lost in came)} messages brought back")
    else:
        click.echo("nothing to bring back")


def _describe(lost: Lost, retain_s: int) -> dict[str, Any]:
    return {
        "mailbox": lost.source.name,
        "mailbox_deleted": lost.source.is_deleted,
        "uid": lost.uid,
        "expunged": _moment(lost.expunged_s),
        "until": _moment(lost.expunged_s + retain_s),
        "date": lost.date,
        "from": lost.sender,
        "subject": lost.subject,
        "size_bytes": lost.size,
        "email_id": f"{lost.email_id:016x}",
        "still_in": lost.still_in,
        "into": lost.came_to,
        "new_uid": lost.new_uid,
    }


def _row(lost: Lost) -> tuple[object, ...]:
    return (
        lost.source.name + (" (deleted)" if lost.source.is_deleted else ""),
        lost.uid,
        _moment(lost.expunged_s),
        _short(lost.date),
        _short(lost.sender),
        _short(lost.subject),
        format_size(lost.size),
        lost.still_in or "-",
    )


def _short(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[: _SHOWN_CHARACTERS - 1] + "…"


def _moment(time_s: float) -> str:
    try:
        return datetime.fromtimestamp(time_s).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        return "?"  # what a clock says that is badly wrong
