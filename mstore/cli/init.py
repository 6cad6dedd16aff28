"""msadm init: the databases and directories of a new message store."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

import click

from mstore.accounts.database import ACCOUNTS, PASSWORDS, create_database, missing_databases
from mstore.base.errors import Unavailable
from mstore.cli.site import Site, as_json, write_json


@click.command()
@as_json
@click.pass_obj
def init(config: Path, as_json: bool) -> None:
    """Make the databases and directories of a new message store.

    What is there already is left as it is. Where one database is there and another is missing, nothing is
    made: then a backup must be restored.

    Example: msadm init
    """
    os.umask(0o022)
    site = Site(config)
    ids = site.runtime_ids()
    made = _make_directories(site, ids)
    made += _make_databases(site.settings.db_path, ids)
    if as_json:
        write_json({"made": [str(path) for path in made]})
        return
    for path in made:
        click.echo(f"made {path}")
    if not made:
        click.echo("everything was there already")


def _make_directories(site: Site, ids: tuple[int, int] | None) -> list[Path]:
    settings = site.settings
    uid, gid = ids or (-1, -1)
    ipc_gid = gid
    if ids and settings.lmtp_socket_group is not None:
        ipc_gid = grp.getgrnam(settings.lmtp_socket_group).gr_gid
    # sticky where root is: the daemons may make their journals beside the databases, not replace one
    db_mode, db_uid = (0o1770, 0) if ids else (0o700, uid)
    wanted = [
        (settings.ms_path, 0o755, -1 if ids else uid, -1),
        (settings.db_path, db_mode, db_uid, gid),
        (settings.nologin_path.parent, 0o755, -1, -1),
        (settings.run_path, 0o755, uid, gid),
        (settings.log_path, 0o750, uid, gid),
        (settings.ipc_path("authproxyd").parent, 0o2750 if ids else 0o750, uid, ipc_gid),
        (settings.spool_path, 0o700, uid, gid),
        *((path, 0o700, uid, gid) for path in settings.mailstores.values()),
    ]
    return [path for path, mode, owner, group in wanted if _make_directory(path, mode, owner, group)]


def _make_directory(path: Path, mode: int, uid: int, gid: int) -> bool:
    """Make a directory with its owner and mode; False when there is one, which keeps what it has."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not stat.S_ISDIR(path.stat().st_mode):
            raise Unavailable(f"{path} is not a directory") from None
        return False
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)
    return True


def _make_databases(db_path: Path, ids: tuple[int, int] | None) -> list[Path]:
    missing = missing_databases(db_path)
    schemas = (PASSWORDS, ACCOUNTS)
    if missing and len(missing) < len(schemas):
        files = ", ".join(str(path) for path in missing)
        raise Unavailable(f"{files} is missing while others are there: a backup must be restored")
    made = []
    for schema in schemas if missing else ():
        path = create_database(db_path, schema, 0o600)
        if ids and schema is not PASSWORDS:
            os.chown(path, *ids, follow_symlinks=False)
        made.append(path)
    return made
