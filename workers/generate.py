"""Writes the manual pages of the daemons: ``docs/man/imapd.8`` and its like.

``python -m workers.generate`` writes them into the source tree; a test compares. They follow from what the
daemons say of themselves, and from who reads which option of ms.conf.
"""

from __future__ import annotations

from pathlib import Path

from mstore.base.config import walk_sections
from mstore.base.generate import write_all
from mstore.base.options import DEFAULT_CONFIG
from mstore.base.roff import Page
from workers import authproxyd, imapd, lmtpd, metricsd, pop3d, storemgr
from workers.arguments import flags

PURPOSES = {
    "storemgr": storemgr.PURPOSE,
    "authproxyd": authproxyd.PURPOSE,
    "imapd": imapd.PURPOSE,
    "pop3d": pop3d.PURPOSE,
    "lmtpd": lmtpd.PURPOSE,
    "metricsd": metricsd.PURPOSE,
}
STARTED = """\
It is started by the superuser, or by the user as whom everything is to run; the superuser's rights are
given up for those of `runtime-user` once the sockets are there. Usually that is done by storemgr(8), which
starts it again when it ends: to stop it for good, use rc.m-store(8). It does not start when a database is
missing; then a backup must be restored."""
NOLOGIN = """\
While the file `etc/nologin` below `ms-path` is there, every new session is told its first line and ended."""
ABOUT = {
    "storemgr": """\
storemgr starts the daemons, starts those again that have ended, ever more slowly when they do so at once, and
stops them in order. It stays in the foreground, and says over `sd_notify` when all daemons are ready. Usually
it is started by rc.m-store(8) or by systemd.""",
    "authproxyd": """\
authproxyd alone reads what is kept of passwords. The other daemons hand it what their clients say at a login.
Programs of the site may ask at the socket `ipc/authproxyd`, with one command:

`AUTHENTICATE login password` CR LF

The answer is `OK` or `NO`, perhaps with a text, without a line end. Only processes of the superuser and of
`runtime-user` are answered. The superuser's rights are kept where the authentication mechanism needs them
(`shadow`, `pam`); otherwise authproxyd runs as `runtime-user`. It does not start when a database is missing;
then a backup must be restored.""",
    "imapd": f"""\
imapd lets people read their mail by IMAP4rev1 and IMAP4rev2. {STARTED}

{NOLOGIN}""",
    "pop3d": f"""\
pop3d lets people fetch the mail in their INBOX; POP3 knows no other mailbox. One session at a time may have
it. {STARTED}

{NOLOGIN}""",
    "lmtpd": f"""\
lmtpd takes mail from the mail transport agent, and says of each recipient whether it is delivered, which is
to say on disk. Whoever may enter the directory of the socket `ipc/lmtpd` may deliver; over TCP one logs in.
{STARTED}

A recipient `joe+important/March2000@example.org` means joe's mailbox `important/March2000`, or his INBOX
where there is none; `shared+bugs@example.org` the shared mailbox `shared/bugs`, if anyone may post there.""",
    "metricsd": """\
metricsd answers `GET /metrics` with the counters of all daemons, as Prometheus reads them. It asks the
daemons nothing, and runs where `metrics-listen` is set.""",
}
SIGNALS = {
    "TERM, INT": "Finish what is under way, within shutdown-grace, and end. storemgr ends all daemons; a"
    " daemon that storemgr runs is started again.",
    "HUP": "Append the statistics to `log/DAEMON.stats` below ms-path; storemgr passes it on to all daemons.",
    "USR1": "Read the configuration and the certificates again; storemgr passes it on. rc.m-store reload does"
    " this, and waits until it is complete.",
}
UPGRADE = (
    "Have the program and the configuration as they are on disk now take over, without ending a session."
    " rc.m-store upgrade does this, and waits until it is complete."
)
FILES = {
    "storemgr": ["log/storemgr.log"],
    "authproxyd": ["ipc/authproxyd", "ipc/authproxyd-sasl", "db/accounts.db", "db/passwords/passwords.db"],
    "imapd": ["ipc/authproxyd-sasl", "etc/nologin", "db/accounts.db"],
    "pop3d": ["ipc/authproxyd-sasl", "etc/nologin", "db/accounts.db"],
    "lmtpd": ["ipc/lmtpd", "ipc/lmtpd-oq", "spool", "db/accounts.db"],
    "metricsd": ["run/imapd.scoreboard"],
}
WHAT = {
    "log/storemgr.log": "With -d, what the daemons say.",
    "ipc/authproxyd": "The socket for one command.",
    "ipc/authproxyd-sasl": "The socket by which the daemons ask.",
    "ipc/lmtpd": "The socket for the mail transport agent.",
    "ipc/lmtpd-oq": "The socket for mail that no quota stops (lmtp-enable-overquota-delivery).",
    "spool": "Messages that are being received.",
    "etc/nologin": "Turns new sessions away.",
    "db/accounts.db": "Who there is.",
    "db/passwords/passwords.db": "What is kept of passwords.",
    "run/imapd.scoreboard": "The counters of imapd; every daemon has such a file.",
}


def format_page(name: str) -> Page:
    """The manual page of a daemon."""
    page = Page(name, "8", PURPOSES[name])
    letters = flags(name == "storemgr", name == "authproxyd")
    forms = " ".join(f"[{flag.name}{' ' * bool(flag.metavar)}{flag.metavar}]" for flag in letters)
    page.synopsis(name, [forms])
    page.heading("DESCRIPTION")
    page.prose(ABOUT[name])
    page.heading("OPTIONS")
    for flag in letters:
        page.item(f"{flag.name} {flag.metavar}".rstrip(), f"{flag.what[0].upper()}{flag.what[1:]}.")
    page.heading("SIGNALS")
    page.prose(f"The process id is in `run/{name}.lock` below ms-path, which is locked while {name} runs.")
    for signals, text in (SIGNALS | {"USR2": UPGRADE} if name == "storemgr" else SIGNALS).items():
        if name == "metricsd" and signals == "HUP":
            continue  # It keeps no statistics of its own.
        page.item(signals, text.replace("DAEMON", name if name != "storemgr" else "DAEMON"))
    page.heading("CONFIGURATION")
    page.prose(f"{name} reads these options of ms.conf(5).")
    page.options_of(option for _, options in walk_sections() for option in options if name in option.readers)
    page.heading("FILES")
    page.item(str(DEFAULT_CONFIG), "The configuration, unless -f names another.")
    page.prose("Below ms-path, which is /var/md/store unless it is set:")
    own = [f"run/{name}.lock"] + [f"log/{name}.stats"] * (name not in ("storemgr", "metricsd"))
    more = {own[0]: "The process id.", own[-1]: "Statistics."} if own[1:] else {own[0]: "The process id."}
    for path in (*own, *FILES[name]):
        page.item(path, (WHAT | more)[path])
    page.heading("EXIT STATUS")
    page.prose("0 after an end that was asked for, 78 when something must be mended first, which is said.")
    page.see_also("ms.conf(5)", "rc.m-store(8)", "msadm(8)", *(f"{other}(8)" for other in PURPOSES))
    return page


def generated() -> dict[Path, str]:
    """Each page with the text that it should hold now."""
    return {page.path: page.text for page in map(format_page, PURPOSES)}


if __name__ == "__main__":
    write_all(generated())
