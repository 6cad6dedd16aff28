"""The table of commands: one row for each, and the only way to its function.

A row's function is ``run(session, tag, cursor)``. It parses its arguments from the cursor, which stands
before the space that begins them, up to ``cursor.end()``; does the work; sends untagged responses with
``session.send``; and returns the text of the tagged OK, response code included, or None for
``NAME completed``, or empty bytes when it has answered itself. It fails by raising ``No``, ``Bad``, ``Bye``
or an error of the store. Untagged news of the selected mailbox are none of its business: the session
reports them between the run and the tagged OK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from mstore.imap.commands import (
    acl,
    any,
    append,
    compress,
    copy,
    enable,
    expunge,
    fetch,
    idle,
    list,
    login,
    mailbox,
    metadata,
    multisearch,
    notify,
    quota,
    replace,
    search,
    select,
    sort,
    status,
    store,
)
from mstore.imap.grammar.cursor import Cursor
from mstore.imap.state import ANY, LOGGED_IN, NOT_AUTHENTICATED, SELECTED

if TYPE_CHECKING:
    from mstore.imap.session import Session

Run = Callable[["Session", bytes, Cursor], bytes | None]
Seqs = Literal["none", "uses", "may-expunge"]
"""What a command means for message sequence numbers.

``uses``: they stand in its arguments or results, so no EXPUNGE may be told during it (RFC 3501 §7.4.1
"an EXPUNGE response MUST NOT be sent"); other news may. ``may-expunge``: all news are told. ``none``: no
news are told.
"""


_KINDS = {
    **dict.fromkeys((b"APPEND", b"REPLACE"), "append"),
    **dict.fromkeys((b"COPY", b"MOVE"), "copy"),
    **dict.fromkeys((b"SEARCH", b"ESEARCH", b"SORT", b"THREAD"), "search"),
    **dict.fromkeys((b"SELECT", b"EXAMINE"), "select"),
    **dict.fromkeys((b"LOGIN", b"AUTHENTICATE"), "login"),
    b"FETCH": "fetch",
    b"STORE": "store",
}
"""As what the time of a command counts; of the others as ``other``."""


@dataclass(frozen=True, slots=True)
class Command:
    """One row: name, function, states in which it is valid, rule for sequence numbers, source."""

    name: bytes
    run: Run
    states: int = ANY
    seqs: Seqs = "may-expunge"
    rfc: str = "RFC 3501"
    uid: bool = False
    """Untagged FETCH responses told with it carry the UID (RFC 3501 §6.4.8)."""
    takes_message: bool = False
    """A literal may be as large as a message may be."""
    by_number: bool = False
    """Messages are named or told by number: not for who uses UIDs alone (RFC 9586 §3.2)."""
    done: bytes = field(init=False, default=b"")
    kind: str = field(init=False, default="")
    """Where the time that it takes is counted; empty for what only waits."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "done", b" OK " + self.name + b" completed\r\n")
        if self.name != b"IDLE":
            kind = _KINDS.get(self.name.removeprefix(b"UID "), "other")
            object.__setattr__(self, "kind", f"command.{kind}")


def make_table(rows: Iterable[Command]) -> Mapping[bytes, Command]:
    """Rows by name."""
    return MappingProxyType({row.name: row for row in rows})


