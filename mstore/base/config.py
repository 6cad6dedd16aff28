"""Reads ms.conf into :class:`Settings`.

Lines are ``option value …``; blank lines and lines that begin with ``#`` are ignored; a value with blanks
stands in double quotes. All errors are found in one pass, each with file, line and option, and the nearest
known name where a name is unknown.
"""

from __future__ import annotations

import difflib
import grp
import os
import pwd
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mstore.base import saslnames
from mstore.base.errors import MStoreError
from mstore.base.loginoptions import MECHANISM_GROUP, MECHANISMS
from mstore.base.option import Option
from mstore.base.options import Settings, declared

LONGEST_BYTES = 1 << 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a configuration file; line 0 is the file as a whole."""

    path: Path
    line: int
    option: str
    text: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{where}: {self.option}: {self.text}" if self.option else f"{where}: {self.text}"


class ConfigErrors(MStoreError):
    """A configuration that cannot be used, with everything that is wrong with it."""

    def __init__(self, problems: list[Problem], rest: Settings | None = None) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
        self.rest = rest
        """What the lines without a fault say, where there is a text at all."""


@dataclass
class _Given:
    """What the lines gave for one attribute, and where they stand."""

    lines: list[int]
    items: list[Any]
    keys: set[object]

    @property
    def line(self) -> int:
        """The first of them."""
        return self.lines[0]


_WORD = re.compile(r'"([^"]*)"|([^\s"]+)')


class Parser:
    """One reading of one file; ``problems`` grows as it goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.given: dict[str, _Given] = {}
        options = declared()
        self._plain = {option.name: (name, option) for name, option in options.items() if not option.prefix}
        self._prefixes = [(name, option) for name, option in options.items() if option.prefix]

    def problem(self, line: int, option: str, text: str) -> None:
        """Remember that something is wrong."""
        self.problems.append(Problem(self.path, line, option, text))

    def parse(self, text: str) -> Settings | None:
        """Read the whole text; None when nothing usable came of it."""
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip()
            if line and not line.startswith("#"):
                self._line(number, line)
        found: dict[str, Any] = {}
        options = declared()
        for name, given in self.given.items():
            gather = options[name].gather
            found[name] = gather(given.items) if gather else given.items[0]
        return Settings(**found)

    def _line(self, number: int, line: str) -> None:
        name, *_ = line.split(None, 1)
        rest = line[len(name) :]
        words = [quoted or plain for quoted, plain in _WORD.findall(rest)]
        if _WORD.sub("", rest).strip():
            self.problem(number, name, "has a quotation mark without its partner")
            return
        attribute, option, key = self._find(name)
        if option is None:
            self.problem(number, name, f"unknown option{self.nearest(name)}")
            return
        try:
            value = option.kind.parse(words)
        except ValueError as error:
            self.problem(number, name, str(error))
            return
        self._keep(number, name, attribute, option, key, value)

    def _find(self, name: str) -> tuple[str, Option | None, str]:
        attribute, option = self._plain.get(name, ("", None))
        if option is not None:
            return attribute, option, ""
        for attribute, prefixed in self._prefixes:
            rest = name.removeprefix(prefixed.name)
            if rest != name and re.fullmatch(r"[a-z0-9][a-z0-9_-]*", rest):
                return attribute, prefixed, rest
        return "", None, ""

    def nearest(self, name: str) -> str:
        """The known option that a name may have been meant for, as the end of a message."""
        known = [*self._plain]
        for _, option in self._prefixes:
            names = saslnames.BY_DEFAULT if name.startswith(option.name) else ("plain",)
            known += [option.name + mechanism for mechanism in names]
        # Compared without punctuation, so that admin-domain finds admin_domain.
        by_letters = {re.sub("[-_]", "", option): option for option in known}
        near = difflib.get_close_matches(re.sub("[-_]", "", name.lower()), by_letters, n=1, cutoff=0.6)
        return f"; did you mean {by_letters[near[0]]}?" if near else ""

    def _keep(self, number: int, name: str, attribute: str, option: Option, key: str, value: Any) -> None:
        item = (key, value) if option.prefix else value
        # Options that gather into a mapping have a key each; the others are given once, or are a list.
        unique: object = name
        if option.gather is dict:
            unique = item[0]
        elif option.gather is not None:
            unique = object()
        given = self.given.setdefault(attribute, _Given([], [], set()))
        if unique in given.keys:
            what = f"{unique} again" if option.gather is dict and not option.prefix else "given again"
            self.problem(number, name, f"{what} (first on line {given.line})")
            return
        given.keys.add(unique)
        given.items.append(item)
        given.lines.append(number)

    def line_of(self, attribute: str) -> int:
        """The line that gave an attribute, 0 when it has its default."""
        given = self.given.get(attribute)
        return given.line if given else 0

    def lines_of(self, attribute: str) -> list[int]:
        """The lines that gave an attribute that may be given several times, one for each of its values."""
        given = self.given.get(attribute)
        return given.lines if given else []


