"""Every option of ms.conf, declared once, here, in ``limitoptions.py``, ``loginoptions.py`` or
``logoptions.py``: name, kind, default, documentation and who reads it.

The parser (``config.py``), the sample, the manual page (``generate.py``) and the type checker all read these
declarations; nothing about an option is written anywhere else. To add one, add an attribute to
:class:`Settings` and run ``python -m mstore.base.generate``.
"""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mstore.base import values
from mstore.base.limitoptions import LimitSettings
from mstore.base.loginoptions import SESSIONS, LoginSettings
from mstore.base.logoptions import LogSettings
from mstore.base.option import NO_DEFAULT, Option, option
from mstore.base.values import Address, AssignmentRule, ExpiryRule, NamedCertificate

DEFAULT_CONFIG = Path("/etc/md/store/ms.conf")
SERVICES = ("authproxyd", "imapd", "pop3d", "lmtpd", "metricsd")


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _workers(name: str) -> Any:
    return option(
        f"{name}-workers", values.number(1, 512), f"How many worker processes {name} keeps.",
        readers=(name,), section="Processes", factory=_cores, default_text="one per core", example="4",
    )  # fmt: skip


def _listen(name: str, port: int | None, what: str, example: str = "") -> Any:
    default = () if port is None else (Address("*", port),)
    return option(
        name, values.ADDRESSES, what, readers=(name.split("-")[0],), section="Listening",
        default=default, example=example,
    )  # fmt: skip


def _union(sets: list[Any]) -> frozenset[bytes]:
    return frozenset[bytes]().union(*sets)


EVERYBODY = ("storemgr", *SERVICES, "msadm")


