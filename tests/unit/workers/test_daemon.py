"""A whole daemon with forked workers, speaking the echo protocol."""

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.unit.workers.running import (
    ROOT,
    Running,
    Site,
    connect,
    free_port,
    greet,
    is_alive,
    may_empty_bounds,
    read_line,
    started,
    try_connect,
    wait_for,
)
from workers.crew import GENERATIONS

ECHO = "tests.unit.workers.echo"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    limits = ("unauthenticated-per-address 0", "connections-per-address 0")  # All come from this machine.
    return Site(tmp_path, "imapd-workers 2", "shutdown-grace 2", *limits)


@pytest.fixture
def echo(site: Site) -> Iterator[Running]:
    with started(site, ECHO) as running:
        wait_for(lambda: "event=ready" in running.text())
        yield running


def spread(port: int, wanted: int) -> dict[int, list[socket.socket]]:
    """Connections until so many workers have one."""
    found: dict[int, list[socket.socket]] = {}
    while len(found) < wanted:
        sock, pid = greet(port)
        found.setdefault(pid, []).append(sock)
        assert sum(map(len, found.values())) < 100
    return found


def title(pid: int) -> str:
    return " ".join(psutil.Process(pid).cmdline()).strip()


def test_titles_tell_what_each_process_does(site: Site, echo: Running) -> None:
    socks = spread(site.port, 2)
    count = sum(map(len, socks.values()))
    activity = f"{count} sessions, {count} idle, 0 commands/s"
    wait_for(lambda: title(echo.pid) == f"m-store: imapd [2 workers, {activity}]")
    titles = {title(pid) for pid in socks}
    wanted = re.compile(r"m-store: imapd worker [12] \[\d+ sessions, \d+ idle, \d+ commands/s\]")
    assert all(wanted.fullmatch(text) for text in titles)
    assert len({text.split("[")[0] for text in titles}) == 2


def test_titles_tell_how_many_commands_are_carried_out(site: Site, echo: Running) -> None:
    sock, pid = greet(site.port)
    deadline, shown = time.monotonic() + 40, ["", ""]
    rate = re.compile(r"([1-9]\d*) commands/s\]")
    while time.monotonic() < deadline and not all(map(rate.search, shown)):
        for _ in range(10):
            sock.sendall(b"word\n")
            assert read_line(sock) == b"word\n"
        shown = [found if rate.search(found) else old for old, found in
                 zip(shown, (title(echo.pid), title(pid)), strict=True)]  # fmt: skip
        time.sleep(0.05)
    assert all(map(rate.search, shown)), shown
    wait_for(lambda: title(echo.pid).endswith(", 0 commands/s]"))


def test_lock_file_holds_the_process_id_and_refuses_a_second(site: Site, echo: Running) -> None:
    assert site.pid() == echo.pid
    with started(site, ECHO, log="second") as second:
        assert second.process.wait(40) == 78
        assert f"already running (process {echo.pid}" in second.text()
        assert "Traceback" not in second.text()
    greet(site.port)


def test_a_killed_worker_is_replaced_and_no_connection_refused(site: Site, echo: Running) -> None:
    before = spread(site.port, 2)
    victim = next(iter(before))
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    while True:
        connect(site.port).close()  # never refused
        pids = {child.pid for child in echo.children() if is_alive(child.pid)}
        if len(pids) == 2 and victim not in pids:
            break
        assert time.monotonic() - killed < 40
        time.sleep(0.02)
    fresh = spread(site.port, 2)
    assert victim not in fresh and len(fresh.keys() & before.keys()) == 1
    survivor = next(iter(fresh.keys() & before.keys()))
    before[survivor][0].sendall(b"still here\n")
    assert read_line(before[survivor][0]) == b"still here\n"


def test_a_worker_that_keeps_dying_is_slowed_down(site: Site, echo: Running) -> None:
    for _ in range(5):
        _, pid = greet(site.port)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: f"child_pid={pid} " in echo.text())
    wait_for(lambda: "event=crash-loop " in echo.text())
    greet(site.port)
    shown = wait_for(lambda: text if "crashing: " in (text := title(echo.pid)) else "")
    assert re.search(r", crashing: \d deaths in the last minute, .*last: killed by SIGKILL\]$", shown), shown


