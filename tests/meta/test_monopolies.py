"""Some things have one home each, so that they can be replaced, recorded or reasoned about in one place."""

from pathlib import Path

from tests.meta.source import ROOT, calls, files, imports


def offenders(modules: tuple[str, ...], allowed: tuple[str, ...]) -> list[str]:
    """Imports of modules outside the paths that may."""
    return [
        f"{path}:{line}: imports {imported}"
        for path in files("mstore", "workers")
        for imported, line in imports(path)
        if any(imported == module or imported.startswith(module + ".") for module in modules)
        and not is_below(path, allowed)
    ]


def callers(names: tuple[str, ...], allowed: tuple[str, ...], *directories: str) -> list[str]:
    """Calls of functions outside the paths that may."""
    return [
        f"{path}:{line}: calls {name}"
        for path in files(*directories)
        for name, line in calls(path)
        if name in names and not is_below(path, allowed)
    ]


def is_below(path: Path, allowed: tuple[str, ...]) -> bool:
    relative = str(path.relative_to(ROOT))
    return any(relative == entry or relative.startswith(entry.rstrip("/") + "/") for entry in allowed)


def test_event_loops_are_the_workers_business() -> None:
    assert not offenders(("gevent", "greenlet"), ("workers",))


def test_forking_and_signals_are_the_workers_business() -> None:
    names = (
        "os.fork",
        "os.forkpty",
        "signal.signal",
        "signal.set_wakeup_fd",
        "os.posix_spawn",
        "os.setresuid",
    )
    assert not callers(names, ("workers", "mstore/cli/site.py", "mstore/cli/child.py"), "mstore")
    assert not callers(names, ("workers/signals.py", "workers/managed.py", "workers/privileges.py",
                               "workers/authproxyd.py"), "workers")  # fmt: skip


def test_file_locks_are_the_business_of_files() -> None:
    assert not offenders(("fcntl",), ("mstore/files",))


def test_syncing_and_renaming_are_the_business_of_files() -> None:
    names = (
        "os.fsync",
        "os.fdatasync",
        "os.rename",
        "os.replace",
        "os.copy_file_range",
        "os.pwrite",
        "os.ftruncate",
    )
    # A scoreboard is memory, whose file's name others look for.
    others = ("mstore/accounts/database.py", "mstore/cli/init.py", "workers/scoreboard.py")
    assert not callers(names, ("mstore/files", *others), "mstore", "workers")


def test_only_one_module_of_mstore_sleeps_or_makes_threads() -> None:
    seam = "mstore/base/blocking.py"
    assert not callers(("time.sleep", "threading.Thread"), (seam, "mstore/cli"), "mstore")
    assert not callers(("time.sleep",), (), "workers")
    # A plain lock is for a few statements that never wait, among the threads of the pool.
    own = ("workers/threads.py", "workers/reporting.py")
    assert not offenders(("threading",), (seam, "mstore/store", "mstore/files", *own))
    assert not offenders(("asyncio", "multiprocessing", "concurrent.futures"), ())


def test_tls_is_made_in_one_place() -> None:
    assert not offenders(("ssl",), ("mstore/net/tls.py", "mstore/cli/service.py"))
    assert not offenders(("gevent.ssl",), ("workers/connections.py",))
    assert not offenders(("_ssl",), ("mstore/net/exporter.py",))


def test_calls_by_ctypes_are_made_in_few_places() -> None:
    ours = ("workers/kernel.py", "workers/landlock.py", "workers/seccomp.py", "mstore/net/exporter.py")
    theirs = ("mstore/auth/mechanisms", "mstore/auth/crypt.py", "mstore/files")
    assert not offenders(("ctypes",), (*ours, *theirs))


def test_imap_reaches_mailboxes_through_the_gate_alone() -> None:
    # session.py keeps the account alive, and names its type.
    elsewhere = ("mstore/store", "mstore/pop3", "mstore/lmtp", "mstore/backup", "mstore/cli", "mstore/moving",
                 "mstore/imap/session.py")  # fmt: skip
    assert not offenders(("mstore.store.account", "mstore.store.pool", "mstore.store.catalog"), elsewhere)


def test_only_msadm_is_refused_nothing() -> None:
    text = "is_superuser=True"
    users = {str(path.relative_to(ROOT)) for path in files("mstore", "workers") if text in path.read_text()}
    assert users == {"mstore/cli/place.py"}