def _check_files(parser: Parser, settings: Settings) -> None:
    if not settings.mailstores and not any(problem.option == "mailstore" for problem in parser.problems):
        parser.problem(0, "mailstore", "at least one is needed, as in: mailstore main /var/md/store/mail")
    paths: dict[Path, str] = {}
    for line, (name, path) in zip(parser.lines_of("mailstores"), settings.mailstores.items(), strict=True):
        if path in paths:
            parser.problem(line, "mailstore", f"{name} and {paths[path]} share {path}")
        paths[path] = name
    rules = settings.ms_assignment_policy
    for line, rule in zip(parser.lines_of("ms_assignment_policy"), rules, strict=True):
        for name in rule.mailstores:
            if name not in settings.mailstores:
                parser.problem(line, "ms-assignment-policy", f"there is no mailstore {name!r}")


def _check_login(parser: Parser, settings: Settings) -> None:
    lines = {name: parser.line_of(name.replace("-", "_")) for name in settings.authentication()}
    for option, name in settings.authentication().items():
        _check_mechanism(parser, lines[option], option, name)
        if name == "rimap":
            _check_rimap(parser, lines[option], settings)
    if (legacy := settings.authproxy_legacy_authmech) is not None:
        line = lines["authproxy-legacy-authmech"]
        if settings.authproxy_authmech != "authdb":
            parser.problem(line, "authproxy-legacy-authmech", "needs authproxy-authmech authdb")
        elif legacy == "authdb":
            parser.problem(line, "authproxy-legacy-authmech", "accounts cannot come from authdb to authdb")
    if settings.authproxy_create_accounts and settings.authproxy_authmech == "authdb":
        line = parser.line_of("authproxy_create_accounts")
        text = "with authdb only authproxy-legacy-authmech makes accounts"
        parser.problem(line, "authproxy-create-accounts", text)


def _check_mechanism(parser: Parser, line: int, option: str, name: str) -> None:
    if name in MECHANISMS:
        return
    from importlib.metadata import entry_points  # takes 30 ms, which only a site with its own should pay

    known = sorted({*MECHANISMS, *(entry.name for entry in entry_points(group=MECHANISM_GROUP))})
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"
        parser.problem(line, option, f"there is no authentication mechanism {name}{hint}")


_SELF = ("localhost", "127.0.0.1", "::1")


def _check_rimap(parser: Parser, line: int, settings: Settings) -> None:
    remote = settings.authproxy_rimap_host
    if remote is None:
        if not any(problem.option == "authproxy-rimap-host" for problem in parser.problems):
            parser.problem(line, "authproxy-rimap-host", "is needed by the mechanism rimap")
        return
    immediate = settings.authproxy_rimap_tls == "immediate"
    port = remote.port or (993 if immediate else 143)
    host = remote.host.lower()
    own = settings.imapd_tls_listen if immediate else settings.imapd_listen
    for address in own:
        here = address.host.lower()
        is_here = host == here or (here in ("*", *_SELF) and host in (*_SELF, settings.server_name.lower()))
        if is_here and port == address.port:
            line = parser.line_of("authproxy_rimap_host")
            parser.problem(line, "authproxy-rimap-host", f"is where imapd itself listens ({address})")


def _check_sasl(parser: Parser, settings: Settings) -> None:
    for line, name in zip(parser.lines_of("sasl_enable"), settings.sasl_enable, strict=True):
        if name not in saslnames.BY_DEFAULT and not _is_plugin(settings.plugins_path / f"{name}.py"):
            option = f"sasl-enable-{name}"
            parser.problem(line, option, f"there is no such mechanism{parser.nearest(option)}")
    keys, line = settings.oauth_keys, parser.line_of("oauth_keys")
    for option in ("oauth-issuer", "oauth-audience"):
        if keys and getattr(settings, option.replace("-", "_")) is None:
            parser.problem(line, "oauth-key", f"needs {option}")
    if settings.oauth_introspection_secret is not None and settings.oauth_introspection_url is None:
        line = parser.line_of("oauth_introspection_secret")
        parser.problem(line, "oauth-introspection-secret", "needs oauth-introspection-url")
    if settings.oauth_introspection_ca is not None and not settings.asks_over_tls:
        line = parser.line_of("oauth_introspection_ca")
        parser.problem(line, "oauth-introspection-ca", "needs oauth-introspection-url https://…")


