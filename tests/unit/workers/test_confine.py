"""A worker that has been taken over: what it tries from within, and how little of it succeeds."""

import errno
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mstore.base.options import Settings
from tests.unit.workers.running import (
    Running,
    Site,
    greet,
    may_empty_bounds,
    reachable_directory,
    read_line,
    started,
    wait_for,
)
from workers import kernel, landlock, seccomp
from workers.confine import authproxyd_rules, worker_rules
from workers.parent import Parent
from workers.signals import Signals, fork

CONFINED = "tests.unit.workers.confined"
NOBODY = 65534

with_landlock = pytest.mark.skipif(landlock.version() < landlock.OLDEST, reason="this kernel has no Landlock")
with_networks = pytest.mark.skipif(landlock.version() < 4, reason="Landlock here knows no networks")
with_scopes = pytest.mark.skipif(landlock.version() < 6, reason="Landlock here knows no scopes")
with_seccomp = pytest.mark.skipif(not seccomp.is_known(), reason="no filter for this architecture")

Try = Callable[..., str]


def make_site(path: Path, *lines: str) -> Site:
    """A site of an unprivileged user's, whoever runs the tests, in a directory that this user reaches."""
    site = Site(path, "imapd-workers 1", *lines)
    if os.geteuid() == 0:
        site.config.write_text(site.config.read_text().replace("runtime-user root", "runtime-user nobody"))
        for name in ("mail", "db", "db/accounts.db"):
            os.chown(path / name, NOBODY, NOBODY)
    return site


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with reachable_directory() as path:
        yield make_site(path)


@pytest.fixture(scope="module")
def authproxyd(site: Site) -> Iterator[Running]:
    with started(site, "workers.authproxyd", log="authproxyd") as running:
        wait_for(lambda: "event=started" in running.text())
        yield running


@pytest.fixture(scope="module")
def imapd(site: Site, authproxyd: Running) -> Iterator[Running]:
    with started(site, CONFINED) as running:
        wait_for(lambda: "event=ready" in running.text())
        yield running
        assert "Traceback" not in running.text() and "level=error" not in running.text()
        assert running.stop() == 0


@pytest.fixture
def attempt(site: Site, imapd: Running) -> Iterator[Try]:
    sock, _ = greet(site.port)
    with closing(sock):

        def ask(*words: object) -> str:
            sock.sendall(" ".join(map(str, words)).encode() + b"\n")
            return read_line(sock).decode().strip()

        yield ask


def worker_of(running: Running) -> int:
    return running.children()[0].pid


def test_its_work_goes_on(site: Site, attempt: Try) -> None:
    assert attempt("mail", site.path / "mail") == "ok"
    assert attempt("mail", site.path / "spool") == "ok"
    assert attempt("accounts", site.path / "db") == "ok"
    assert attempt("accounts", site.path / "db") == "ok"
    assert attempt("late") == "ok"
    assert attempt("connect-unix", site.path / "ipc" / "authproxyd") == "ok"
    (site.path / "etc" / "nologin").write_text("closed\n")
    assert attempt("read", site.path / "etc" / "nologin") == "ok"
    (site.path / "etc" / "nologin").unlink()


@with_landlock
def test_passwords_and_the_rest_of_the_system_are_out_of_reach(site: Site, attempt: Try) -> None:
    """Here the file of passwords is the runtime user's own, as on a site of an ordinary user."""
    for path in (
        site.path / "db" / "passwords" / "passwords.db",
        "/etc/shadow",
        "/etc/passwd",
        site.config,
        "/proc/self/mem",
    ):
        assert attempt("read", path) == "EACCES", path
        assert attempt("write", path) in ("EACCES", "EROFS"), path
    assert "unable to open" in attempt("passwords", site.path / "db")
    for path in ("/", "/etc", "/tmp", "/proc", site.path, site.path / "log", site.path / "run"):
        assert attempt("list", path) == "EACCES", path
    for path in (site.path / "db" / "new", site.path / "log" / "imapd.log", "/tmp/new", "/dev/tty0"):
        assert attempt("write", path) in ("EACCES", "ENOENT"), path
    assert attempt("symlink", site.path / "mail" / "link") == "EACCES"
    assert attempt("mkdir", site.path / "run" / "new") == "EACCES"