def test_statistics_are_appended_and_summed(site: Site, echo: Running) -> None:
    socks = spread(site.port, 2)
    for group in socks.values():
        group[0].sendall(b"one\ntwo\n")
        assert read_line(group[0]) + read_line(group[0]) == b"one\ntwo\n"
    count = sum(map(len, socks.values()))
    wait_for(lambda: f"{count} sessions" in title(echo.pid))
    path = site.path / "log" / "imapd.stats"
    for blocks in (1, 2):
        echo.process.send_signal(signal.SIGHUP)
        wait_for(lambda blocks=blocks: path.exists() and path.read_text().count("\n\n") == blocks)
    first, second, _ = path.read_text().split("\n\n")
    assert re.match(r"imapd \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ pid \d+ up \d+s\n", first)
    values = dict(line.split(None, 1) for line in second.splitlines()[1:])
    assert values["workers"] == "2" and values["commands"] == "4"
    assert values["connections"] == values["sessions"] == str(count)


def test_counters_survive_the_death_of_a_worker(site: Site, echo: Running) -> None:
    sock, pid = greet(site.port)
    sock.sendall(b"count me\n")
    read_line(sock)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: f"child_pid={pid} " in echo.text())
    echo.process.send_signal(signal.SIGHUP)
    path = site.path / "log" / "imapd.stats"
    wait_for(path.exists)
    wait_for(lambda: re.search(r"commands +1\n", path.read_text()))
    assert re.search(r"worker_restarts +1\n", path.read_text())


def test_sigterm_says_goodbye_and_ends_cleanly(site: Site, echo: Running) -> None:
    socks = [greet(site.port)[0] for _ in range(5)]
    assert echo.stop() == 0
    assert [read_line(sock) for sock in socks] == [b"bye\n"] * 5
    assert try_connect(site.port) is None
    assert (site.path / "run" / "imapd.lock").read_text() == ""
    assert "level=error" not in echo.text() and "Traceback" not in echo.text()


def test_a_command_under_way_is_finished_before_the_end(tmp_path: Path) -> None:
    site = Site(tmp_path, "imapd-workers 2", "shutdown-grace 60")
    with started(site, ECHO) as running:
        sock, _ = greet(site.port)
        sock.sendall(b"slow\n")
        assert read_line(sock) == b"begun\n"
        running.process.send_signal(signal.SIGTERM)
        assert read_line(sock) == b"slow\n"
        assert running.process.wait(40) == 0


def test_who_only_waits_is_not_waited_for(tmp_path: Path) -> None:
    site = Site(tmp_path, "imapd-workers 2", "shutdown-grace 60")
    with started(site, ECHO) as running:
        sock, _ = greet(site.port)
        sock.sendall(b"penalty\n")
        assert read_line(sock) == b"begun\n"
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 40
        assert read_line(sock) == b"penalty\n"


def test_a_daemon_that_is_told_to_leave_makes_room_and_ends_with_its_sessions(
    site: Site, echo: Running
) -> None:
    old = spread(site.port, 2)
    echo.process.send_signal(signal.SIGUSR2)
    wait_for(lambda: "event=leaving" in echo.text())
    assert site.pid() == 0
    wait_for(lambda: try_connect(site.port) is None)
    with started(site, ECHO, log="second") as second:
        wait_for(lambda: "event=ready" in second.text())
        assert site.pid() == second.pid
        assert not set(spread(site.port, 2)) & set(old)
        for group in old.values():
            group[0].sendall(b"alive\n")
            assert read_line(group[0]) == b"alive\n"
        wait_for(lambda: title(echo.pid).endswith(", leaving]"))
        for sock in (sock for group in old.values() for sock in group):
            sock.close()
        assert echo.process.wait(40) == 0
        assert site.pid() == second.pid and len(list((site.path / "ipc" / "control").iterdir())) == 2
        assert second.stop() == 0


def test_what_does_not_end_is_cut_off(site: Site, echo: Running) -> None:
    sock, _ = greet(site.port)
    sock.sendall(b"stuck\n")
    assert read_line(sock) == b"begun\n"
    began = time.monotonic()
    assert echo.stop() == 0
    assert 1.5 < time.monotonic() - began < 40
    assert read_line(sock) == b""


def test_a_failing_session_is_one_line_in_the_log(site: Site, echo: Running) -> None:
    sock, pid = greet(site.port)
    sock.sendall(b"fail\n")
    assert read_line(sock) == b""
    line = wait_for(lambda: [text for text in echo.text().splitlines() if "session-failed" in text])
    assert len(line) == 1 and "ValueError: as asked" in line[0] and "echo.py:" in line[0]
    assert "Traceback" not in echo.text()
    assert pid in spread(site.port, 2)


