"""What a process that speaks to strangers may still do: the policy for workers and for authproxyd.

A worker reads and writes mail, the account database (not the passwords) and what it spools, and connects to
Unix sockets. It starts no program, makes no network connection, traces and signals nobody, and has no rights
of the superuser's to gain. Two mechanisms of the kernel hold that: Landlock for files and networks, seccomp
for system calls; neither needs rights, and neither can be undone. Where one is missing the other holds what
it can, and under a user of its own the rest is a matter of file permissions.

A process calls these before it starts threads, when all that must be opened first is open.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import mstore
import workers
from mstore.accounts.database import ACCOUNTS, PASSWORDS, Database
from mstore.base.log import Log
from mstore.base.options import Settings
from mstore.files import raw
from workers import kernel, landlock, seccomp

SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/localtime", "/etc/ld.so.cache"
)  # fmt: skip
"""Where what a library loads late comes from."""
NETWORK = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
NEEDS_PROGRAMS = ("pam",)
"""Mechanisms of authproxyd's that run programs of the system's, which need their rights."""


def announce(settings: Settings, log: Log) -> None:
    """Say once, at a daemon's start, by what its workers are confined."""
    if not settings.confine_workers:
        log.warning("confinement", landlock="off", seccomp="off", reason="confine-workers is off")
        return
    version = landlock.version()
    known = version >= landlock.OLDEST
    log.info(
        "confinement",
        landlock=version if known else "none",
        seccomp="yes" if seccomp.is_known() else f"none for {kernel.machine()}",
    )
    if not known:
        what = f"version {version} of Landlock is too old" if version else "this kernel has no Landlock"
        log.warning("confinement-incomplete", reason=f"{what}: file permissions alone keep workers in bounds")


def confine_worker(settings: Settings, log: Log) -> None:
    """Let this process do nothing but a worker's work.

    Raises: OSError where the kernel could and does not.
    """
    if not settings.confine_workers:
        return
    harden()
    kernel.clear_capabilities()
    raw.boot_id()  # It is read from a place that will be out of reach.
    if landlock.version() >= landlock.OLDEST:
        everything = landlock.EVERYTHING
        for path in landlock.restrict(everything, list(worker_rules(settings)), alone=True):
            if path in settings.mailstores.values():
                log.warning("mailstore-out-of-reach", path=path, reason="it is not there; reload when it is")
    _filter_calls(log)


def confine_metricsd(settings: Settings, log: Log) -> None:
    """Let this process read scoreboards, and answer on the sockets that it has.

    Raises: OSError where the kernel could and does not.
    """
    if not settings.confine_workers:
        return
    harden()
    kernel.clear_capabilities()
    if landlock.version() >= landlock.OLDEST:
        landlock.restrict(landlock.EVERYTHING, list(metricsd_rules(settings)), alone=True)
    _filter_calls(log, families=(socket.AF_UNIX,) if settings.log_to in ("syslog", "journal") else ())


def confine_authproxyd(settings: Settings, log: Log) -> None:
    """Let this process write what is authproxyd's, and start nothing; it may read and connect as it likes.

    A mechanism that runs programs of the system's is left the means to: then only memory is closed.
    Raises: OSError where the kernel could and does not.
    """
    if not settings.confine_workers:
        return
    harden()
    if runs_programs(settings):
        log.info("confinement", landlock="none", seccomp="none", reason="authproxy-authmech runs programs")
        return
    if landlock.version() >= landlock.OLDEST:
        governed = landlock.CHANGE | landlock.EXECUTE | landlock.IOCTL_DEV
        landlock.restrict(governed, list(authproxyd_rules(settings)), alone=False)
    _filter_calls(log, allowed=("bind",), families=NETWORK)


def runs_programs(settings: Settings) -> bool:
    """Whether authproxyd is to check passwords in a way that runs programs of the system's."""
    mechanisms = (settings.authproxy_authmech, settings.authproxy_legacy_authmech)
    return any(name in NEEDS_PROGRAMS for name in mechanisms)


def harden() -> None:
    """Keep this process's memory to itself: no core dump, and no debugger of the same user.

    Raises: OSError
    """
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def worker_rules(settings: Settings) -> Iterator[tuple[Path, int]]:
    """What a worker may do beneath which paths."""
    for path in settings.mailstores.values():
        yield path, landlock.KEEP
    yield settings.spool_path, landlock.KEEP
    yield settings.nologin_path.parent, landlock.READ
    # SQLite looks into the directory when it syncs; what it changes there are two files that stay.
    yield settings.db_path, landlock.READ_DIR
    for path in Database(settings.db_path, ACCOUNTS).keep_files():
        yield path, landlock.READ_FILE | landlock.WRITE_FILE | landlock.TRUNCATE
    yield Path("/dev/null"), landlock.READ_FILE | landlock.WRITE_FILE
    yield Path("/dev/urandom"), landlock.READ_FILE
    yield from _program_rules(
        settings, [(settings.db_path / PASSWORDS.file_name).parent, settings.run_path, settings.log_path]
    )


def metricsd_rules(settings: Settings) -> Iterator[tuple[Path, int]]:
    """What metricsd may do beneath which paths: scoreboards are made anew, so the directory it is."""
    yield settings.run_path, landlock.READ_FILE
    yield Path("/dev/null"), landlock.READ_FILE | landlock.WRITE_FILE
    yield Path("/dev/urandom"), landlock.READ_FILE
    yield from _program_rules(settings, [settings.log_path, settings.db_path, *settings.mailstores.values()])


def authproxyd_rules(settings: Settings) -> Iterator[tuple[Path, int]]:
    """What authproxyd may change beneath which paths."""
    rights = landlock.CHANGE & ~(landlock.MAKE_CHAR | landlock.MAKE_BLOCK)
    for path in (settings.db_path, settings.run_path, settings.log_path, settings.ipc_path("")):
        yield path, rights
    yield Path("/dev/null"), landlock.WRITE_FILE


def _program_rules(settings: Settings, secret: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """The right to read what is imported late, but where it lies above something that is not to be read."""
    for path in _program_paths(settings):
        if not _holds(path, secret):
            yield path, landlock.READ


def _program_paths(settings: Settings) -> Iterator[Path]:
    """Where Python and its packages are, and we ourselves: what is imported late is read from there."""
    yield from (Path(path).parent for path in (mstore.__file__, workers.__file__) if path)
    source = Path(mstore.__file__).parent.parent
    for entry in sys.path:
        if entry and Path(entry) != source:
            yield Path(entry)
    yield settings.executable_base_path / "lib"
    yield from map(Path, SYSTEM)


def _holds(directory: Path, paths: Iterable[Path]) -> bool:
    """Whether one of the paths lies beneath the directory."""
    real = Path(os.path.realpath(directory))
    return any(Path(os.path.realpath(path)).is_relative_to(real) for path in paths)


def _filter_calls(
    log: Log, allowed: tuple[str, ...] = (), families: tuple[int, ...] = (socket.AF_UNIX,)
) -> None:
    if not seccomp.is_known():
        return
    try:
        seccomp.install(allowed, families)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        log.warning("confinement-incomplete", reason="this kernel filters no system calls")
