"""msadm user app-password: passwords for single programs and devices of a user."""

from __future__ import annotations

import time
from pathlib import Path

import click

from mstore.accounts.apppasswords import AppPassword
from mstore.accounts.passwords import Passwords
from mstore.auth.apppassword import (
    DAY_S,
    SERVICES,
    check_label,
    digest,
    make_app_keys,
    make_app_password,
    normalise,
)
from mstore.auth.keying import Keeping
from mstore.cli.acting import account_log
from mstore.cli.names import USER
from mstore.cli.site import Site, as_json, find, write_json, write_table


@click.group("app-password")
def app_password() -> None:
    """Give a user passwords for single programs or devices, which can be taken back one by one."""


@app_password.command()
@click.argument("name", type=USER)
@click.argument("label", required=False)
@click.option("--service", "services", multiple=True, type=click.Choice(SERVICES), metavar="imap|pop3|lmtp",
              help="What it is good for, instead of everything; may be given several times.")  # fmt: skip
@as_json
@click.pass_obj
def add(config: Path, name: str, label: str | None, services: tuple[str, ...], as_json: bool) -> None:
    """Make an app password for the user NAME, and show it this once.

    LABEL says what it is for; without one it is given a number.

    Example: msadm user app-password add joe phone --service imap
    """
    site = Site(config)
    record = find(site.accounts(), name)
    passwords = Passwords(site.settings.db_path)
    if label is None:
        taken = {app.label for app in passwords.apps(record.id)}
        label = next(str(number) for number in range(1, len(taken) + 2) if str(number) not in taken)
    check_label(label)
    made = make_app_password()
    letters = normalise(made.encode())
    assert letters is not None
    for_services = tuple(dict.fromkeys(services))
    kept = digest(passwords.site_key(), record.id, letters)
    keys = make_app_keys(letters, Keeping.of(site.settings), passwords.keys(record.id))
    passwords.add_app(record.id, label, kept, for_services, keys)
    passwords.close()
    log = account_log(site)
    services_named = " ".join(for_services) or None
    log.info("app-password-added", account=record.name, label=label, service=services_named)
    if as_json:
        write_json({"name": record.name, "label": label, "password": made, "services": for_services})
    else:
        click.echo(made)
        click.echo(f"This is the app password {label} of {record.name}; it is not shown again.", err=True)


@app_password.command("list")
@click.argument("name", type=USER)
@as_json
@click.pass_obj
def list_app_passwords(config: Path, name: str, as_json: bool) -> None:
    """List the app passwords of the user NAME: what for, since when, the day of the last use.

    Example: msadm user app-password list joe
    """
    site = Site(config)
    record = find(site.accounts(), name)
    apps = Passwords(site.settings.db_path).apps(record.id)
    if as_json:
        write_json([_describe(app) for app in apps])
        return
    write_table(
        ("LABEL", "SERVICES", "MADE", "LAST USED"),
        [
            (app.label, " ".join(app.services) or "all", _day(app.created_s // DAY_S), _day(app.used_day))
            for app in apps
        ],
    )


@app_password.command()
@click.argument("name", type=USER)
@click.argument("label")
@as_json
@click.pass_obj
def remove(config: Path, name: str, label: str, as_json: bool) -> None:
    """Take the app password LABEL of the user NAME back; whoever is logged in by it stays so.

    Example: msadm user app-password remove joe phone
    """
    site = Site(config)
    record = find(site.accounts(), name)
    Passwords(site.settings.db_path).remove_app(record.id, label)
    log = account_log(site)
    log.info("app-password-removed", account=record.name, label=label)
    if as_json:
        write_json({"name": record.name, "label": label})
    else:
        click.echo(f"removed the app password {label} of {record.name}")


def _day(day: int | None) -> str:
    return "-" if day is None else time.strftime("%Y-%m-%d", time.gmtime(day * DAY_S))


def _describe(app: AppPassword) -> dict[str, object]:
    return {
        "label": app.label,
        "services": app.services,
        "made": _day(app.created_s // DAY_S),
        "last_used": None if app.used_day is None else _day(app.used_day),
    }
