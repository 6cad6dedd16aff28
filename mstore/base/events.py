# ruff: noqa: E501 (a row of a table is a line)
"""Every event of the log and every field: the interface for programs that read it.

``docs/logging.md`` is made from these tables, and a test holds the code to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

ALL = "all daemons"


@dataclass(frozen=True, slots=True)
class Event:
    """One row: who writes it, at which levels, with which fields, and what it means."""

    writers: str
    levels: str
    fields: str
    meaning: str


FIELDS = {
    "time": "when, in UTC with milliseconds; not in the syslog and the journal, which have their own",
    "level": "`info`, `warning` (odd, and handled) or `error` (an administrator should look)",
    "event": "what happened: a name of the table below",
    "daemon": "who says so",
    "pid": "its process",
    "worker": "the number of the worker, from 1",
    "session": "one connection of a client; `msadm who` shows the same",
    "user": "the account that is logged in, or whose it is; with `via=msadm` the system's user; in audit lines who did it",
    "peer": "the client's address; `local` for a Unix socket",
    "by": "the account that has logged in and acts as `user`; in lmtpd the one that hands in mail",
    "via": "what acted in the name of nobody logged in: `msadm`, or `maintenance` for the store itself",
    "name": "a login name as the client gave it; nobody may be called so",
    "mechanism": "the SASL mechanism, or the command or option that stands for it",
    "code": "why a login failed, as a response code (RFC 5530)",
    "client": "what an IMAP client says it is",
    "command": "the command in which a fault was found",
    "step": "what failed: `open`, `retrieve`, `update`, `close` or `command`",
    "error": "what went wrong",
    "at": "where in the program, innermost first",
    "reason": "why",
    "id": "the message's queue id in lmtpd, as in its `Received` field",
    "sender": "the envelope sender; empty for bounces",
    "to": "the recipient, as the MTA gave it",
    "message_id": "the message's Message-ID",
    "size": "of a message in bytes, or of all of them together",
    "owner": "the account whose mailbox it is; `shared` for the shared ones",
    "mailbox": "its name within that account, as it is now",
    "mailbox_id": "its id, in place of a name that it does not have any more (OBJECTID, RFC 8474)",
    "uids": "UIDs as IMAP writes sets of them; cut after 2000 characters",
    "messages": "how many",
    "from_owner": "whose mailbox messages were taken from, where it is another account's",
    "from_mailbox": "the mailbox that messages were taken from",
    "from_mailbox_id": "its id, in place of a name that it does not have any more",
    "from_uids": "their UIDs there, in the order of `uids`",
    "add": "the flags that were given",
    "remove": "the flags that were taken away",
    "set": "all flags that the messages have now",
    "new": "the new name of a mailbox",
    "account": "the account that something was done to; `shared/` for the shared mailboxes",
    "alias": "another address of an account",
    "group": "a group of users",
    "limit_bytes": "how many bytes of mail it may have now, or `none` for any number",
    "limit_messages": "how many messages",
    "identifier": "whom an entry of an access control list means",
    "rights": "the rights it has now; empty: the entry is gone",
    "before": "the rights it had",
    "trace": "what somebody anonymous says of himself (RFC 4505)",
    "label": "the name of an app password",
    "service": "`imap`, `pop3` or `lmtp`",
    "mailstore": "the mailstore's name",
    "count": "how many",
    "lines": "how many lines could not be written since the last one",
    "logger": "the library's name for itself",
    "text": "what a library says",
    "proxy": "the address of the proxy",
    "listener": "where the connection came in",
    "listening": "the sockets",
    "landlock": "the version of Landlock, or why not",
    "seccomp": "whether system calls are filtered, or why not",
    "path": "the file or directory",
    "child": "the daemon or worker that is kept running",
    "child_pid": "its process",
    "how": "exit status or signal",
    "words": "the last that it has said",
    "deaths": "how often it has died without having lived for a minute",
    "last": "how it has ended last",
    "which": "a descriptor, and what it is",
    "where": "the address of a socket",
    "version": "of M-Store",
    "daemons": "the daemons",
    "python": "the interpreter",
    "root": "the directory of the program",
    "after_s": "how long it had run, in seconds",
    "seconds": "how long, in seconds",
    "sessions": "how many are open still",
    "workers": "how many",
    "held_bytes": "the memory that is a worker's own",
    "replaced": "`yes`, or `no` where too many are ending already",
    "services": "the daemons",
    "legacy": "the mechanism that is fallen back to",
    "option": "an option of ms.conf",
    "of": "the server name of a certificate, or `default`",
    "names": "the names in it",
    "complaint": "what is the matter with it",
    "function": "what ran in the background",
    "context": "what the event loop was at",
}
"""What each field means. Beyond ``event`` a line has those fields that are known."""


def _table(text: str) -> dict[str, Event]:
    made = {}
    for line in dedent(text).strip().splitlines():
        name, writers, levels, fields, meaning = (part.strip() for part in line.split("|"))
        made[name] = Event(writers, levels, fields, meaning)
    return made


AUDIT = _table("""
    mail-delivered | lmtpd | info | id sender to message_id size | a message came into a mailbox by LMTP
    mail-appended | imapd msadm | info | message_id size | a message was put into a mailbox, by APPEND or an import
    mail-copied | imapd | info | from_owner from_mailbox from_mailbox_id from_uids messages size message_id | messages were copied
    mail-moved | imapd | info | from_owner from_mailbox from_mailbox_id from_uids messages size message_id | messages were moved, by MOVE or by renaming INBOX
    mail-flagged | imapd pop3d | info | add remove set messages size message_id | flags or keywords were changed; \\Seen also by reading
    mail-expunged | imapd pop3d | info | messages size message_id | messages were removed for good, in pop3d by DELE and QUIT
    mailbox-created | imapd lmtpd msadm | info | | a mailbox was made
    mailbox-deleted | imapd msadm | info | | a mailbox was removed, with its messages
    mailbox-renamed | imapd msadm | info | new | a mailbox was given another name
    mailbox-subscribed | imapd lmtpd | info | | a name was added to the subscriptions
    mailbox-unsubscribed | imapd | info | | and taken off them
    acl-changed | imapd msadm | info | identifier rights before | an entry of an access control list was changed
