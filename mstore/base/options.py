"""Every option of ms.conf, declared once: name, kind, default, documentation and who reads it.

The parser (``config.py``), the sample, the manual page (``generate.py``) and the type checker all read these
declarations; nothing about an option is written anywhere else. To add one, add an attribute to
:class:`Settings` and run ``python -m mstore.base.generate``.
"""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from mstore.base import values
from mstore.base.networks import Network
from mstore.base.values import Address, AssignmentRule, Kind

DEFAULT_CONFIG = Path("/etc/md/store/ms.conf")
SERVICES = ("authproxyd", "imapd", "pop3d", "lmtpd")
SCHEMES = ("argon2id", "bcrypt", "scrypt", "pbkdf2-sha512", "sha512-crypt", "yescrypt")
MECHANISMS = ("authdb", "getpwent", "kerberos4", "pam", "rimap", "shadow")
NO_DEFAULT = "no default"


@dataclass(frozen=True)
class Option:
    """One option: what the parser, the sample and the manual know of it."""

    name: str
    kind: Kind
    doc: str
    readers: tuple[str, ...]
    section: str
    default_text: str
    gather: Callable[[list[Any]], Any] | None = None
    """For options that may be given several times: makes the value from what the lines gave."""
    prefix: bool = False
    """The name only begins like this; the rest of it is given to ``gather`` with the value."""
    example: str = ""


