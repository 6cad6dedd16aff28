"""The mechanisms of ``authproxy-authmech``: the table of those there are, and what they are put together to.

A site adds its own by a Python entry point in the group ``mstore.authmech``, which leads to a ``Driver``
(docs/authentication.md). Only ``authdb`` knows accounts; the others are asked by ``admission``, or by
``migration``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mstore.auth.admission import Admission
from mstore.auth.authdb import AuthDb
from mstore.auth.driver import Driver, Mechanism, Sources, StartTls, no_tls
from mstore.auth.mechanisms import kerberos, pam, passwd, rimap, shadow
from mstore.auth.migration import Migration
from mstore.auth.pace import Paced
from mstore.base.errors import Invalid, MStoreError
from mstore.base.loginoptions import MECHANISM_GROUP
from mstore.base.options import Settings

__all__ = [
    "AUTHDB", "MECHANISMS", "Driver", "Mechanism", "Sources", "StartTls", "available_mechanisms",
    "check_mechanisms", "find_driver", "keeps_superuser", "make_mechanism", "no_tls",
    "unavailable_mechanisms",
]  # fmt: skip

AUTHDB = "authdb"

MECHANISMS: Mapping[str, Driver] = MappingProxyType(
    {
        AUTHDB: Driver(lambda sources: _open_authdb(sources)),
        "getpwent": passwd.DRIVER,
        "kerberos4": kerberos.DRIVER,
        "kerberos5": kerberos.DRIVER,
        "pam": pam.DRIVER,
        "rimap": rimap.DRIVER,
        "shadow": shadow.DRIVER,
    }
)


def find_driver(name: str) -> Driver:
    """The mechanism of this name: M-Store's own, or one that the site has added.

    Raises: Invalid, naming those there are, or what is wrong with the site's.
    """
    if name in MECHANISMS:
        return MECHANISMS[name]
    added = _entry_points()
    if name not in added:
        known = ", ".join(sorted({*MECHANISMS, *added}))
        raise Invalid(f"there is no authentication mechanism {name}; there are: {known}")
    try:
        driver = added[name].load()
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise Invalid(f"{name}: {added[name].value} cannot be loaded: {what}") from error
    if not isinstance(driver, Driver):
        raise Invalid(f"{name}: {added[name].value} is not a mstore.auth.driver.Driver")
    return driver


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points  # takes 30 ms, which most need not pay

    return {entry.name: entry for entry in entry_points(group=MECHANISM_GROUP)}


def available_mechanisms() -> dict[str, str]:
    """Every mechanism that is known here, by its name, with why it is not available: nothing when it is."""
    found = {}
    for name in sorted({*MECHANISMS, *_entry_points()}):
        try:
            found[name] = find_driver(name).missing()
        except Invalid as error:
            found[name] = str(error)
    return found


def keeps_superuser(settings: Settings) -> bool:
    """Whether authproxyd keeps superuser rights with this configuration.

    Raises: Invalid
    """
    return any(find_driver(name).needs_superuser for name in settings.authentication().values())


def unavailable_mechanisms(settings: Settings) -> list[str]:
    """Which mechanisms of a configuration cannot be had here, and why, each with its option."""
    problems = []
    for option, name in settings.authentication().items():
        try:
            if missing := find_driver(name).missing():
                problems.append(f"{option}: the mechanism {name} is not available here: {missing}")
        except Invalid as error:
            problems.append(f"{option}: {error}")
    return problems


def check_mechanisms(settings: Settings) -> list[str]:
    """What is wrong with the mechanisms of a configuration, each problem with the option that it is about."""
    problems = unavailable_mechanisms(settings)
    for option, name in settings.authentication().items() if not problems else ():
        try:
            find_driver(name).check(settings)
        except MStoreError as error:
            problems.append(f"{option}: {name}: {error}")
    return problems


def _open_authdb(sources: Sources) -> AuthDb:
    settings = sources.settings
    return AuthDb.open(settings.db_path, sources.accounts, settings, sources.passwords)


def make_mechanism(sources: Sources) -> Mechanism:
    """Make the mechanism of the configuration ready, with what it falls back to, while the process may.

    Raises: Invalid for a name that is none, Unavailable or Corrupt when its database cannot be used.
    """
    settings, accounts = sources.settings, sources.accounts
    if settings.authproxy_authmech != AUTHDB:
        asked = find_driver(settings.authproxy_authmech).make(sources)
        return Paced(Admission(asked, accounts, settings.authproxy_create_accounts))
    authdb = _open_authdb(sources)
    if settings.authproxy_legacy_authmech is None:
        return authdb
    return Paced(Migration(authdb, find_driver(settings.authproxy_legacy_authmech).make(sources), accounts))