@dataclass(frozen=True, kw_only=True)
class Settings(LogSettings, LimitSettings, LoginSettings):
    """The configuration of a site, complete and checked; every attribute is an option of ms.conf."""

    ms_path: Path = option(
        "ms-path", values.PATH,
        """The directory of M-Store's own files: db (accounts), ipc (sockets), run (lock files), log
        (statistics), etc.""",
        readers=EVERYBODY, section="Files", default=Path("/var/md/store"),
    )  # fmt: skip
    executable_base_path: Path = option(
        "executable-base-path", values.PATH,
        """The directory of installed parts; SASL plugins are looked for in its lib/plugins
        (docs/authproxyd.md).""",
        readers=("authproxyd",), section="Files", default=Path("/usr/local/md"),
    )  # fmt: skip
    mailstores: Mapping[str, Path] = option(
        "mailstore", values.MAILSTORE,
        """A directory that holds mail, and the name by which accounts refer to it. At least one is needed;
        give the option once for each; msadm init makes the directory. A name, once accounts live there, must
        not change; the path may, when the directory is moved.""",
        readers=(*SESSIONS, "authproxyd", "msadm"), section="Files", factory=dict, default_text=NO_DEFAULT,
        gather=dict,
        example="main /var/md/store/mail",
    )  # fmt: skip
    ms_assignment_policy: tuple[AssignmentRule, ...] = option(
        "ms-assignment-policy", values.ASSIGNMENT,
        """Where new accounts go; accounts that exist stay where they are (msadm user move moves them). The
        first line that fits the account's name counts: every line fits, unless it has a GLOB, which is
        recognised by one of * ? [ @ in it and compared without case. Of the mailstores it names, match GLOB
        and round-robin take the one with the fewest accounts, so that new accounts go round; most-free takes
        the one whose file system has most space left, and of several that have equally much the one with the
        fewest accounts; hash takes the same one for the same name always, and a mailstore that is added
        takes over no more than its share of names. Without a line that fits, accounts go round all
        mailstores.""",
        readers=("msadm", "authproxyd"), section="Files", factory=tuple, default_text=NO_DEFAULT,
        gather=tuple, example="most-free *@example.org main second",
    )  # fmt: skip
    message_size_limit: int = option(
        "message-size-limit", values.SIZE,
        "The largest message that is accepted, by LMTP and by IMAP APPEND.",
        readers=("imapd", "lmtpd"), section="Files", default=100 << 20,
    )  # fmt: skip

    retain_expunged: int = option(
        "retain-expunged", values.number(0, 3650),
        """For how many days messages that were expunged, and deleted mailboxes, can be brought back by msadm
        undelete (docs/operations.md). They take space on the disk so long, and do not count for quotas. 0 for
        not at all.""",
        readers=(*SESSIONS, "msadm"), section="Files", default=0,
    )  # fmt: skip
    auto_expunge: tuple[ExpiryRule, ...] = option(
        "auto-expunge", values.EXPIRY,
        r"""How many days messages stay in a mailbox, given by its name or, as \Trash, by its special use;
        then they are expunged. What counts is how long a message has been in that mailbox. It is looked after
        when a mailbox is opened, and by msadm upkeep. A rule for a name goes before one for a use, and what
        msadm mailbox days says of one user's mailbox before both.""",
        readers=(*SESSIONS, "msadm"), section="Files", factory=tuple, default_text="none", gather=tuple,
        example=r"\Trash 30",
    )  # fmt: skip

    runtime_user: str | None = option(
        "runtime-user", values.WORD,
        """The user as whom the daemons run once their ports are bound, and who owns the mail. Needed when
        M-Store is started as the superuser; otherwise all runs as the invoking user.""",
        readers=EVERYBODY, section="Processes", example="mstore",
    )  # fmt: skip
    imapd_workers: int = _workers("imapd")
    pop3d_workers: int = _workers("pop3d")
    lmtpd_workers: int = _workers("lmtpd")
    confine_workers: bool = option(
        "confine-workers", values.BOOLEAN,
        """Whether the workers that speak to clients, and authproxyd, are kept by the kernel to what is their
        work (docs/security.md). To be switched off only to find a fault, with debuggers and core dumps.""",
        readers=(*SESSIONS, "authproxyd"), section="Processes", default=True,
    )  # fmt: skip
    worker_memory_limit: int = option(
        "worker-memory-limit", values.size_limit(128 << 20),
        """How much memory of its own a worker may hold. One that holds more is replaced: a new one takes the
        connections to come, and its sessions are ended as each is between two commands, none within one;
        the log says so. 0 for no limit.""",
        readers=SESSIONS, section="Processes", default=2 << 30,
    )  # fmt: skip
    shutdown_grace: int = option(
        "shutdown-grace", values.duration(0, 3600),
        "How long a stopping worker lets commands under way finish before it cuts them off.",
        readers=SESSIONS, section="Processes", default=10,
    )  # fmt: skip

    imapd_listen: tuple[Address, ...] = _listen(
        "imapd-listen", 143, "Where imapd listens; * stands for all addresses, none for not at all."
    )
    imapd_tls_listen: tuple[Address, ...] = _listen(
        "imapd-tls-listen", None, "Where imapd listens for TLS from the first byte (usually *:993).", "*:993"
    )
    imapd_autologout: int = option(
        "imapd-autologout", values.duration(1800, 7 * 86400, "RFC 3501 §5.4 asks for"),
        """How long an IMAP session may be silent: 30 minutes at least (RFC 3501 §5.4). The limit before the
        login is login-timeout.""",
        readers=("imapd",), section="Listening", default=1800,
    )  # fmt: skip
    imapd_connections_per_user: int = option(
        "imapd-connections-per-user", values.number(0, 1_000_000),
        """How many IMAP sessions a user may have at a time, from wherever; who wants one more is told
        NO [LIMIT] at login. 0 for any number. Mail programs have several each, for every device. (Of POP3
        sessions a user has only ever one.)""",
        readers=("imapd",), section="Defence", default=100,
    )  # fmt: skip
    pop3d_listen: tuple[Address, ...] = _listen(
        "pop3d-listen", 110, "Where pop3d listens; * stands for all addresses, none for not at all."
    )
    pop3d_tls_listen: tuple[Address, ...] = _listen(
        "pop3d-tls-listen", None, "Where pop3d listens for TLS from the first byte (usually *:995).", "*:995"
    )
    pop3d_autologout: int = option(
        "pop3d-autologout", values.duration(600, 86400, "RFC 1939 §3 asks for"),
        """How long a POP3 session may be silent: 10 minutes at least (RFC 1939 §3). The limit before the
        login is login-timeout.""",
        readers=("pop3d",), section="Listening", default=600,
    )  # fmt: skip
    pop3d_login_delay: int = option(
        "pop3d-login-delay", values.duration(0, 86400),
        """How long a user must wait between two POP3 sessions; who is back earlier is told [LOGIN-DELAY]
        (RFC 2449 §6.5). 0 for no wait.""",
        readers=("pop3d",), section="POP3", default=0,
    )  # fmt: skip
    pop3d_retr_marks_seen: bool = option(
        "pop3d-retr-marks-seen", values.BOOLEAN,
        """Whether a message that was fetched by RETR is marked as \\Seen for IMAP clients, when the session
        ends.""",
        readers=("pop3d",), section="POP3", default=False,
    )  # fmt: skip
    metrics_listen: tuple[Address | Path, ...] = option(
        "metrics-listen", values.PLACES,
        """Where metricsd answers Prometheus (docs/monitoring.md): to everybody who can connect. A PATH, which
        begins with /, is that of a Unix socket, in a directory where runtime-user may make one. Without it,
        metricsd does not run.""",
        readers=("storemgr", "metricsd", "lmtpd"), section="Listening", default=(), default_text="none",
        example="127.0.0.1:9143",
    )  # fmt: skip
    metrics_socket_group: str | None = option(
        "metrics-socket-group", values.WORD,
        """The group that may connect to the Unix sockets of metrics-listen, besides runtime-user: their mode
        is 0660. Without it, the group of runtime-user.""",
        readers=("metricsd",), section="Listening", example="prometheus",
    )  # fmt: skip
    proxy_listen: tuple[Address, ...] = option(
        "proxy-listen", values.ADDRESSES,
        """Those of the addresses given to imapd-listen, pop3d-listen and the others, written alike, where
        every connection begins with the header of the PROXY protocol, version 1 or 2, which says whom it is
        from (HAProxy's send-proxy and send-proxy-v2). Whoever can connect there can claim to be anybody: let
        only the proxy.""",
        readers=SESSIONS, section="Listening", default=(), default_text=NO_DEFAULT, example="10.0.0.5:1143",
    )  # fmt: skip
    server_name: str = option(
        "server-name", values.DOMAIN, "The name by which this host presents itself to clients.",
        readers=(*SESSIONS, "authproxyd"), section="Listening", factory=socket.gethostname,
        default_text="the host's name",
        example="mail.example.org",
    )  # fmt: skip

    tls_certificate: Path | None = option(
        "tls-certificate", values.PATH,
        """The certificate with its chain, in PEM. With it and tls-key there is STARTTLS, and imapd and pop3d
        may have TLS listeners. When one of the files that TLS is made from is replaced, as when a certificate
        is renewed, storemgr sees it within some seconds, and new connections have the new one.""",
        readers=("storemgr", *SESSIONS), section="TLS", example="/etc/md/store/cert.pem",
    )  # fmt: skip
    tls_key: Path | None = option(
        "tls-key", values.PATH,
        """The certificate's private key, in PEM and without a passphrase. Only the superuser needs to be able
        to read it where the superuser starts M-Store.""",
        readers=("storemgr", *SESSIONS), section="TLS", example="/etc/md/store/key.pem",
    )  # fmt: skip
    tls_sni: tuple[NamedCertificate, ...] = option(
        "tls-sni", values.NAMED_CERTIFICATE,
        """Another certificate, and its key, for clients that ask for this host name (server name indication).
        *.example.org stands for every name with one more label; the name itself goes before it. All other
        clients get tls-certificate.""",
        readers=("storemgr", *SESSIONS), section="TLS", factory=tuple, default_text="none",
        gather=tuple, example="mail.example.org /etc/md/store/example.org.pem /etc/md/store/example.org.key",
    )  # fmt: skip
    tls_minimum_version: str = option(
        "tls-minimum-version", values.choice("1.2", "1.3"), "The oldest version of TLS that is spoken.",
        readers=SESSIONS, section="TLS", default="1.2",
    )  # fmt: skip
    tls_ciphers: str | None = option(
        "tls-ciphers", values.WORD,
        """The ciphers for TLS 1.2, as OpenSSL writes lists of them; those of TLS 1.3 are all good, and stay.
        Without it, those that Python recommends: with forward secrecy, and authenticated.""",
        readers=SESSIONS, section="TLS", example="ECDHE+AESGCM:ECDHE+CHACHA20",
    )  # fmt: skip
    tls_client_certificate: str = option(
        "tls-client-certificate", values.choice("none", "request", "require"),
        """Whether clients are asked for a certificate: with request they may have none, with require they are
        turned away without one. One that tls-client-ca does not vouch for is refused in any case.""",
        readers=SESSIONS, section="TLS", default="none",
    )  # fmt: skip
    tls_client_ca: Path | None = option(
        "tls-client-ca", values.PATH,
        "The certificates, in PEM, of the authorities whose signature clients' certificates need.",
        readers=("storemgr", *SESSIONS), section="TLS", example="/etc/md/store/client-ca.pem",
    )  # fmt: skip

    default_domain: str | None = option(
        "default-domain", values.DOMAIN,
        "The domain of login names and recipients that are given without one.",
        readers=EVERYBODY, section="Accounts", example="example.org",
    )  # fmt: skip
    single_domain: bool = option(
        "single-domain", values.BOOLEAN,
        """The site is one domain: accounts are named without a domain, and a domain in a login name or a
        recipient is ignored.""",
        readers=EVERYBODY, section="Accounts", default=False,
    )  # fmt: skip
    admin_users: tuple[str, ...] = option(
        "admin-users", values.WORDS,
        """Accounts that are administrators: they see all mailboxes, make and remove them, say who may do what
        there (docs/rights.md), and may log in as another user with their own password, where a mechanism can
        say so (docs/authproxyd.md).""",
        readers=("authproxyd", "imapd", "lmtpd", "msadm"), section="Accounts", default=(),
        default_text=NO_DEFAULT, example="postmaster",
    )  # fmt: skip
    admin_domain: str | None = option(
        "admin_domain", values.DOMAIN,
        """Accounts in this domain are administrators, those without a domain where it is the default-domain;
        with single-domain this says nothing.""",
        readers=("authproxyd", "imapd", "lmtpd", "msadm"), section="Accounts", example="admin.example.org",
    )  # fmt: skip
    quota_visible_to_owner: bool = option(
        "quota-visible-to-owner", values.BOOLEAN,
        """Whether users may see the quota of their own account over IMAP. When off, only administrators see
        quotas.""",
        readers=("imapd",), section="Accounts", default=False,
    )  # fmt: skip

    default_mailboxes: bool = option(
        "default-mailboxes", values.BOOLEAN,
        """Whether an account is given the mailboxes Drafts, Sent, Trash, Junk and Archive, marked for what
        they are (RFC 6154) and subscribed, when its user first logs in to imapd. One that he deletes is not
        made again.""",
        readers=("imapd",), section="IMAP", default=True,
    )  # fmt: skip
    imapd_admin_contact: str | None = option(
        "imapd-admin-contact", values.WORD,
        """How users reach the administrators: a URI, which clients are shown as the annotation /shared/admin
        of the site (RFC 5464).""",
        readers=("imapd",), section="IMAP", example="mailto:postmaster@example.org",
    )  # fmt: skip
    imapd_disable_capability: frozenset[bytes] = option(
        "imapd-disable-capability", values.CAPABILITIES,
        """IMAP extensions, by the words by which they are announced, that are switched off: they are neither
        announced nor enabled. For clients that stumble over one of them. Without LITERAL+ there is LITERAL-.
        Without UTF8=ACCEPT messages with bytes beyond ASCII in their headers are taken from every client, as
        is needed where such mail is migrated. May be given several times.""",
        readers=("imapd",), section="IMAP", factory=frozenset, default_text="none", gather=_union,
        example="COMPRESS=DEFLATE NOTIFY",
    )  # fmt: skip
    imapd_disable_capability_for: tuple[tuple[str, frozenset[bytes]], ...] = option(
        "imapd-disable-capability-for", values.CAPABILITIES_FOR,
        """The same for the accounts whose names the GLOB matches, compared without case; it holds once they
        have logged in. May be given several times, and all lines that match count.""",
        readers=("imapd",), section="IMAP", factory=tuple, default_text="none", gather=tuple,
        example="joe@example.org COMPRESS=DEFLATE",
    )  # fmt: skip

    imapd_enable_capability: frozenset[bytes] = option(
        "imapd-enable-capability", values.DORMANT,
        """IMAP extensions that are off unless they are switched on here, because few clients have been tried
        with them: UIDONLY (RFC 9586). May be given several times.""",
        readers=("imapd",), section="IMAP", factory=frozenset, default_text="none", gather=_union,
        example="UIDONLY",
    )  # fmt: skip
    imapd_enable_capability_for: tuple[tuple[str, frozenset[bytes]], ...] = option(
        "imapd-enable-capability-for", values.DORMANT_FOR,
        """The same for the accounts whose names the GLOB matches, compared without case; it holds once they
        have logged in. What is switched off by imapd-disable-capability stays off.""",
        readers=("imapd",), section="IMAP", factory=tuple, default_text="none", gather=tuple,
        example="joe@example.org UIDONLY",
    )  # fmt: skip

    lmtp_socket_group: str | None = option(
        "lmtp-socket-group", values.WORD,
        """The group whose members may hand in messages: it owns the directory ipc and the socket lmtpd. Give
        the group of the mail transport agent, or make that agent a member of runtime-user's group.""",
        readers=("lmtpd",), section="Delivery", default_text="runtime-user's group", example="postfix",
    )  # fmt: skip
    lmtp_shared_name: str = option(
        "lmtp-shared-name", values.LOCAL_NAME,
        "The local name that stands for shared mailboxes in plus-addressing (shared+bugreports).",
        readers=("lmtpd",), section="Delivery", default="shared",
    )  # fmt: skip
    lmtp_enable_overquota_delivery: bool = option(
        "lmtp-enable-overquota-delivery", values.BOOLEAN,
        "Whether lmtpd also listens on ipc/lmtpd-oq, where messages are delivered regardless of quotas.",
        readers=("lmtpd",), section="Delivery", default=False,
    )  # fmt: skip
    lmtp_create_mailbox: bool = option(
        "lmtp-create-mailbox", values.BOOLEAN,
        """Whether the mailbox named behind the plus of an address (joe+lists@…) is made, and subscribed, when
        the user has none of that name. When off, such mail goes to INBOX.""",
        readers=("lmtpd",), section="Delivery", default=False,
    )  # fmt: skip
    lmtp_overquota_reply: str = option(
        "lmtp-overquota-reply", values.choice("temporary", "permanent"),
        """What a recipient is answered whose quota has no room: temporary (452 4.2.2; the mail transport
        agent tries again for some days) or permanent (552 5.2.2; the sender is told at once).""",
        readers=("lmtpd",), section="Delivery", default="temporary",
    )  # fmt: skip
    lmtp_duplicate_window: int = option(
        "lmtp-duplicate-window", values.duration(0, 30 * 86400),
        """For so long after a message has come to a mailbox another one with its Message-ID is acknowledged
        there and not stored again, for mail transport agents that try again because they missed an
        acknowledgement. 0 to store whatever comes.""",
        readers=("lmtpd",), section="Delivery", default=0,
    )  # fmt: skip
    allow8bitheaders: str = option(
        "allow8bitheaders", values.EIGHT_BIT,
        """What becomes of messages whose headers hold bytes beyond ASCII. off: they are rejected. on: they
        are accepted with the high bit of these bytes stripped. utf8: they are accepted as they are if they
        are in UTF-8, and otherwise rejected. The name alone means on. What a client hands in with SMTPUTF8
        may be in UTF-8 in any case.""",
        readers=("lmtpd",), section="Delivery", default="off",
    )  # fmt: skip
    lmtpd_listen: tuple[Address, ...] = _listen(
        "lmtpd-listen", None,
        """Where lmtpd listens besides its Unix socket; clients must log in there (docs/lmtp.md). Without it,
        nowhere.""",
        "*:24",
    )  # fmt: skip
    lmtp_users: tuple[str, ...] = option(
        "lmtp-users", values.WORDS,
        """The accounts that may hand in mail at lmtpd-listen, to anybody here and in anybody's name; without
        it, the administrators. At the Unix socket nobody logs in.""",
        readers=("lmtpd",), section="Delivery", default=(), default_text="the administrators",
        example="relay",
    )  # fmt: skip
    lmtpd_timeout: int = option(
        "lmtpd-timeout", values.duration(300, 3600, "RFC 5321 §4.5.3.2.7 asks for"),
        """How long an LMTP client may be silent: 5 minutes at least (RFC 5321 §4.5.3.2.7). By TCP, the limit
        before the login is login-timeout.""",
        readers=("lmtpd",), section="Delivery", default=300,
    )  # fmt: skip

    @property
    def plugins_path(self) -> Path:
        """The directory of SASL plugins."""
        return self.executable_base_path / "lib" / "plugins"

    @property
    def db_path(self) -> Path:
        """The directory of the account databases."""
        return self.ms_path / "db"

    @property
    def nologin_path(self) -> Path:
        """The file whose existence closes the doors of imapd and pop3d."""
        return self.ms_path / "etc" / "nologin"

    @property
    def log_path(self) -> Path:
        """The directory of logs and statistics."""
        return self.ms_path / "log"

    @property
    def run_path(self) -> Path:
        """The directory of lock files."""
        return self.ms_path / "run"

    @property
    def spool_path(self) -> Path:
        """The directory of unnamed files for messages that are being received."""
        return self.ms_path / "spool"

    def ipc_path(self, name: str) -> Path:
        """The Unix socket of this name."""
        return self.ms_path / "ipc" / name

    def lock_path(self, daemon: str) -> Path:
        """The file that holds the daemon's process id and is locked while it runs."""
        return self.run_path / f"{daemon}.lock"

    def scoreboard_path(self, daemon: str) -> Path:
        """The file that the daemon's counters are kept in while it runs."""
        return self.run_path / f"{daemon}.scoreboard"

    def stats_path(self, daemon: str) -> Path:
        """The file to which the daemon appends its statistics."""
        return self.log_path / f"{daemon}.stats"

    def listen(self, service: str) -> tuple[Address, ...]:
        """The plain TCP listeners of a service."""
        found = {"imapd": self.imapd_listen, "pop3d": self.pop3d_listen, "lmtpd": self.lmtpd_listen}
        return found.get(service, ())

    def tls_listen(self, service: str) -> tuple[Address, ...]:
        """The TLS listeners of a service."""
        return {"imapd": self.imapd_tls_listen, "pop3d": self.pop3d_tls_listen}.get(service, ())

    def tls_pairs(self) -> tuple[NamedCertificate, ...]:
        """Every certificate with its key; the one for all other names comes first, and its name is empty."""
        if self.tls_certificate is None or self.tls_key is None:
            return ()
        return (NamedCertificate("", self.tls_certificate, self.tls_key), *self.tls_sni)

    def tls_files(self) -> list[Path]:
        """Every file that TLS is made from."""
        found = [path for pair in self.tls_pairs() for path in (pair.certificate, pair.key)]
        if found and self.tls_client_ca is not None:
            found.append(self.tls_client_ca)
        return list(dict.fromkeys(found))

    def workers(self, service: str) -> int:
        """How many workers a service keeps."""
        counts = {"imapd": self.imapd_workers, "pop3d": self.pop3d_workers, "lmtpd": self.lmtpd_workers}
        return counts[service]

    def services(self) -> tuple[str, ...]:
        """The daemons that storemgr runs: all, but for those that are to listen nowhere."""
        silent = {name for name in ("imapd", "pop3d") if not (self.listen(name) or self.tls_listen(name))}
        if not self.metrics_listen:
            silent.add("metricsd")
        return tuple(name for name in SERVICES if name not in silent)


SECTIONS = (
    "Files", "Processes", "Listening", "TLS", "Accounts", "IMAP", "POP3", "Login", "Defence", "Delivery",
    "Log",
)  # fmt: skip


def declared() -> dict[str, Option]:
    """Every option by its attribute of :class:`Settings`, by section, in the order of declaration."""
    found = {attribute.name: attribute.metadata["option"] for attribute in dataclasses.fields(Settings)}
    return dict(sorted(found.items(), key=lambda item: SECTIONS.index(item[1].section)))