def test_disconnects_leave_no_trace_of_an_error(site: Site, echo: Running) -> None:
    for _ in range(20):
        sock, _ = greet(site.port)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.sendall(b"x" * 1000)
        sock.close()
    greet(site.port)
    assert "level=error" not in echo.text() and "Traceback" not in echo.text()


def test_workers_end_with_their_daemon(site: Site, echo: Running) -> None:
    socks = spread(site.port, 2)
    os.kill(echo.pid, signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, socks)))
    assert all(read_line(sock) == b"bye\n" for group in socks.values() for sock in group)


def test_a_new_daemon_starts_while_orphans_end(site: Site, echo: Running) -> None:
    sock, _ = greet(site.port)
    sock.sendall(b"slow\n")
    assert read_line(sock) == b"begun\n"
    os.kill(echo.pid, signal.SIGKILL)
    echo.process.wait()
    with started(site, ECHO, log="second") as second:
        wait_for(lambda: "event=ready" in second.text())
        greet(site.port)
        assert second.stop() == 0


def test_reload_keeps_sessions_and_uses_the_new_configuration(site: Site, echo: Running) -> None:
    old = spread(site.port, 2)
    site.config.write_text(site.config.read_text() + "imapd-workers-typo 3\n")
    echo.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: "event=not-reloaded" in echo.text())
    assert set(spread(site.port, 2)) == set(old)

    text = site.config.read_text().replace("imapd-workers-typo 3\n", "message-size-limit 1M\n")
    site.config.write_text(text.replace("imapd-workers 2", "imapd-workers 3"))
    echo.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: "event=reloaded" in echo.text())
    wait_for(lambda: echo.text().count("event=retired") == 2)
    assert "option=imapd-workers" in echo.text()
    assert not set(spread(site.port, 2)) & set(old)
    for group in old.values():
        group[0].sendall(b"alive\n")
        assert read_line(group[0]) == b"alive\n"
        for sock in group:
            sock.close()
    wait_for(lambda: not any(map(is_alive, old)))
    assert echo.stop() == 0


def test_each_worker_has_a_slot_of_its_own_even_when_the_oldest_is_slow_to_end(tmp_path: Path) -> None:
    site = Site(tmp_path, "imapd-workers 1", "shutdown-grace 2")
    with started(site, ECHO) as running:
        wait_for(lambda: "event=ready" in running.text())
        old: dict[int, socket.socket] = {}
        for generation in range(GENERATIONS):
            sock, pid = greet(site.port)
            old[pid] = sock
            if generation == 0:
                sock.sendall(b"stuck\n")
                assert read_line(sock) == b"begun\n"
            if generation < GENERATIONS - 1:
                running.process.send_signal(signal.SIGUSR1)
                wait_for(lambda n=generation: running.text().count("event=ready") == n + 2)
                # Only then does the one before accept nothing any more.
                wait_for(lambda n=generation: running.text().count("event=retired") == n + 1)
        assert len(old) == GENERATIONS
        oldest, *_, newest = old
        running.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: running.text().count("event=reloaded") == GENERATIONS)
        while is_alive(oldest):
            pids = {child.pid for child in running.children()}
            assert len(pids) <= GENERATIONS, "two workers have one slot"
            accepting = greet(site.port)[1]
            assert accepting == newest or not is_alive(oldest), "nobody accepts meanwhile"
            time.sleep(0.05)
        wait_for(lambda: running.text().count("event=ready") == GENERATIONS + 1)
        assert greet(site.port)[1] not in old
        assert len(list((tmp_path / "ipc" / "control").iterdir())) == GENERATIONS
        assert running.stop() == 0


def test_a_unix_socket_is_shared_and_removed(tmp_path: Path) -> None:
    site = Site(tmp_path, "imapd-workers 2", "lmtp-shared-name withsocket")
    path = tmp_path / "ipc" / "lmtpd"
    path.parent.mkdir()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    with started(site, ECHO) as running:
        wait_for(lambda: "event=ready" in running.text())
        assert path.stat().st_mode & 0o777 == 0o660
        assert path.parent.stat().st_mode & 0o777 == 0o750
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(path))
        assert read_line(client).startswith(b"hello")
        assert running.stop() == 0
    assert not path.exists()


