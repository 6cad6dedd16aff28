"""Sockets that a service manager has bound: a start as by systemd, whose ports need no rights of ours."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.instance import Instance, title, wait_for

STARTER = """
import ctypes, fcntl, os, sys
PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE = 24, 10
ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE)
until = sys.argv.index("-m")
# Out of the way first, of those that are to have their numbers.
lent = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[1:until]]
for number, fd in enumerate(lent):
    os.dup2(fd, 3 + number)
    os.close(fd)
command = sys.argv[until:]
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(lent)), LISTEN_FDNAMES="m-store.socket")
os.execv(sys.executable, [sys.executable, *command])
"""


def start_with(store: Instance, daemon: str, sockets: list[socket.socket]) -> subprocess.Popen[bytes]:
    """Start a daemon as a service manager does, with these sockets and no right to bind ports below 1024."""
    command = [sys.executable, "-c", STARTER, *(str(sock.fileno()) for sock in sockets)]
    with open(store.log, "ab") as log:
        return subprocess.Popen(
            [*command, "-m", f"workers.{daemon}", "-f", str(store.config)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=store.environment(), cwd=store.path,
            start_new_session=True, pass_fds=[sock.fileno() for sock in sockets],
        )  # fmt: skip


def is_taken(port: int) -> bool:
    """Whether this port cannot be bound, also because of connections that have just ended."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def test_storemgr_uses_the_sockets_that_it_is_lent(make_store: Callable[..., Instance]) -> None:
    store = make_store(workers=2)
    ours, odd = socket.socket(), socket.socket()
    if os.geteuid() == 0:
        port = next(port for port in range(700, 1023) if not is_taken(port))
        text = store.config.read_text()
        store.config.write_text(text.replace(f":{store.imap_address[1]}", f":{port}"))
        store.imap_address = ("127.0.0.1", port)
    ours.bind(store.imap_address)
    odd.bind(("127.0.0.1", 0))
    for sock in (ours, odd):
        sock.listen(100)
    process = start_with(store, "storemgr", [ours, odd])
    store.adopt(process)
    early = socket.create_connection(store.imap_address, 60)
    assert early.recv(200).startswith(b"* OK"), "who came before the daemons was not served"
    store.wait_ready()
    nobody = [line for line in store.log_text().splitlines() if "event=listens-for-nobody" in line]
    assert len(nobody) == 1 and nobody[0].endswith(f" where=127.0.0.1:{odd.getsockname()[1]}")
    rights = re.search(r"CapEff:\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    assert rights and not int(rights[1], 16) >> 10 & 1, "it could have bound the port itself"
    before = store.daemon_pid("imapd")
    store.imap("joe").logout()
    assert store.rc("upgrade").returncode == 0
    assert store.daemon_pid("imapd") not in (0, before)
    store.imap("joe").logout()
    up = "m-store: storemgr [4 services up "
    wait_for(lambda: title(process.pid).startswith(up), 30, lambda: title(process.pid))
    early.close()
    # The socket is the service manager's: it goes on listening when we have ended.
    process.terminate()
    assert process.wait(60) == 0
    with socket.create_connection(store.imap_address, 10):
        pass
    ours.close()
    odd.close()
    store.assert_gone()
    store.assert_log_clean()
    store.assert_sound()


@pytest.mark.parametrize("daemon", ["imapd"])
def test_a_daemon_alone_uses_them_too(make_store: Callable[..., Instance], daemon: str) -> None:
    store = make_store()
    others = [store.spawn(name) for name in ("authproxyd", "pop3d", "lmtpd")]
    with socket.socket() as ours:
        ours.bind(store.imap_address)
        ours.listen(100)
        process = start_with(store, daemon, [ours])
        store.adopt(process)
        store.wait_ready()
        store.imap("joe").logout()
    for one in (process, *others):
        one.terminate()
        assert one.wait(60) == 0
    store.assert_gone()
    store.assert_log_clean()