def test_others_memory_is_out_of_reach(authproxyd: Running, imapd: Running, attempt: Try) -> None:
    for pid in (authproxyd.pid, imapd.pid, os.getpid()):
        assert attempt("ptrace", pid) == "EPERM"
        assert attempt("memory", pid) == "EPERM"
        assert attempt("read", f"/proc/{pid}/mem") == "EACCES"
        assert attempt("read", f"/proc/{pid}/environ") == "EACCES"


@with_scopes
def test_others_are_out_of_reach_of_signals(authproxyd: Running, imapd: Running, attempt: Try) -> None:
    for pid in (authproxyd.pid, imapd.pid):
        assert attempt("signal", pid) == "EPERM"
    assert attempt("signal", worker_of(imapd)) == "ok"


@with_seccomp
def test_no_program_is_started(attempt: Try) -> None:
    assert attempt("exec", "/bin/true") == "EPERM"
    assert attempt("fork") == "EPERM"


@with_seccomp
def test_permissions_of_what_cannot_be_read_stay(site: Site, attempt: Try) -> None:
    """Landlock does not govern them, and the file is the worker's user's own here."""
    for action in ("chmod", "chown"):
        assert attempt(action, site.path / "db" / "passwords" / "passwords.db") == "EPERM"
    assert (site.path / "db" / "passwords" / "passwords.db").stat().st_mode & 0o777 == 0o600


@with_seccomp
def test_no_network_is_reached(site: Site, attempt: Try) -> None:
    assert attempt("socket") == "EPERM"
    assert attempt("bind-unix", site.path / "mail" / "socket") == "EPERM"


@with_networks
def test_a_connection_that_was_accepted_leads_nowhere_else(site: Site, imapd: Running) -> None:
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        elsewhere.listen()
        sock, _ = greet(site.port)
        sock.sendall(b"reconnect %d\n" % elsewhere.getsockname()[1])
        elsewhere.settimeout(0.5)
        with pytest.raises(TimeoutError):
            elsewhere.accept()
        sock.close()


def test_no_rights_are_left_or_to_be_gained(authproxyd: Running, imapd: Running) -> None:
    for pid in (worker_of(imapd), imapd.pid, authproxyd.pid):
        status = Path(f"/proc/{pid}/status").read_text()
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert re.search(rf"{name}:\s+0+\n", status), name
        assert "NoNewPrivs:\t1\n" in status
        if os.geteuid() == 0 and may_empty_bounds():
            assert re.search(r"CapBnd:\s+0+\n", status)
        if pid != imapd.pid:
            assert not seccomp.is_known() or "Seccomp:\t2\n" in status
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max core file size +0 +0 ", limits)
            assert os.stat(f"/proc/{pid}/mem").st_uid == 0 or not os.access(f"/proc/{pid}/mem", os.R_OK)


def test_what_confines_is_logged_once(authproxyd: Running, imapd: Running) -> None:
    for running in (authproxyd, imapd):
        lines = [line for line in running.text().splitlines() if "event=confinement" in line]
        assert len(lines) == 1
        if landlock.version() >= landlock.OLDEST:
            assert f"landlock={landlock.version()} " in lines[0]


def test_it_can_be_switched_off(reachable: Path) -> None:
    site = make_site(reachable, "confine-workers off")
    with started(site, CONFINED) as running:
        sock, pid = greet(site.port)
        for text, done in (
            (b"exec /bin/nothing", b"ENOENT"),
            (b"socket", b"ok"),
            (b"read /etc/passwd", b"ok"),
        ):
            sock.sendall(text + b"\n")
            assert read_line(sock).strip() == done
        assert "Seccomp:\t0\n" in Path(f"/proc/{pid}/status").read_text()
        assert 'reason="confine-workers is off"' in running.text()
        sock.close()
        assert running.stop() == 0


def test_a_worker_that_follows_is_confined_as_well(site: Site, imapd: Running, attempt: Try) -> None:
    before = worker_of(imapd)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: [child for child in imapd.children() if child.pid != before])
    sock, pid = greet(site.port)
    assert pid != before
    sock.sendall(b"read /etc/passwd\n")
    assert read_line(sock).strip() == (b"EACCES" if landlock.version() >= landlock.OLDEST else b"ok")
    sock.close()
    # The log of that death is no error of ours.
    imapd.log.write_text(imapd.text().replace("level=error", "level=awaited"))