COMMANDS = make_table(
    (
        Command(b"CAPABILITY", any.run_capability, ANY, "none", "RFC 3501 §6.1.1"),
        Command(b"NOOP", any.run_noop, ANY, "may-expunge", "RFC 3501 §6.1.2"),
        Command(b"LOGOUT", any.run_logout, ANY, "none", "RFC 3501 §6.1.3"),
        Command(b"ID", any.run_id, ANY, "none", "RFC 2971 §3.1"),
        Command(b"STARTTLS", login.run_starttls, NOT_AUTHENTICATED, "none", "RFC 3501 §6.2.1"),
        Command(b"AUTHENTICATE", login.run_authenticate, NOT_AUTHENTICATED, "none", "RFC 3501 §6.2.2"),
        Command(b"LOGIN", login.run_login, NOT_AUTHENTICATED, "none", "RFC 3501 §6.2.3"),
        Command(b"ENABLE", enable.run_enable, LOGGED_IN, "none", "RFC 5161 §3.1"),
        Command(b"UNAUTHENTICATE", login.run_unauthenticate, LOGGED_IN, "none", "RFC 8437 §3"),
        Command(b"SELECT", select.run_select, LOGGED_IN, "none", "RFC 3501 §6.3.1"),
        Command(b"EXAMINE", select.run_examine, LOGGED_IN, "none", "RFC 3501 §6.3.2"),
        Command(b"CREATE", mailbox.run_create, LOGGED_IN, "may-expunge", "RFC 3501 §6.3.3"),
        Command(b"DELETE", mailbox.run_delete, LOGGED_IN, "may-expunge", "RFC 3501 §6.3.4"),
        Command(b"RENAME", mailbox.run_rename, LOGGED_IN, "may-expunge", "RFC 3501 §6.3.5"),
        Command(b"SUBSCRIBE", mailbox.run_subscribe, LOGGED_IN, "may-expunge", "RFC 3501 §6.3.6"),
        Command(b"UNSUBSCRIBE", mailbox.run_unsubscribe, LOGGED_IN, "may-expunge", "RFC 3501 §6.3.7"),
        Command(b"LIST", list.run_list, LOGGED_IN, "may-expunge", "RFC 3501 §6.3.8"),
        Command(b"LSUB", list.run_lsub, LOGGED_IN, "may-expunge", "RFC 3501 §6.3.9"),
        Command(b"NAMESPACE", list.run_namespace, LOGGED_IN, "may-expunge", "RFC 2342 §5"),
        Command(b"GETACL", acl.run_getacl, LOGGED_IN, "may-expunge", "RFC 4314 §3.3"),
        Command(b"SETACL", acl.run_setacl, LOGGED_IN, "may-expunge", "RFC 4314 §3.1"),
        Command(b"DELETEACL", acl.run_deleteacl, LOGGED_IN, "may-expunge", "RFC 4314 §3.2"),
        Command(b"LISTRIGHTS", acl.run_listrights, LOGGED_IN, "may-expunge", "RFC 4314 §3.4"),
        Command(b"MYRIGHTS", acl.run_myrights, LOGGED_IN, "may-expunge", "RFC 4314 §3.5"),
        Command(b"GETQUOTA", quota.run_getquota, LOGGED_IN, "may-expunge", "RFC 9208 §4.1.1"),
        Command(b"GETQUOTAROOT", quota.run_getquotaroot, LOGGED_IN, "may-expunge", "RFC 9208 §4.1.2"),
        Command(b"SETQUOTA", quota.run_setquota, LOGGED_IN, "may-expunge", "RFC 9208 §4.1.3"),
        Command(b"GETMETADATA", metadata.run_getmetadata, LOGGED_IN, "may-expunge", "RFC 5464 §4.2"),
        Command(b"SETMETADATA", metadata.run_setmetadata, LOGGED_IN, "may-expunge", "RFC 5464 §4.3"),
        Command(b"STATUS", status.run_status, LOGGED_IN, "may-expunge", "RFC 3501 §6.3.10"),
        Command(
            b"APPEND", append.run_append, LOGGED_IN, "may-expunge", "RFC 3501 §6.3.11", takes_message=True
        ),
        Command(b"ESEARCH", multisearch.run_esearch, LOGGED_IN, "may-expunge", "RFC 7377 §2", uid=True),
        Command(b"COMPRESS", compress.run_compress, LOGGED_IN, "none", "RFC 4978 §3"),
        Command(b"IDLE", idle.run_idle, LOGGED_IN, "may-expunge", "RFC 2177 §3"),
        Command(b"NOTIFY", notify.run_notify, LOGGED_IN, "may-expunge", "RFC 5465 §3.1"),
        Command(b"CHECK", select.run_check, SELECTED, "may-expunge", "RFC 3501 §6.4.1"),
        Command(b"CLOSE", select.run_close, SELECTED, "none", "RFC 3501 §6.4.2"),
        Command(b"UNSELECT", select.run_unselect, SELECTED, "none", "RFC 3691 §2"),
        Command(b"EXPUNGE", expunge.run_expunge, SELECTED, "may-expunge", "RFC 3501 §6.4.3"),
        Command(b"SEARCH", search.run_search, SELECTED, "uses", "RFC 3501 §6.4.4", by_number=True),
        Command(b"CANCELUPDATE", search.run_cancelupdate, SELECTED, "may-expunge", "RFC 5267 §4.3.5"),
        Command(b"SORT", sort.run_sort, SELECTED, "uses", "RFC 5256 §3", by_number=True),
        Command(b"THREAD", sort.run_thread, SELECTED, "uses", "RFC 5256 §3", by_number=True),
        Command(b"FETCH", fetch.run_fetch, SELECTED, "uses", "RFC 3501 §6.4.5", by_number=True),
        Command(b"COPY", copy.run_copy, SELECTED, "may-expunge", "RFC 3501 §6.4.7", by_number=True),
        Command(
            b"REPLACE",
            replace.run_replace,
            SELECTED,
            "may-expunge",
            "RFC 8508 §3.2",
            takes_message=True,
            by_number=True,
        ),
        Command(
            b"UID REPLACE",
            replace.run_uid_replace,
            SELECTED,
            "may-expunge",
            "RFC 8508 §3.3",
            uid=True,
            takes_message=True,
        ),
        Command(b"MOVE", copy.run_move, SELECTED, "may-expunge", "RFC 6851 §3.1", by_number=True),
        Command(b"UID MOVE", copy.run_uid_move, SELECTED, "may-expunge", "RFC 6851 §3.2", uid=True),
        Command(b"STORE", store.run_store, SELECTED, "uses", "RFC 3501 §6.4.6", by_number=True),
        Command(b"UID EXPUNGE", expunge.run_uid_expunge, SELECTED, "may-expunge", "RFC 4315 §2.1", uid=True),
        Command(b"UID COPY", copy.run_uid_copy, SELECTED, "may-expunge", "RFC 3501 §6.4.8", uid=True),
        Command(b"UID SEARCH", search.run_uid_search, SELECTED, "may-expunge", "RFC 3501 §6.4.8", uid=True),
        Command(b"UID SORT", sort.run_uid_sort, SELECTED, "may-expunge", "RFC 5256 §3", uid=True),
        Command(b"UID THREAD", sort.run_uid_thread, SELECTED, "may-expunge", "RFC 5256 §3", uid=True),
        Command(b"UID FETCH", fetch.run_uid_fetch, SELECTED, "may-expunge", "RFC 3501 §6.4.8", uid=True),
        Command(b"UID STORE", store.run_uid_store, SELECTED, "may-expunge", "RFC 3501 §6.4.8", uid=True),
    )
)