""")  # fmt: skip
AUDIT_FIELDS = "user by via session peer owner mailbox mailbox_id uids"
"""What all of those have, where it is known; those about mailboxes have no UIDs."""

EVENTS = _table("""
    login | imapd pop3d lmtpd | info | session user by mechanism peer | somebody has logged in
    login-failed | imapd pop3d lmtpd | warning | session name mechanism code peer | a login was refused; one line for each
    login-unavailable | imapd pop3d lmtpd authproxyd | error | session peer error | nobody could say whether a login is right
    unauthenticated | imapd | info | session user | the session is nobody's again (RFC 8437)
    client-id | imapd | info | session user client | a client said what it is (RFC 2971)
    anonymous | authproxyd | info | peer trace | somebody came in without a name
    app-password-used | authproxyd | info | user label peer | which app password was the right one
    app-password-refused | authproxyd | warning | user label service | the right app password, for another service
    app-password-use-not-kept | authproxyd | error | error | the day of its use could not be written
    migrated | authproxyd | info | user | a password of the legacy mechanism was taken over
    migration-failed | authproxyd | warning | user error | and was not
    account-made | authproxyd | info | user mailstore | an account was made at the first login
    account-not-made | authproxyd | warning | user error | and was not
    keys-renewed | authproxyd | info | user | the verifier of a password was made anew
    keys-not-renewed | authproxyd | error | user error | and was not
    passwords-forgotten | authproxyd | info | count | passwords kept for mechanisms that are off were dropped
    mechanism-failed | authproxyd | error | mechanism error at | a fault in a mechanism or a plugin
    stranger | authproxyd | warning | reason | somebody else has connected to its socket
    account-added | msadm | info | user by via account mailstore limit_bytes limit_messages | an account was made, with its password
    account-removed | msadm | info | user by via account mailstore | an account was removed, with its mail
    account-restored | msadm | info | user by via account mailstore | an account that was gone is back from a backup
    account-moved | msadm | info | user by via account mailstore | its mail is in this mailstore now
    account-enabled | msadm | info | user by via account | its user may log in again
    account-disabled | msadm | info | user by via account | its user may not log in any more
    password-set | msadm | info | user by via account | an account was given another password
    app-password-added | msadm | info | user by via account label service | an account was given an app password, for these services or all
    app-password-removed | msadm | info | user by via account label | an app password was taken back
    quota-set | imapd msadm | info | user by via session peer account limit_bytes limit_messages | what an account may have was set, to what holds now
    alias-added | msadm | info | user by via account alias | an account was given another address
    alias-removed | msadm | info | user by via account alias | and it was taken away
    group-added | msadm | info | user by via group | a group was made
    group-removed | msadm | info | user by via group | a group was removed
    group-joined | msadm | info | user by via account group | somebody was put into a group
    group-left | msadm | info | user by via account group | and taken out of it
    delivery | lmtpd | info | id session sender to by message_id size | a message was delivered to a recipient
    delivery-failed | lmtpd | warning | id session sender to error | it was not, and the MTA was told
    message-refused | lmtpd | warning | id session sender error | a message was not taken in at all
    mailbox-made | lmtpd | info | user mailbox | a recipient's address made a mailbox
    default-mailboxes-failed | imapd | error | session user error | they could not be made; the next login tries again
    maildrop-failed | pop3d | error | session user step peer error | a maildrop could not be opened, read or written
    maildrop-gone | pop3d | info | session user step peer error | a maildrop has just been moved or deleted
    session-failed | imapd pop3d lmtpd | error | session user peer error at | a session was ended by an error
    news-failed | imapd | error | session user error | a session could not be told what changed
    list-status-failed | imapd | error | session error | the STATUS of a mailbox in a LIST could not be told
    fault | imapd pop3d lmtpd | error | session user command id sender to error at | a fault in the program; the client was told so
    too-many-sessions | imapd | warning | session user sessions peer | a user had as many as one may have
    session-slowed | imapd pop3d lmtpd | warning | session user peer | its commands came faster than they may (`…-commands-per-second`); said once for each session
    session-stalled | imapd pop3d lmtpd | info | session user peer | its client took nothing of its answers for `send-timeout`; it was ended
    connection-refused | imapd pop3d lmtpd | warning | peer reason | there were too many; said once a minute
    connection-lost | imapd pop3d lmtpd | info | peer reason | a connection broke
    cannot-accept | imapd pop3d lmtpd | error | listener error | the system has no room for connections
    proxy-header | imapd pop3d lmtpd | warning | proxy listener reason | a proxy did not say whom a connection is from
    tls-failed | imapd pop3d | info | peer reason | no TLS came about
    stop-failed | imapd pop3d lmtpd | error | error at | a session could not be told to end
    control-failed | imapd pop3d lmtpd | info error | reason error at | a request of msadm's went wrong
    talk | imapd pop3d | info | user by | an administrator speaks as a user, without a password
    trace | imapd pop3d lmtpd | info | user by | an administrator sees what is said in a user's sessions
    no-control-socket | imapd pop3d lmtpd | warning | reason | msadm will not see this worker's sessions
    audit-failed | imapd pop3d lmtpd msadm | error | error at | an act on mail could not be put into words; it was done
    log-lost | all daemons | warning | lines | lines were lost because the log did not take them
    log-reopened | all daemons | info | path | the file is open anew
    log-not-reopened | all daemons | error | path error | it is not: lines go where they went
    library | all daemons | info warning error | logger text error at | a library says something
    started | all daemons | info | services workers listening mechanism legacy user | the daemon runs
    ready | storemgr imapd pop3d lmtpd | info | child child_pid | all workers accept; in storemgr: a daemon does
    stopping | all daemons | info | | the end begins
    ended | all daemons | info | | the end
    draining | imapd pop3d lmtpd | info | sessions | a worker ends its sessions
    worker-memory-limit | imapd pop3d lmtpd | warning | worker child_pid held_bytes replaced | a worker holds too much and another one takes its place, if `replaced`
    retired | imapd pop3d lmtpd | info | sessions | a worker accepts no more
    survey-failed | lmtpd | warning | mailstore reason | how much mail there is in it could not be found out
    child-ended | storemgr imapd pop3d lmtpd | info error | child child_pid how after_s words | a daemon or worker has ended
    crash-loop | storemgr imapd pop3d lmtpd | error | child deaths last | it dies again and again: the next starts wait longer and longer
    crash-loop-ended | storemgr imapd pop3d lmtpd | info | child child_pid | it has lived for a minute
    sockets-kept | storemgr | warning | child reason | the sockets that are wanted now cannot be had: those of before stay
    not-a-listener | storemgr imapd pop3d lmtpd | warning | which | what was inherited by LISTEN_FDS is none of ours
    listens-for-nobody | storemgr imapd pop3d lmtpd | warning | where | an inherited socket that no option names was closed
    request-refused | storemgr | warning | reason | somebody asked for a reload or an upgrade who may not, or in a wrong way
    upgrading | storemgr | info | python root | another version is to take over
    upgraded | storemgr | info | daemons | and has
    not-upgraded | storemgr | error | reason | and has not: all stays as it was
    not-in-charge | storemgr | error | reason | a daemon of before does not give up its lock
    taken-over | storemgr | info | version daemons | storemgr is the new version now
    leaving | imapd pop3d lmtpd | info | | another version has taken over; this one ends with its sessions
    silent | storemgr imapd pop3d lmtpd | error | child child_pid seconds | it shows no life and is killed
    cut-off | storemgr imapd pop3d lmtpd | warning | child child_pid | it did not end in time and is killed
    start-failed | storemgr imapd pop3d lmtpd | error | child child_pid error | it could not be started
    refused | storemgr | error | child child_pid reason | a daemon will not run as things are
    worker-failed | imapd pop3d lmtpd | error | error at | a fault in a worker's own life
    reloading | storemgr | info | | the configuration is read anew
    reload-ended | storemgr | info | | all daemons have said how it went
    reloaded | imapd pop3d lmtpd | info | | new workers have the new configuration
    not-reloaded | storemgr imapd pop3d lmtpd | error | reason | all stays as it was
    needs-restart | storemgr imapd pop3d lmtpd | warning | services option | a reload cannot change this
    not-handed-over | storemgr | error | child child_pid error | a daemon did not take its certificates
    not-taken-over | imapd pop3d lmtpd | error | error | and the other side of it
    certificates-changed | storemgr | info | | the files are others than before
    certificates-kept | imapd pop3d lmtpd | warning | reason | they cannot be read: those in use stay
    certificate | imapd pop3d | warning | of names complaint | a certificate will not do for long
    renewed | imapd pop3d lmtpd | info | | new workers have the new certificates
    not-renewed | imapd pop3d lmtpd | error | reason | and they do not
    statistics | imapd pop3d lmtpd | info | path | statistics were written
    statistics-failed | authproxyd imapd pop3d lmtpd | error | path error | and were not
    confinement | authproxyd imapd pop3d lmtpd | info warning | landlock seccomp reason | by what workers are confined
    confinement-incomplete | authproxyd imapd pop3d lmtpd | warning | reason | the kernel lacks something
    mailstore-out-of-reach | imapd pop3d lmtpd | warning | path reason | a mailstore was not there when a worker began
    notification-failed | imapd pop3d lmtpd | error | error at | changes of other processes come late
    rest-failed | imapd pop3d lmtpd | error | error at | descriptors were not given back
    background-failed | authproxyd imapd pop3d lmtpd | error | function error at | work behind a command failed
    loop-error | authproxyd imapd pop3d lmtpd | error | context error at | the event loop met an error
    unraisable | authproxyd imapd pop3d lmtpd | warning | error | Python met an error that it could not pass on
""")  # fmt: skip


def format_tables() -> str:
    """The tables of ``docs/logging.md``."""
    rows = ["### Events", "", "| event | of | level | fields | what it says |", "|---|---|---|---|---|"]
    rows += [_format_row(name, event, event.fields) for name, event in sorted(EVENTS.items())]
    rows += ["", "### Acts on mail (`audit-log`)", "", f"All have `{AUDIT_FIELDS.replace(' ', '` `')}`.", ""]
    rows += ["| event | of | level | and | what it says |", "|---|---|---|---|---|"]
    rows += [_format_row(name, event, event.fields) for name, event in AUDIT.items()]
    rows += ["", "### Fields", "", "| field | meaning |", "|---|---|"]
    rows += [f"| `{name}` | {meaning} |" for name, meaning in FIELDS.items()]
    return "\n".join(rows) + "\n"


def _format_row(name: str, event: Event, fields: str) -> str:
    shown = " ".join(f"`{field}`" for field in fields.split())
    return f"| `{name}` | {event.writers} | {event.levels} | {shown} | {event.meaning} |"