def test_mailstores_behind_links_are_reached_and_new_ones_after_a_reload(reachable: Path) -> None:
    site = make_site(reachable)
    real, later = reachable / "real", reachable / "later"
    for path in (real, later):
        path.mkdir()
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    (reachable / "link").symlink_to(real)
    site.config.write_text(site.config.read_text() + f"mailstore linked {reachable}/link\n")

    def ask(path: Path) -> bytes:
        sock, _ = greet(site.port)
        with closing(sock):
            sock.sendall(f"mail {path}\n".encode())
            return read_line(sock).strip()

    with started(site, CONFINED) as running:
        assert ask(reachable / "link") == b"ok"
        if landlock.version() >= landlock.OLDEST:
            assert ask(later) == b"EACCES"
        site.config.write_text(site.config.read_text() + f"mailstore later {later}\n")
        running.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: "event=retired" in running.text() and running.text().count("event=ended") >= 1)
        assert ask(later) == b"ok"
        assert running.stop() == 0


def settings(path: Path) -> Settings:
    return Settings(ms_path=path / "ms", mailstores={"main": path / "mail"}, runtime_user=None)


def test_no_rule_of_a_worker_covers_what_is_secret(tmp_path: Path) -> None:
    (tmp_path / "ms" / "db").mkdir(parents=True)
    found = settings(tmp_path)
    for path, rights in worker_rules(found):
        assert not rights & landlock.EXECUTE
        if rights & landlock.READ_FILE:
            passwords = found.db_path / "passwords" / "passwords.db"
            for secret in (passwords, found.run_path / "x", found.log_path / "x"):
                assert not Path(os.path.realpath(secret)).is_relative_to(os.path.realpath(path)), path


def test_authproxyd_changes_its_own_directories_alone(tmp_path: Path) -> None:
    changed = {path for path, _ in authproxyd_rules(settings(tmp_path))}
    own = {tmp_path / "ms" / name for name in ("db", "run", "log", "ipc")}
    assert changed == own | {Path("/dev/null")}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filters_are_whole(machine: str) -> None:
    steps = seccomp.assemble(machine, (), (socket.AF_UNIX,))
    assert len(steps) < 4096  # BPF_MAXINSNS
    for place, (code, yes, no, _) in enumerate(steps):
        if code & 7 == 5:
            assert place + 1 + max(yes, no) < len(steps)
    assert steps[-1] == (0x06, 0, 0, 0x7FFF0000)
    assert not seccomp.is_known("riscv64")


HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("machine", list(HEADERS))
def test_numbers_of_calls_are_those_of_the_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip(f"there is no {HEADERS[machine]} (linux-libc-dev)")
    pattern = re.compile(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", re.MULTILINE)
    known = {name: int(number) for name, number in pattern.findall(HEADERS[machine].read_text())}
    ours = {name: numbers[list(HEADERS).index(machine)] for name, numbers in seccomp.CALLS.items()}
    newer = {"fchmodat2"} - known.keys()  # Headers may be older than the call.
    wrong = {name for name, number in ours.items() if known.get(name) != number}
    assert wrong - newer == set()


def confined_child(run: Callable[[], int]) -> int:
    """The status of a process that confines itself and then does something."""
    signals = Signals()
    try:
        pid = fork(run, signals)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        signals.close()


@with_landlock
def test_authproxyd_may_connect_but_not_write_elsewhere(tmp_path: Path) -> None:
    allowed, forbidden = tmp_path / "allowed", tmp_path / "forbidden"
    allowed.mkdir()
    forbidden.write_text("x")

    def run() -> int:
        governed = landlock.CHANGE | landlock.EXECUTE | landlock.IOCTL_DEV
        missing = [allowed / "none"]
        rules = [(allowed, landlock.CHANGE), (missing[0], landlock.CHANGE)]
        if landlock.restrict(governed, rules, alone=False) != missing:
            return 1
        (allowed / "new").write_text("x")
        forbidden.read_text()
        for action in (lambda: forbidden.write_text("y"), lambda: os.execv("/bin/true", ["true"])):
            try:
                action()
            except PermissionError:
                continue
            return 2
        with socket.socket() as sock:
            return 0 if sock.connect_ex(("127.0.0.1", 1)) == errno.ECONNREFUSED else 3

    assert confined_child(run) == 0


def test_a_parent_may_hand_over_a_third_descriptor() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        parent = Parent.parse(f",,{theirs.detach()}")
        assert parent.liveness is None and parent.handover is not None
        parent.close()
        assert ours.recv(1) == b"" and parent.handover is None
    assert kernel.machine() in ("x86_64", "aarch64") or not seccomp.is_known()
