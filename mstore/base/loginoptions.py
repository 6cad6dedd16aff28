"""The options of ms.conf about logging in: mechanisms, passwords, and the defence against guessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from mstore.base import saslnames, values
from mstore.base.networks import Network
from mstore.base.option import NO_DEFAULT, option
from mstore.base.values import RemoteHost, Where

SCHEMES = ("argon2id", "bcrypt", "scrypt", "pbkdf2-sha512", "sha512-crypt", "yescrypt")
MECHANISMS = ("authdb", "getpwent", "kerberos4", "kerberos5", "pam", "rimap", "shadow")
"""The authentication mechanisms of M-Store's own."""
MECHANISM_GROUP = "mstore.authmech"
"""The group of Python entry points that add others."""


SESSIONS = ("imapd", "pop3d", "lmtpd")


@dataclass(frozen=True, kw_only=True)
class LoginSettings:
    """How users log in."""

    cleartext_login_enable: bool | Where = option(
        "cleartext-login-enable", values.CLEARTEXT,
        """Whether passwords may be sent over a connection without TLS. When off, imapd says
        X-LOGIN-COMMAND-DISABLED, and pop3d offers no USER and PASS. With loopback, clients on this host may,
        and it is off for all others: the right choice where clients come over a network.""",
        readers=SESSIONS, section="Login", default=True,
    )  # fmt: skip
    sasl_enable: Mapping[str, bool] = option(
        "sasl-enable-", values.BOOLEAN,
        """Whether the SASL mechanism named, in lower case, is offered, as in sasl-enable-plain off. Without
        it plain, login, cram-md5, apop, scram-sha-256, scram-sha-256-plus, and, where they can work at all,
        oauthbearer, xoauth2 and external are on; digest-md5, scram-sha-1, scram-sha-512, their plus forms and
        anonymous are off: sessions that are nobody's, which see and do what access control lists give to
        anyone and to anonymous. A mechanism of a plugin is on. cram-md5, digest-md5 and apop work with the
        password itself, which is kept only while one of them is on (docs/authproxyd.md).""",
        readers=("authproxyd", *SESSIONS, "msadm"), section="Login", factory=dict,
        default_text="on or off, as said here", gather=dict, prefix=True, example="plain off",
    )  # fmt: skip
    oauth_keys: tuple[Path, ...] = option(
        "oauth-key", values.PATH,
        """A file with the keys that access tokens are signed with: public keys in PEM (RSA, P-256, Ed25519),
        or a JSON Web Key Set. With one, oauthbearer and xoauth2 are offered. Read before superuser rights are
        given up. Needs oauth-issuer and oauth-audience.""",
        readers=("authproxyd", *SESSIONS), section="Login", factory=tuple, default_text=NO_DEFAULT,
        gather=tuple, example="/etc/md/store/oauth.jwks",
    )  # fmt: skip
    oauth_issuer: str | None = option(
        "oauth-issuer", values.WORD, "Who must have issued an access token: its claim iss.",
        readers=("authproxyd",), section="Login", example="https://login.example.org/",
    )  # fmt: skip
    oauth_audience: str | None = option(
        "oauth-audience", values.WORD, "Whom an access token must be meant for: one of its claim aud.",
        readers=("authproxyd",), section="Login", example="mail.example.org",
    )  # fmt: skip
    oauth_name_claim: str = option(
        "oauth-name-claim", values.WORD, "The claim of an access token that is the name of the account.",
        readers=("authproxyd",), section="Login", default="email",
    )  # fmt: skip
    oauth_scope: str | None = option(
        "oauth-scope", values.WORD,
        """The scope that an access token must have; clients whose token is refused are told that they need
        it.""",
        readers=("authproxyd",), section="Login", example="mail",
    )  # fmt: skip
    oauth_introspection_url: str | None = option(
        "oauth-introspection-url", values.URL,
        """Where to ask about access tokens (RFC 7662) that no oauth-key can judge. With it, oauthbearer and
        xoauth2 are offered.""",
        readers=("authproxyd", *SESSIONS), section="Login",
        example="https://login.example.org/introspect",
    )  # fmt: skip
    oauth_introspection_secret: Path | None = option(
        "oauth-introspection-secret", values.PATH,
        """A file whose first line is NAME:SECRET, by which authproxyd presents itself there. Read before
        superuser rights are given up.""",
        readers=("authproxyd",), section="Login", example="/etc/md/store/oauth.secret",
    )  # fmt: skip
    oauth_introspection_ca: Path | None = option(
        "oauth-introspection-ca", values.PATH,
        "Certificates, in PEM, of those who may have signed that server's, instead of the system's.",
        readers=("authproxyd",), section="Login", example="/etc/md/store/login-ca.pem",
    )  # fmt: skip
    oauth_configuration_url: str | None = option(
        "oauth-configuration-url", values.URL,
        """Where clients whose token is refused find out how to get another: the OpenID configuration of the
        issuer.""",
        readers=("authproxyd",), section="Login",
        example="https://login.example.org/.well-known/openid-configuration",
    )  # fmt: skip
    login_timeout: int = option(
        "login-timeout", values.duration(10, 3600),
        "How long a connection by TCP may be silent before its user has logged in.",
        readers=SESSIONS, section="Login", default=180,
    )  # fmt: skip
    password_scheme: str = option(
        "password-scheme", values.choice(*SCHEMES),
        """How verifiers of new passwords are made. Those made otherwise stay good, and are made anew in this
        way when their users next log in with the password (docs/passwords.md).""",
        readers=("authproxyd", "msadm"), section="Login", default="argon2id",
    )  # fmt: skip
    scram_iterations: int = option(
        "scram-iterations", values.number(4096, 10_000_000),
        """How often the hash function is applied in making SCRAM keys. Clients pay that at every login;
        whoever steals the keys pays it for every guess. Clients that use Cyrus SASL take no more than
        65536.""",
        readers=("authproxyd", "msadm"), section="Login", default=50_000, example="10000",
    )  # fmt: skip
    authproxy_cache_time: int = option(
        "authproxy-cache-time", values.duration(0, 86400),
        """How long authproxyd remembers that a password was right, as a keyed digest in its memory, so that
        a client which polls costs no hash each time. A changed password is noticed at once. 0 switches this
        off.""",
        readers=("authproxyd",), section="Login", default=600,
    )  # fmt: skip
    authproxy_authmech: str = option(
        "authproxy-authmech", values.MECHANISM,
        """How authproxyd checks passwords (docs/authentication.md): authdb (M-Store's own database),
        getpwent, shadow, pam, rimap, kerberos5 (also called kerberos4), or one that the site has added.
        authproxyd -v lists what there is on this system; it refuses to start with another.""",
        readers=("authproxyd",), section="Login", default="authdb", example="pam",
    )  # fmt: skip
    authproxy_legacy_authmech: str | None = option(
        "authproxy-legacy-authmech", values.MECHANISM,
        """Where to check a password when authdb does not know the account, or has no password for it; if it
        is right there, the account is made in authdb with this password. Needs authproxy-authmech authdb.""",
        readers=("authproxyd",), section="Login", example="getpwent",
    )  # fmt: skip
    authproxy_create_accounts: bool = option(
        "authproxy-create-accounts", values.BOOLEAN,
        """With another authproxy-authmech than authdb: whether somebody whom it lets in and who has no
        account is given one, by ms-assignment-policy. When off, only those can log in whose accounts were
        made with msadm user add.""",
        readers=("authproxyd",), section="Login", default=False,
    )  # fmt: skip
    authproxy_rimap_host: RemoteHost | None = option(
        "authproxy-rimap-host", values.REMOTE_HOST,
        """The IMAP server that the mechanism rimap asks, which cannot do without: a host name or address, and
        /PORT, a number or a service's name, when it is not the imap port.""",
        readers=("authproxyd",), section="Login", example="imap.example.org/1143",
    )  # fmt: skip
    authproxy_rimap_tls: str = option(
        "authproxy-rimap-tls", values.choice("offered", "required", "immediate", "off"),
        """TLS towards the server of the mechanism rimap: by STARTTLS where it is offered, or not without; or
        from the first byte (then the port is imaps unless one is given); or never.""",
        readers=("authproxyd",), section="Login", default="offered",
    )  # fmt: skip
    authproxy_rimap_tls_verify: bool = option(
        "authproxy-rimap-tls-verify", values.BOOLEAN,
        """Whether that server's certificate must be valid, and for the host of authproxy-rimap-host. When
        off, TLS keeps out who listens, but not who takes the server's place.""",
        readers=("authproxyd",), section="Login", default=True,
    )  # fmt: skip
    authproxy_rimap_tls_ca: Path | None = option(
        "authproxy-rimap-tls-ca", values.PATH,
        "Certificates, in PEM, of those who may have signed that server's, instead of the system's.",
        readers=("authproxyd",), section="Login", example="/etc/md/store/oldserver-ca.pem",
    )  # fmt: skip
    authproxy_pam_service: str = option(
        "authproxy-pam-service", values.WORD,
        "The service name for the mechanism pam: the file in /etc/pam.d that says how.",
        readers=("authproxyd",), section="Login", default="imap",
    )  # fmt: skip
    authproxy_kerberos_keytab: Path | None = option(
        "authproxy-kerberos-keytab", values.PATH,
        """The keytab with the key by which the mechanism kerberos5 knows that it was the realm's own server
        that answered. runtime-user must be able to read it, so it is best one for M-Store alone.""",
        readers=("authproxyd",), section="Login", default_text="the system's",
        example="/etc/md/store/imap.keytab",
    )  # fmt: skip
    authproxy_kerberos_principal: str | None = option(
        "authproxy-kerberos-principal", values.WORD, "Whose key in that keytab this is.",
        readers=("authproxyd",), section="Login", default_text="imap/ and the server-name",
        example="imap/mail.example.org",
    )  # fmt: skip

    trusted_networks: tuple[Network, ...] = option(
        "trusted-networks", values.NETWORKS,
        """Addresses and networks of machines that log in for many users, as a webmail does: failed logins
        there make nobody wait who comes from the same address, and the limits on connections of one address
        do not hold. What is counted for each account counts there too. none for no such machine.""",
        readers=(*SESSIONS, "authproxyd"), section="Defence",
        default=(ip_network("127.0.0.0/8"), ip_network("::1/128")), example="127.0.0.0/8 ::1 192.0.2.25",
    )  # fmt: skip
    connections_per_address: int = option(
        "connections-per-address", values.number(0, 1_000_000),
        """How many connections of one address (of a /64 network, in IPv6) imapd serves at a time, and pop3d,
        and lmtpd; 0 for any number. Many users may share an address.""",
        readers=SESSIONS, section="Defence", default=1000,
    )  # fmt: skip
    unauthenticated_per_address: int = option(
        "unauthenticated-per-address", values.number(0, 1_000_000),
        "How many of these may be ones whose user has not logged in yet; 0 for any number.",
        readers=SESSIONS, section="Defence", default=100,
    )  # fmt: skip
    unauthenticated_limit: int = option(
        "unauthenticated-limit", values.number(0, 1_000_000),
        """How many connections from anywhere each of these daemons serves at a time whose users have not
        logged in yet; 0 for any number.""",
        readers=SESSIONS, section="Defence", default=2000,
    )  # fmt: skip
    connections_limit: int = option(
        "connections-limit", values.number(0, 10_000_000),
        """How many connections each of these daemons serves at a time; 0 for as many as the system's limit on
        open files lets them.""",
        readers=SESSIONS, section="Defence", default=0,
    )  # fmt: skip

    def authentication(self) -> dict[str, str]:
        """The mechanisms in use, by the options that name them."""
        given = {"authproxy-authmech": self.authproxy_authmech}
        if self.authproxy_legacy_authmech is not None:
            given["authproxy-legacy-authmech"] = self.authproxy_legacy_authmech
        return given

    def may_use(self, mechanism: str) -> bool:
        """Whether the SASL mechanism (in lower case) is switched on."""
        return saslnames.is_on(self.sasl_enable, mechanism)

    @property
    def has_oauth(self) -> bool:
        """Whether access tokens can be judged."""
        return bool(self.oauth_keys) or self.oauth_introspection_url is not None

    @property
    def asks_over_tls(self) -> bool:
        """Whether the server that is asked about access tokens is asked over TLS."""
        return (self.oauth_introspection_url or "").lower().startswith("https:")