def option(
    name: str,
    kind: Kind,
    doc: str,
    *,
    readers: tuple[str, ...],
    section: str,
    default: Any = None,
    factory: Callable[[], Any] | None = None,
    default_text: str | None = None,
    gather: Callable[[list[Any]], Any] | None = None,
    prefix: bool = False,
    example: str = "",
) -> Any:
    """Declare an attribute of :class:`Settings` as an option of ms.conf."""
    if default_text is None:
        default_text = NO_DEFAULT if default is None else kind.show(default)
    text = " ".join(doc.split())
    declared = Option(name, kind, text, readers, section, default_text, gather, prefix, example)
    if factory is not None:
        return field(default_factory=factory, metadata={"option": declared})
    return field(default=default, metadata={"option": declared})


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
SESSIONS = ("imapd", "pop3d", "lmtpd")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The configuration of a site, complete and checked; every attribute is an option of ms.conf."""

    ms_path: Path = option(
        "ms-path", values.PATH,
        """The directory of M-Store's own files: db (accounts), ipc (sockets), run (lock files), log
        (statistics), etc.""",
        readers=EVERYBODY, section="Files", default=Path("/var/md/store"),
    )  # fmt: skip
    executable_base_path: Path = option(
        "executable-base-path", values.PATH,
        "The directory of installed parts; SASL plugins are looked for in its lib/plugins.",
        readers=("imapd", "pop3d"), section="Files", default=Path("/usr/local/md"),
    )  # fmt: skip
    mailstores: Mapping[str, Path] = option(
        "mailstore", values.MAILSTORE,
        """A directory that holds mail, and the name by which accounts refer to it. At least one is needed;
        give the option once for each; msadm init makes the directory. A name, once accounts live there, must
        not change; the path may, when the directory is moved.""",
        readers=(*SESSIONS, "msadm"), section="Files", factory=dict, default_text=NO_DEFAULT, gather=dict,
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

    runtime_user: str | None = option(
        "runtime-user", values.WORD,
        """The user as whom the daemons run once their ports are bound, and who owns the mail. Needed when
        M-Store is started as the superuser; otherwise all runs as the invoking user.""",
        readers=EVERYBODY, section="Processes", example="mstore",
    )  # fmt: skip
    imapd_workers: int = _workers("imapd")
    pop3d_workers: int = _workers("pop3d")
    lmtpd_workers: int = _workers("lmtpd")
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
        "imapd-autologout", values.duration(60, 7 * 86400),
        "How long an IMAP session may be silent (RFC 3501 §5.4 asks for 30 minutes at least).",
        readers=("imapd",), section="Listening", default=1800,
    )  # fmt: skip
    pop3d_listen: tuple[Address, ...] = _listen(
        "pop3d-listen", 110, "Where pop3d listens; * stands for all addresses, none for not at all."
    )
    pop3d_tls_listen: tuple[Address, ...] = _listen(
        "pop3d-tls-listen", None, "Where pop3d listens for TLS from the first byte (usually *:995).", "*:995"
    )
    pop3d_autologout: int = option(
        "pop3d-autologout", values.duration(60, 86400),
        "How long a POP3 session may be silent (RFC 1939 §3 asks for 10 minutes at least).",
        readers=("pop3d",), section="Listening", default=600,
    )  # fmt: skip
    tls_certificate: Path | None = option(
        "tls-certificate", values.PATH,
        """The certificate with its chain, in PEM. With it and tls-key, imapd and pop3d offer STARTTLS and may
        have TLS listeners.""",
        readers=("imapd", "pop3d"), section="Listening", example="/etc/md/store/cert.pem",
    )  # fmt: skip
    tls_key: Path | None = option(
        "tls-key", values.PATH,
        "The certificate's private key, in PEM; read before superuser rights are given up.",
        readers=("imapd", "pop3d"), section="Listening", example="/etc/md/store/key.pem",
    )  # fmt: skip
    server_name: str = option(
        "server-name", values.DOMAIN, "The name by which this host presents itself to clients.",
        readers=SESSIONS, section="Listening", factory=socket.gethostname, default_text="the host's name",
        example="mail.example.org",
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
        """Accounts that are administrators: they see all mailboxes, make and remove them, and say who may do
        what there (docs/rights.md).""",
        readers=("imapd", "msadm"), section="Accounts", default=(), default_text=NO_DEFAULT,
        example="postmaster",
    )  # fmt: skip
    admin_domain: str | None = option(
        "admin_domain", values.DOMAIN,
        """Accounts in this domain are administrators, those without a domain where it is the default-domain;
        with single-domain this says nothing.""",
        readers=("imapd", "msadm"), section="Accounts", example="admin.example.org",
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
        May be given several times.""",
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

    cleartext_login_enable: bool = option(
        "cleartext-login-enable", values.BOOLEAN,
        """Whether passwords may be sent over a connection without TLS. When off, imapd says
        X-LOGIN-COMMAND-DISABLED, and pop3d offers no USER and PASS.""",
        readers=("imapd", "pop3d"), section="Login", default=True,
    )  # fmt: skip
    sasl_enable: Mapping[str, bool] = option(
        "sasl-enable-", values.BOOLEAN,
        """Whether the SASL mechanism named, in lower case, is offered, as in sasl-enable-plain off. Every
        mechanism that M-Store has is offered unless it is switched off.""",
        readers=("imapd", "pop3d"), section="Login", factory=dict, default_text="on", gather=dict,
        prefix=True, example="plain off",
    )  # fmt: skip
    login_timeout: int = option(
        "login-timeout", values.duration(10, 3600),
        "How long a connection to imapd or pop3d may be silent before its user has logged in.",
        readers=("imapd", "pop3d"), section="Login", default=180,
    )  # fmt: skip
    password_scheme: str = option(
        "password-scheme", values.choice(*SCHEMES),
        """How verifiers of new passwords are made. Those made otherwise stay good, and are made anew in this
        way when their users next log in with the password (docs/passwords.md).""",
        readers=("authproxyd", "msadm"), section="Login", default="argon2id",
    )  # fmt: skip
    scram_iterations: int | None = option(
        "scram-iterations", values.number(4096, 10_000_000),
        """How often the hash function is applied in making SCRAM keys. Clients pay that at every login;
        whoever steals the keys pays it for every guess. Without this option it is what is advised for each
        hash function: 1300000 for SHA-1, 600000 for SHA-256, 210000 for SHA-512.""",
        readers=("authproxyd", "msadm"), section="Login", default_text="as advised", example="100000",
    )  # fmt: skip
    authproxy_cache_time: int = option(
        "authproxy-cache-time", values.duration(0, 86400),
        """How long authproxyd remembers that a password was right, as a keyed digest in its memory, so that
        a client which polls costs no hash each time. A changed password is noticed at once. 0 switches this
        off.""",
        readers=("authproxyd",), section="Login", default=600,
    )  # fmt: skip
    authproxy_authmech: str = option(
        "authproxy-authmech", values.choice(*MECHANISMS),
        """How authproxyd checks passwords. authproxyd -v lists what it has; it
        refuses to start with another.""",
        readers=("authproxyd",), section="Login", default="authdb",
    )  # fmt: skip
    authproxy_legacy_authmech: str | None = option(
        "authproxy-legacy-authmech", values.choice(*MECHANISMS),
        """Where to check a password when the account is not yet known to authdb; if it is right there, the
        account is made in authdb.""",
        readers=("authproxyd",), section="Login", example="getpwent",
    )  # fmt: skip
    authproxy_rimap_host: str | None = option(
        "authproxy-rimap-host", values.WORD,
        """The IMAP server that the mechanism rimap asks: a host name or address, and /PORT when it is not the
        imap port.""",
        readers=("authproxyd",), section="Login", example="imap.example.org/1143",
    )  # fmt: skip
    authproxy_pam_service: str = option(
        "authproxy-pam-service", values.WORD, "The service name for the mechanism pam.",
        readers=("authproxyd",), section="Login", default="imap",
    )  # fmt: skip

    trusted_networks: tuple[Network, ...] = option(
        "trusted-networks", values.NETWORKS,
        """Addresses and networks of machines that log in for many users, as a webmail does: failed logins
        there make nobody wait who comes from the same address, and the limits on connections of one address
        do not hold. What is counted for each account counts there too. none for no such machine.""",
        readers=("imapd", "pop3d", "authproxyd"), section="Defence",
        default=(ip_network("127.0.0.0/8"), ip_network("::1/128")), example="127.0.0.0/8 ::1 192.0.2.25",
    )  # fmt: skip
    connections_per_address: int = option(
        "connections-per-address", values.number(0, 1_000_000),
        """How many connections of one address (of a /64 network, in IPv6) imapd, and pop3d, serve at a time;
        0 for any number. Many users may share an address.""",
        readers=("imapd", "pop3d"), section="Defence", default=1000,
    )  # fmt: skip
    unauthenticated_per_address: int = option(
        "unauthenticated-per-address", values.number(0, 1_000_000),
        "How many of these may be ones whose user has not logged in yet; 0 for any number.",
        readers=("imapd", "pop3d"), section="Defence", default=100,
    )  # fmt: skip
    unauthenticated_limit: int = option(
        "unauthenticated-limit", values.number(0, 1_000_000),
        """How many connections from anywhere imapd, and pop3d, serve at a time whose users have not logged in
        yet; 0 for any number.""",
        readers=("imapd", "pop3d"), section="Defence", default=2000,
    )  # fmt: skip
    connections_limit: int = option(
        "connections-limit", values.number(0, 10_000_000),
        """How many connections imapd, and pop3d, serve at a time; 0 for as many as the system's limit on
        open files lets them.""",
        readers=("imapd", "pop3d"), section="Defence", default=0,
    )  # fmt: skip

    lmtp_socket_group: str | None = option(
        "lmtp-socket-group", values.WORD,
        """The group whose members may hand in messages: it owns the directory ipc and the socket lmtpd. Give
        the group of the mail transport agent, or make that agent a member of runtime-user's group.""",
        readers=("lmtpd",), section="Delivery", default_text="runtime-user's group", example="postfix",
    )  # fmt: skip
    lmtp_shared_name: str = option(
        "lmtp-shared-name", values.WORD,
        "The local name that stands for shared mailboxes in plus-addressing (shared+bugreports).",
        readers=("lmtpd",), section="Delivery", default="shared",
    )  # fmt: skip
    lmtp_enable_overquota_delivery: bool = option(
        "lmtp-enable-overquota-delivery", values.BOOLEAN,
        "Whether lmtpd also listens on ipc/lmtpd-oq, where messages are delivered regardless of quotas.",
        readers=("lmtpd",), section="Delivery", default=False,
    )  # fmt: skip
    allow8bitheaders: bool = option(
        "allow8bitheaders", values.SWITCH,
        """Accept messages whose headers hold bytes beyond ASCII, with the high bit of these stripped;
        otherwise lmtpd rejects them. The name alone means on.""",
        readers=("lmtpd",), section="Delivery", default=False,
    )  # fmt: skip
    lmtpd_timeout: int = option(
        "lmtpd-timeout", values.duration(10, 3600), "How long an LMTP client may be silent.",
        readers=("lmtpd",), section="Delivery", default=300,
    )  # fmt: skip

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

    def stats_path(self, daemon: str) -> Path:
        """The file to which the daemon appends its statistics."""
        return self.log_path / f"{daemon}.stats"

    def listen(self, service: str) -> tuple[Address, ...]:
        """The plain TCP listeners of a service; empty for those that have Unix sockets."""
        return {"imapd": self.imapd_listen, "pop3d": self.pop3d_listen}.get(service, ())

    def tls_listen(self, service: str) -> tuple[Address, ...]:
        """The TLS listeners of a service."""
        return {"imapd": self.imapd_tls_listen, "pop3d": self.pop3d_tls_listen}.get(service, ())

    def workers(self, service: str) -> int:
        """How many workers a service keeps."""
        counts = {"imapd": self.imapd_workers, "pop3d": self.pop3d_workers, "lmtpd": self.lmtpd_workers}
        return counts[service]

    def services(self) -> tuple[str, ...]:
        """The daemons that storemgr runs: all, but for those that are to listen nowhere."""
        silent = {name for name in ("imapd", "pop3d") if not (self.listen(name) or self.tls_listen(name))}
        return tuple(name for name in SERVICES if name not in silent)

    def may_use(self, mechanism: str) -> bool:
        """Whether the SASL mechanism (in lower case) may be offered."""
        return self.sasl_enable.get(mechanism, True)


def declared() -> dict[str, Option]:
    """Every option by its attribute of :class:`Settings`, in the order of declaration."""
    return {attribute.name: attribute.metadata["option"] for attribute in dataclasses.fields(Settings)}
