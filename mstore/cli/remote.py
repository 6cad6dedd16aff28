"""How msadm is told of another IMAP server, to import from or to export to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mstore.moving.remote import Remote, parse_address
from mstore.net.tls import make_client_context

_Command = TypeVar("_Command", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--remote-user", metavar="NAME", help="The name to log in with there [USER]."),
    click.option(
        "--remote-owner", metavar="NAME", help="Whose mail it is, when --remote-user is an administrator."
    ),
    click.option(
        "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
    ),
    click.option(
        "--password-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Read the password from a file.",
    ),
    click.option(
        "--security",
        type=click.Choice(["tls", "starttls", "none"]),
        default="tls",
        show_default=True,
        help="How the connection is protected.",
    ),
    click.option(
        "--ca",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Trust the certificates of this authority, in PEM.",
    ),
)


def remote_options(command: _Command) -> _Command:
    """Give a command the options by which the server is reached."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def remote_of(
    user: str,
    server: str,
    remote_user: str | None,
    remote_owner: str | None,
    password_stdin: bool,
    password_file: Path | None,
    security: str,
    ca: Path | None,
) -> Remote:
    """The server that HOST[:PORT] and these options name; asks for the password. Raises: Invalid."""
    host, port = parse_address(server, security)
    password = _read_password(password_stdin, password_file)
    context = None if security == "none" else make_client_context(True, ca)
    return Remote(host, port, security, remote_user or user, password, remote_owner, context)


def _read_password(from_stdin: bool, file: Path | None) -> str:
    if file is not None:
        return file.read_text().partition("\n")[0].rstrip("\r")
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the password on: use --password-stdin")
    return str(click.prompt("Password", hide_input=True))