def test_missing_databases_are_named(site: Site) -> None:
    (site.path / "db" / "accounts.db").unlink()
    with started(site, ECHO) as running:
        assert running.process.wait(40) == 78
        assert f"{site.path}/db/accounts.db is missing" in running.text()
        assert "backup" in running.text() and "msadm init" in running.text()


@pytest.mark.parametrize("content", [b"", b"not a database " * 400])
def test_damaged_accounts_are_refused_at_the_start(site: Site, content: bytes) -> None:
    (site.path / "db" / "accounts.db").write_bytes(content)
    with started(site, ECHO) as running:
        assert running.process.wait(40) == 78
        text = running.text()
        assert f"{site.path}/db/accounts.db" in text and "a database" in text and "backup" in text
        assert "Traceback" not in text


def test_a_port_in_use_is_named(site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", site.port))
        taken.listen()
        with started(site, ECHO) as running:
            assert running.process.wait(40) == 78
            where = f"imapd-listen: cannot listen on 127.0.0.1:{site.port}"
            assert f"{where}: Address already in use" in running.text()


def test_every_configuration_error_is_shown(site: Site) -> None:
    site.config.write_text(site.config.read_text() + "nonsense 1\nimapd-workers none\n")
    with started(site, ECHO) as running:
        assert running.process.wait(40) == 78
        assert "nonsense: unknown option" in running.text()
        assert "imapd-workers: 'none'" in running.text()


def make_certificate(path: Path) -> list[str]:
    key, certificate = path / "key.pem", path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return [f"tls-certificate {certificate}", f"tls-key {key}"]


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_tls_listener_and_starttls(tmp_path: Path) -> None:
    site = Site(tmp_path, *make_certificate(tmp_path), "imapd-workers 1")
    port = free_port()
    site.config.write_text(site.config.read_text() + f"imapd-tls-listen 127.0.0.1:{port}\n")
    with started(site, ECHO) as running:
        wait_for(lambda: "event=ready" in running.text())
        with client_context().wrap_socket(connect(port)) as secured:
            assert read_line(secured).startswith(b"hello")
            secured.sendall(b"user\n")
            assert read_line(secured).endswith(b" True\n")
        plain, _ = greet(site.port)
        plain.sendall(b"tls\n")
        assert read_line(plain) == b"go\n"
        with client_context().wrap_socket(plain) as secured:
            secured.sendall(b"hello again\n")
            assert read_line(secured) == b"hello again\n"
        noise = connect(port)
        noise.sendall(b"GET / HTTP/1.0\r\n\r\n")
        noise.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            while noise.recv(1000):
                pass
        greet(site.port)
        assert "level=error" not in running.text()
        assert running.stop() == 0


if os.geteuid() == 0:  # Only who has rights can give them up.

    def test_rights_are_given_up_for_good(reachable: Path) -> None:
        site = Site(reachable, "imapd-workers 1")
        rights = ["CapEff", "CapPrm", "CapInh", "CapAmb", *(["CapBnd"] if may_empty_bounds() else [])]
        site.config.write_text(site.config.read_text().replace("runtime-user root", "runtime-user nobody"))
        for name in ("mail", "db", "db/accounts.db"):
            os.chown(reachable / name, 65534, 65534)
        with started(site, ECHO) as running:
            wait_for(lambda: "event=ready" in running.text())
            for pid in (running.pid, *(child.pid for child in running.children())):
                process = psutil.Process(pid)
                assert set(process.uids()) == {65534}
                status = Path(f"/proc/{pid}/status").read_text()
                for name in rights:
                    assert re.search(rf"{name}:\s+0+\n", status), name
                assert "0" not in re.search(r"Groups:(.*)", status)[1].split()  # type: ignore[index]
            sock, _ = greet(site.port)
            sock.sendall(b"user\n")
            assert read_line(sock) == b"65534 False\n"
            os.kill(running.children()[0].pid, signal.SIGKILL)
            read_line(sock)
            greet(site.port)  # the daemon forks another without its rights
            assert running.stop() == 0


def test_version_and_help() -> None:
    for argument, word in (("-v", "M-Store imapd"), ("--help", "-f FILE")):
        done = subprocess.run(
            [sys.executable, "-m", ECHO, argument], capture_output=True, text=True, cwd=ROOT, timeout=60
        )
        assert done.returncode == 0 and word in done.stdout + done.stderr
