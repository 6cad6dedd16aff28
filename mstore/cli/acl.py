"""msadm acl: who may do what with a mailbox."""

from __future__ import annotations

from pathlib import Path

import click

from mstore.base.errors import Invalid
from mstore.cli.names import MAILBOX, Names
from mstore.cli.place import check_there, open_site, read_names
from mstore.cli.site import as_json, write_json, write_table
from mstore.store.access import Access
from mstore.store.rights import format_rights, parse_rights

# Rights and identifiers may begin with a dash, so no short option may be looked for in them.
WITH_IDENTIFIER = Names("place mailbox identifier")
DASHES = {"ignore_unknown_options": True, "help_option_names": ["--help"]}


@click.group()
def acl() -> None:
    """Show and change who may do what with a mailbox (docs/rights.md).

    A mailbox is given as USER MAILBOX, or in full as user/NAME/MAILBOX or shared/MAILBOX.
    """


@acl.command(context_settings=DASHES)
@click.argument("words", nargs=-1, required=True, type=MAILBOX, metavar="[USER] MAILBOX")
@as_json
@click.pass_obj
def show(config: Path, words: tuple[str, ...], as_json: bool) -> None:
    """Show the access control list of MAILBOX.

    Example: msadm acl show joe INBOX
    """
    with open_site(config) as (accounts, access):
        names = read_names(accounts, words, 1)
        check_there(access, names)
        _write(access, names.full[0], as_json)


@acl.command("set", context_settings=DASHES)
@click.argument(
    "words", nargs=-1, required=True, type=WITH_IDENTIFIER, metavar="[USER] MAILBOX IDENTIFIER RIGHTS"
)
@as_json
@click.pass_obj
def set_rights(config: Path, words: tuple[str, ...], as_json: bool) -> None:
    """Give IDENTIFIER the RIGHTS to MAILBOX, instead of those it had; +RIGHTS adds, -RIGHTS takes away.

    An identifier is a user's name, group:NAME, anyone or anonymous; with a dash in front these rights are
    taken away whatever else is given. Rights are the letters lrswipkxtea of RFC 4314.

    Example: msadm acl set shared/bugs anyone lrsp; msadm acl set joe INBOX ann +lrs
    """
    with open_site(config) as (accounts, access):
        names = read_names(accounts, words, 1, 2)
        check_there(access, names)
        identifier, rights = names.rest
        op = rights[:1] if rights[:1] in ("+", "-") else "="
        access.set_acl(names.full[0], identifier, op, parse_rights(rights.removeprefix(op)))
        _write(access, names.full[0], as_json)


@acl.command(context_settings=DASHES)
@click.argument("words", nargs=-1, required=True, type=WITH_IDENTIFIER, metavar="[USER] MAILBOX IDENTIFIER")
@as_json
@click.pass_obj
def delete(config: Path, words: tuple[str, ...], as_json: bool) -> None:
    """Take IDENTIFIER off the access control list of MAILBOX.

    Example: msadm acl delete shared/bugs anyone
    """
    with open_site(config) as (accounts, access):
        names = read_names(accounts, words, 1, 1)
        check_there(access, names)
        identifier = names.rest[0]
        if identifier not in dict(access.acl(names.full[0])):
            raise Invalid(f"{identifier} is not on the list of {names.show(names.full[0])}")
        access.delete_acl(names.full[0], identifier)
        _write(access, names.full[0], as_json)


def _write(access: Access, name: str, as_json: bool) -> None:
    entries = [(identifier, format_rights(rights)) for identifier, rights in access.acl(name)]
    if as_json:
        write_json([{"identifier": identifier, "rights": rights} for identifier, rights in entries])
    else:
        write_table(("IDENTIFIER", "RIGHTS"), entries)
