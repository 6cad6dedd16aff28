"""msadm completion: scripts that make a shell complete command lines."""

from __future__ import annotations

import click

from mstore.cli.completing import SHELLS, script
from mstore.cli.extras import PROGRAMS
from mstore.cli.site import as_json, write_json


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.argument("program", type=click.Choice(PROGRAMS), default=PROGRAMS[0])
@as_json
def completion(shell: str, program: str, as_json: bool) -> None:
    """Print the script by which SHELL completes verbs, options, users and mailboxes of PROGRAM [msadm].

    rc.m-store install puts these scripts where the shells look for them.

    Example: source <(msadm completion bash); msadm completion fish rc.m-store
    """
    text = script(shell, program)
    if as_json:
        write_json({"shell": shell, "program": program, "script": text})
    else:
        click.echo(text.rstrip("\n"))