def _is_plugin(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return True  # Not ours to see; authproxyd will say more.


def _check_tls(parser: Parser, settings: Settings) -> None:
    pair = {"tls-certificate": settings.tls_certificate, "tls-key": settings.tls_key}
    for name, path in {**pair, "tls-client-ca": settings.tls_client_ca}.items():
        if path is not None:
            _check_is_file(parser, parser.line_of(name.replace("-", "_")), name, path)
    _check_sni(parser, settings)
    if settings.tls_client_certificate != "none" and settings.tls_client_ca is None:
        line = parser.line_of("tls_client_certificate")
        parser.problem(line, "tls-client-certificate", "needs tls-client-ca")
    needed_by = [name for name in ("imapd_tls_listen", "pop3d_tls_listen") if getattr(settings, name)]
    given = [name for name, path in pair.items() if path is not None]
    for name in pair:
        if name in given:
            continue
        if needed_by:
            option = needed_by[0].replace("_", "-")
            parser.problem(parser.line_of(needed_by[0]), option, f"needs {name}")
        elif given:
            parser.problem(parser.line_of(given[0].replace("-", "_")), given[0], f"needs {name}")


def _check_is_file(parser: Parser, line: int, option: str, path: Path) -> None:
    try:
        missing = not path.is_file()
    except OSError:
        missing = False  # Not ours to see; whoever reads it will say more.
    if missing:
        parser.problem(line, option, f"there is no file {path}")


def _check_sni(parser: Parser, settings: Settings) -> None:
    first: dict[str, int] = {}
    for line, named in zip(parser.lines_of("tls_sni"), settings.tls_sni, strict=True):
        if named.name in first:
            parser.problem(line, "tls-sni", f"{named.name} again (first on line {first[named.name]})")
        first.setdefault(named.name, line)
        for path in (named.certificate, named.key):
            _check_is_file(parser, line, "tls-sni", path)
    if first and None in (settings.tls_certificate, settings.tls_key):
        line = parser.line_of("tls_sni")
        parser.problem(line, "tls-sni", "needs tls-certificate and tls-key, for all other names")


def _check_ports(parser: Parser, settings: Settings) -> None:
    seen: list[tuple[str, str, int]] = []
    for attribute in ("imapd_listen", "imapd_tls_listen", "pop3d_listen", "pop3d_tls_listen", "lmtpd_listen"):
        name = attribute.replace("_", "-")
        for address in getattr(settings, attribute):
            for other, host, port in seen:
                if port == address.port and (host == address.host or "*" in (host, address.host)):
                    parser.problem(parser.line_of(attribute), name, f"{address} is taken by {other}")
                    break
            seen.append((name, address.host, address.port))


def _check_user(parser: Parser, settings: Settings) -> None:
    line = parser.line_of("runtime_user")
    if settings.runtime_user is None:
        if os.geteuid() == 0:
            parser.problem(0, "runtime-user", "is needed when M-Store is run by the superuser")
    else:
        try:
            pwd.getpwnam(settings.runtime_user)
        except KeyError:
            parser.problem(line, "runtime-user", f"there is no user {settings.runtime_user!r}")
    if settings.lmtp_socket_group is not None:
        try:
            grp.getgrnam(settings.lmtp_socket_group)
        except KeyError:
            line = parser.line_of("lmtp_socket_group")
            parser.problem(line, "lmtp-socket-group", f"there is no group {settings.lmtp_socket_group!r}")


CHECKS = (_check_files, _check_login, _check_sasl, _check_tls, _check_ports, _check_user)


def parse(path: Path, text: str) -> Settings:
    """Make settings from the text of a configuration file; ``path`` is only for messages.

    Raises: ConfigErrors
    """
    parser = Parser(path)
    settings = parser.parse(text)
    if settings is not None:
        for check in CHECKS:
            check(parser, settings)
    if parser.problems or settings is None:
        problems = sorted(parser.problems, key=lambda problem: (problem.line == 0, problem.line))
        raise ConfigErrors(problems, settings)
    return settings


def load(path: Path) -> Settings:
    """Read a configuration file.

    Raises: ConfigErrors
    """
    try:
        with path.open("rb") as file:
            raw = file.read(LONGEST_BYTES + 1)
    except OSError as error:
        raise ConfigErrors([Problem(path, 0, "", f"cannot be read: {error.strerror}")]) from error
    if len(raw) > LONGEST_BYTES:
        raise ConfigErrors([Problem(path, 0, "", "is larger than a configuration file can be")])
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigErrors([Problem(path, line, "", "is not UTF-8 text")]) from error
    return parse(path, text)


def walk_sections() -> Iterator[tuple[str, list[Option]]]:
    """The options by section, in the order of declaration."""
    sections: dict[str, list[Option]] = {}
    for option in declared().values():
        sections.setdefault(option.section, []).append(option)
    yield from sections.items()
