"""Superuser rights: what is done with them, and how they are given up for good.

What root makes below ``ms-path`` it makes by descriptors that do not follow symbolic links, for these
directories belong to ``runtime-user``.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import resource
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mstore.base.options import Settings
from workers import kernel
from workers.parent import Refused

_SECUREBITS = 0b11101011
"""The superuser's number gives a program no rights, there are no ambient ones, none outlive a change of user:
all of it locked."""


@dataclass(frozen=True)
class Identity:
    """As whom the daemons run, and the group of the directory of sockets."""

    user: str
    uid: int
    gid: int
    ipc_gid: int


def find_identity(settings: Settings) -> Identity:
    """The user from the configuration, or the invoking one.

    Raises: Refused
    """
    euid = os.geteuid()
    if settings.runtime_user is None:
        if euid == 0:
            raise Refused("runtime-user is needed when M-Store is run by the superuser")
        entry = pwd.getpwuid(euid)
    else:
        try:
            entry = pwd.getpwnam(settings.runtime_user)
        except KeyError:
            raise Refused(f"runtime-user: there is no user {settings.runtime_user!r}") from None
    if euid not in (0, entry.pw_uid):
        raise Refused(f"must be run by the superuser or by {entry.pw_name} (runtime-user)")
    gid = entry.pw_gid if euid == 0 else os.getegid()
    ipc_gid = find_group("lmtp-socket-group", settings.lmtp_socket_group, gid)
    return Identity(entry.pw_name, entry.pw_uid, gid, ipc_gid)


def find_group(option: str, name: str | None, otherwise: int) -> int:
    """The number of the group that an option names.

    Raises: Refused
    """
    if name is None:
        return otherwise
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise Refused(f"{option}: no group {name!r}") from None


def _open_directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _own_directory(path: Path, mode: int, uid: int, gid: int) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    fd = _open_directory(path)
    try:
        status = os.fstat(fd)
        if (status.st_uid, status.st_gid) != (uid, gid):
            os.fchown(fd, uid, gid)
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _make_directory(path: Path, mode: int) -> None:
    """Make a directory that belongs to who makes it; one that is there stays as it is."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    fd = _open_directory(path)
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def prepare_directories(settings: Settings, identity: Identity) -> None:
    """Make the directories of M-Store's own files, each with its owner and mode.

    The directory of sockets passes its group on to what is made in it (mode 2750), so that a process without
    rights can make a socket for the group of the mail transport agent.

    Raises: Refused
    """
    root = settings.ms_path
    # path, mode, group
    wanted = [
        (settings.run_path, 0o755, identity.gid),
        (settings.log_path, 0o750, identity.gid),
        (root / "ipc", 0o2750, identity.ipc_gid),
        (settings.spool_path, 0o700, identity.gid),
    ]
    nologin = settings.nologin_path.parent
    try:
        path = root
        root.mkdir(parents=True, exist_ok=True, mode=0o755)
        for path, mode, gid in wanted:
            _own_directory(path, mode, identity.uid, gid)
        # Whoever starts us closes the doors, not who comes in by them: this one is not the runtime user's.
        path = nologin
        _make_directory(nologin, 0o755)
    except PermissionError as error:
        owned = os.path.exists(path)
        belongs = f" ({path} belongs to user {name_user(path.stat().st_uid)})" if owned else ""
        raise Refused(f"{error.filename or path}: {error.strerror}{belongs}") from error
    except OSError as error:
        raise Refused(f"{error.filename or root}: {error.strerror} (needed below ms-path)") from error


def name_user(uid: int) -> str:
    """The name of a user, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def raise_file_limit() -> None:
    """Let this process open as many files as the system lets it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def drop(identity: Identity, *, may_run_programs: bool = False) -> None:
    """Become the runtime user, for good, where superuser rights are held.

    No way back is left, not by a program of the superuser's either, unless those are needed.
    Raises: Refused
    """
    if not may_run_programs:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if os.geteuid() != 0 or identity.uid == 0:
        return
    if not may_run_programs:
        _empty_bounds()
    groups = {identity.gid, identity.ipc_gid}
    groups.update(os.getgrouplist(identity.user, identity.gid))
    os.setgroups(sorted(groups))
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    if os.geteuid() == 0 or os.getuid() == 0:
        raise Refused("could not give up superuser rights")


@contextlib.contextmanager
def acting_as(identity: Identity) -> Iterator[None]:
    """Do something as the runtime user, to get the superuser's rights back; for a process with one thread.

    What is made meanwhile is the runtime user's. Does nothing where no superuser rights are held.
    """
    if os.geteuid() != 0 or identity.uid == 0:
        yield
        return
    gid, groups = os.getegid(), os.getgroups()
    os.setgroups(sorted({identity.gid, identity.ipc_gid, *os.getgrouplist(identity.user, identity.gid)}))
    os.setegid(identity.gid)
    os.seteuid(identity.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def _empty_bounds() -> None:
    """Let no capability be gained any more, by whatever is executed."""
    try:
        kernel.prctl(kernel.PR_SET_SECUREBITS, _SECUREBITS)
        for capability in range(64):
            try:
                kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    break  # There are no more.
                raise
    except PermissionError:
        pass  # A container's superuser who may not: that nothing can be gained holds in any case.


def settle() -> None:
    """The surroundings of a daemon: no directory held, nothing made that others may read, no core file."""
    os.chdir("/")
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def open_log(path: Path) -> int:
    """Open a log for appending, made if missing; never through a symbolic link or a second name of a file.

    Raises: OSError
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    fd = os.open(path, flags, 0o640)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(fd)
        raise OSError(None, "is not a plain file with one name", str(path))
    os.set_blocking(fd, True)
    return fd
