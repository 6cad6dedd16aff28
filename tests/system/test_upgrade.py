"""rc.m-store upgrade: another version takes over while sessions go on and no connection is refused."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.corpus import message
from tests.kit.instance import DAEMONS, ROOT, Instance, free_port, title, wait_for
from tests.kit.notified import Notified
from tests.system.test_sessions_of_a_user import is_let_in

pytestmark = pytest.mark.timeout(900)


def another_version(store: Instance, name: str = "next") -> Path:
    """A copy of the program beside the store, to be changed."""
    root = store.path / name
    root.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("mstore", "workers", "conf"):
        shutil.copytree(ROOT / package, root / package, ignore=ignore)
    return root


def upgrade(store: Instance, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The upgrade to what is in this directory, by its own program."""
    return subprocess.run(
        [sys.executable, "-m", "mstore.cli.rc", "-f", str(store.config), "upgrade"],
        capture_output=True, text=True, timeout=400, cwd="/",
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip


def pids(store: Instance) -> dict[str, int]:
    return {daemon: store.daemon_pid(daemon) for daemon in ("storemgr", *DAEMONS)}


@contextmanager
def logins_going(store: Instance) -> Iterator[list[str]]:
    """Clients that come, log in and go all the while; what went wrong for them."""
    wrong: list[str] = []
    end = threading.Event()

    def go(visit: Callable[[], None]) -> None:
        while not end.is_set():
            try:
                visit()
            except Exception as error:
                wrong.append(f"{visit.__name__}: {type(error).__name__}: {error}")

    def imap() -> None:
        client = store.imap("joe")
        client.select()
        client.logout()

    def pop3() -> None:
        client = store.pop3("ann")
        client.command(b"QUIT")
        client.close()

    def lmtp() -> None:
        store.deliver("joe", message(1, 2000))

    threads = [threading.Thread(target=go, args=(visit,)) for visit in (imap, pop3, lmtp)]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        end.set()
        for thread in threads:
            thread.join(60)


def test_a_new_version_takes_over_without_a_connection_refused(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe", "ann"])
    store.start()
    idle, busy = store.imap("joe"), store.imap("joe")
    idle.select()
    idle.idle()
    busy.select()
    before, workers = pids(store), store.worker_pids("imapd")
    root = another_version(store)
    version = root / "mstore" / "__init__.py"
    version.write_text(version.read_text() + '\n__version__ = "99.7"\n')
    with logins_going(store) as wrong:
        done = upgrade(store, root)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "upgraded to 99.7: authproxyd, imapd, pop3d, lmtpd\n"
    assert not wrong
    after = pids(store)
    assert after["storemgr"] == before["storemgr"]
    assert all(after[daemon] not in (0, before[daemon]) for daemon in DAEMONS)
    wait_for(
        lambda: all(title(pid).startswith(f"m-store: {daemon} [") for daemon, pid in after.items()), 30,
        lambda: store.describe(list(after.values())),
    )  # fmt: skip
    assert re.search(r"event=taken-over .*version=99\.7 ", store.log_text())

    def is_served_by_it() -> bool:
        pop3 = store.pop3()
        said = pop3.many(b"CAPA")
        pop3.close()
        return b"IMPLEMENTATION M-Store-99.7" in said

    # The old workers accept until they have heard that they need not.
    wait_for(is_served_by_it, 30, lambda: "an old worker accepts still")
    assert is_served_by_it()
    # The old sessions go on, and the old daemon ends with them.
    busy.command(b"NOOP")
    idle.done()
    wait_for(lambda: title(before["imapd"]).endswith(", leaving]"), 30, lambda: title(before["imapd"]))
    assert set(workers) & set(store.pids())
    for client in (idle, busy):
        client.logout()
    wait_for(lambda: before["imapd"] not in store.pids(), 60, lambda: store.describe(store.pids()))
    wait_for(lambda: len(store.pids()) == 5 + 6, 60, lambda: store.describe(store.pids()))
    assert store.rc("status").returncode == 0
    for daemon in ("imapd", "authproxyd"):
        second = store.spawn(daemon)
        assert second.wait(60) == 78, f"the lock of {daemon} is free"
    # What comes next is as before: a death, a reload, another upgrade, the end.
    os.kill(after["imapd"], signal.SIGTERM)
    wait_for(lambda: store.daemon_pid("imapd") not in (0, after["imapd"]), 60, lambda: "imapd is not back")
    store.imap("joe").logout()
    assert store.rc("reload").stdout == "reloaded\n"
    assert upgrade(store).returncode == 0
    assert store.is_ready() and pids(store)["storemgr"] == before["storemgr"]
    store.stop()


def test_metricsd_takes_over_and_sessions_that_stay_behind_count_for_the_limits(
    make_store: Callable[..., Instance],
) -> None:
    """metricsd may open nothing then; and imapd has its sessions in two processes, or three."""
    port = free_port()
    options = (f"metrics-listen 127.0.0.1:{port}", "imapd-connections-per-user 3")
    store = make_store(["joe"], options, workers=1)
    store.start()
    behind = []
    for _ in range(2):
        behind.append(store.imap("joe"))
        before = store.daemon_pid("metricsd")
        assert before
        done = upgrade(store)
        assert (done.returncode, done.stderr) == (0, "")
        assert store.daemon_pid("metricsd") not in (0, before)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            assert b'mstore_up{daemon="imapd"} 1.0' in page.read()
    wait_for(lambda: len(list((store.ms_path / "run").glob("imapd.leaving.*"))) == 2, 30, lambda: "not told")
    third = store.imap("joe")
    wait_for(lambda: not is_let_in(store, "joe"), 30, lambda: "those that stay behind do not count")
    behind[0].logout()
    wait_for(lambda: is_let_in(store, "joe"), 60, lambda: "one that has ended counts still")
    for client in (behind[1], third):
        client.logout()
    wait_for(lambda: not list((store.ms_path / "run").glob("imapd.leaving.*")), 60, lambda: "a file is left")
    store.stop()


def test_logs_are_begun_anew_after_an_upgrade_as_before(make_store: Callable[..., Instance]) -> None:
    store = make_store(["joe"], (f"metrics-listen 127.0.0.1:{free_port()}",), workers=1)
    store.adopt(store.spawn("storemgr", "-d"))
    store.wait_ready()
    assert upgrade(store).returncode == 0
    logs = [store.ms_path / "log" / f"{name}.log" for name in ("storemgr", *DAEMONS, "metricsd")]
    for path in logs:
        path.rename(f"{path}.1")
    os.kill(store.daemon_pid("storemgr"), signal.SIGHUP)
    wait_for(
        lambda: all(path.exists() and path.stat().st_size for path in logs), 60,
        lambda: f"not begun: {[path.name for path in logs if not path.exists()]}",
    )  # fmt: skip
    store.stop()


BROKEN = {
    "imapd": ("workers/imapd.py", "this is (no program\n", "imapd: .*SyntaxError"),
    "storemgr": ("workers/upgrade.py", "import nothing_of\n", "No module named 'nothing_of'"),
    "late": ("workers/crew.py", "\nraise ValueError('not today')\n", "ValueError: not today"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_version_that_does_not_start_leaves_the_old_one_in_charge(store: Instance, what: str) -> None:
    name, text, told = BROKEN[what]
    session = store.imap("joe")
    before, workers = pids(store), store.worker_pids("imapd")
    root = another_version(store)
    path = root / name
    path.write_text(text if what != "late" else path.read_text() + text)
    done = upgrade(store, root)
    assert done.returncode == 1 and "not upgraded, the old version goes on" in done.stderr
    assert re.search(told, done.stderr), done.stderr
    assert pids(store) == before and store.worker_pids("imapd") == workers
    wait_for(lambda: len(store.pids()) == 5 + 6, 60, lambda: store.describe(store.pids()))
    session.command(b"NOOP")
    session.logout()
    assert store.is_ready() and store.rc("status").returncode == 0
    assert store.rc("reload").stdout == "reloaded\n"
    store.deliver("joe", message(1, 3000))
    store.tolerated.append(r"event=not-upgraded|event=child-ended|SyntaxError|Traceback|nothing_of")


def test_a_configuration_with_errors_is_not_taken(store: Instance) -> None:
    before = pids(store)
    text = store.config.read_text()
    store.config.write_text(text + "imapd-worker 3\n")
    done = upgrade(store)
    assert done.returncode == 6 and "imapd-worker: unknown option" in done.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        store.config.write_text(text + f"lmtpd-listen 127.0.0.1:{port}\n")
        done = upgrade(store)
        assert done.returncode == 1, done.stdout
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    store.config.write_text(text.replace("runtime-user mail", "runtime-user games"))
    if "runtime-user mail" in text:
        done = upgrade(store)
        assert done.returncode == 1 and "runtime-user: an upgrade cannot change it" in done.stderr
    store.config.write_text(text)
    assert pids(store) == before and store.is_ready()
    store.tolerated.append("event=not-upgraded|event=child-ended")


def test_an_upgrade_changes_what_a_reload_cannot(store: Instance) -> None:
    port = free_port()
    text = store.config.read_text()
    address = f"127.0.0.1:{store.imap_address[1]}"
    text = text.replace("imapd-workers 2", "imapd-workers 3").replace("pop3d-workers 2", "pop3d-workers 1")
    text = text.replace(f"imapd-listen {address}", f"imapd-listen {address} 127.0.0.1:{port}")
    store.config.write_text(text + "lmtp-enable-overquota-delivery on\n")
    assert upgrade(store).returncode == 0
    wait_for(lambda: len(store.worker_pids("imapd")) == 3, 30, lambda: "not three workers")
    assert len(store.worker_pids("pop3d")) == 1
    for _ in range(60):
        store.imap("joe").logout()
        store.pop3("joe").close()
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        assert sock.recv(100).startswith(b"* OK")
    assert (store.ms_path / "ipc" / "lmtpd-oq").exists()
    store.config.write_text(text.replace(f" 127.0.0.1:{port}", ""))
    assert upgrade(store).returncode == 0
    assert not (store.ms_path / "ipc" / "lmtpd-oq").exists()

    def is_refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    wait_for(is_refused, 30, lambda: "a daemon that leaves listens still")
    assert store.is_ready()


def test_a_service_manager_sees_one_process_that_reloads(
    make_store: Callable[..., Instance], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    path = store.path / "notify"
    with Notified(path) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        store.start(wait=False)

        manager.until("READY=1")
        pid = store.daemon_pid("storemgr")
        monkeypatch.delenv("NOTIFY_SOCKET")
        for number in (1, 2):
            os.kill(pid, signal.SIGUSR2)
            for word in ("RELOADING=1", "WATCHDOG=1", "READY=1"):
                manager.until(word)
            assert store.daemon_pid("storemgr") == pid
            assert store.log_text().count("event=upgraded") == number
        store.stop()
        manager.until("STOPPING=1")


def test_reloads_and_upgrades_that_overlap_are_done_one_after_the_other(store: Instance) -> None:
    command = [sys.executable, "-m", "mstore.cli.rc", "-f", str(store.config)]
    before = set(store.worker_pids("imapd"))
    asked = [
        subprocess.Popen([*command, verb], stdout=subprocess.PIPE, text=True, env=store.environment())
        for verb in ("reload", "upgrade", "reload", "reload")
    ]
    told = [process.communicate(timeout=400)[0] for process in asked]
    assert [process.returncode for process in asked] == [0] * 4
    assert told[0] == told[2] == told[3] == "reloaded\n" and told[1].startswith("upgraded to ")
    assert store.is_ready() and not before & set(store.worker_pids("imapd"))
