"""`python -m bench.sizing`: the figures of docs/sizing.md, measured on this machine.

Memory of processes and of sessions, descriptors, bytes on disk of a message, a sync and a hash.
"""

from __future__ import annotations

import argparse
import os
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from argon2 import PasswordHasher

from bench.clients import Imap
from bench.corpus import message
from bench.mstore import MStore
from bench.servers import PASSWORD, free_port

_MESSAGES = 2000


def main(arguments: list[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="bench.sizing", description=main.__doc__)
    parser.add_argument("--work", default="/var/tmp", help="a directory on the disk to measure [/var/tmp]")
    parser.add_argument("--sessions", type=int, default=1000, help="how many sessions [1000]")
    options = parser.parse_args(arguments)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="m-store-sizing-", dir=options.work) as work:
        path = Path(work)
        path.chmod(0o755)
        certificate = _make_certificate(path)
        tls_port = free_port()
        more = (
            f"tls-certificate {certificate}", f"tls-key {certificate}",
            f"imapd-tls-listen 127.0.0.1:{tls_port}",
            *(f"{service}-workers 2" for service in ("imapd", "pop3d", "lmtpd")),
        )  # fmt: skip
        server = MStore(path / "m-store", [f"u{number:03d}" for number in range(100)], more)
        server.path.mkdir()
        server.prepare()
        server.start()
        try:
            for what, value in _measure(server, path, tls_port, options.sessions):
                print(f"{what:<66} {value}", flush=True)
        finally:
            server.stop()
    return 0


def _measure(server: MStore, work: Path, tls_port: int, count: int) -> Iterator[tuple[str, str]]:
    yield from _processes(server)
    for kind, port in (("in clear text", 0), ("under TLS", tls_port)):
        server.restart()
        server.settle()
        yield from _sessions(server, kind, port, count)
    yield from _disk(server)
    yield "8 KB appended and fdatasync, one after the other", f"{_sync_ms(work):.2f} ms"
    hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
    began = time.process_time()
    for _ in range(5):
        hasher.hash("a password")
    yield "argon2id, 19 MiB, 2 passes: CPU of a hash", f"{(time.process_time() - began) * 200:.0f} ms"


def _processes(server: MStore) -> Iterator[tuple[str, str]]:
    server.settle()
    total = 0
    assert server.group is not None
    for pid in sorted(server.group.pids()):
        title = Path(f"/proc/{pid}/cmdline").read_bytes().decode().strip("\0 ")
        pss = _pss(pid)
        total += pss
        yield title.split(" [")[0], f"{pss / 2**20:.1f} MiB PSS, {_descriptors(pid)} descriptors"
    yield "all of them", f"{total / 2**20:.1f} MiB PSS"


def _sessions(server: MStore, kind: str, port: int, count: int) -> Iterator[tuple[str, str]]:
    """What sessions cost in IDLE, each user having ten."""
    assert server.group is not None
    pids = server.group.pids()
    context = None
    if port:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    clients: list[Imap] = []

    def open_more(users: list[str], number: int) -> int:
        """Open some sessions, their users taking turns; gives what the server holds then."""
        for turn in range(number):
            address = ("127.0.0.1", port) if port else server.imap_address
            client = Imap(address, context=context)
            client.login(users[turn % len(users)], PASSWORD)
            client.select()
            client.idle()
            clients.append(client)
        time.sleep(1)
        return server.memory().pss_bytes

    half = len(server.users) // 2
    warm = open_more(server.users[:half], half * 10)
    before = open_more(server.users[half:], half)
    files, slab = sum(map(_descriptors, pids)), _slab_bytes()
    held = (open_more(server.users, count) - before) / count
    opened = (sum(map(_descriptors, pids)) - files) / count
    name = f"a session in IDLE {kind}"
    yield f"{name}: memory", f"{held / 1024:.1f} KiB PSS"
    yield f"{name}: the first of an account", f"{(before - warm) / half / 1024:.1f} KiB PSS"
    yield f"{name}: in the kernel, with the client's end", f"{(_slab_bytes() - slab) / count / 1024:.1f} KiB"
    yield f"{name}: descriptors", f"{opened:.2f}"
    for client in clients:
        client.close()


def _disk(server: MStore) -> Iterator[tuple[str, str]]:
    """What a message takes on disk beyond its own bytes, and where."""
    size = len(message(0, 8192))
    client = server.imap("u000")
    for number in range(_MESSAGES):
        client.append(message(number, 8192))
    client.select()
    client.command(b"FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE)")
    client.command(b"STORE 1:* +FLAGS (\\Seen)")
    client.logout()
    server.stop()
    sizes: dict[str, int] = {}
    for path in server.mail_path().rglob("*.*"):
        kind = path.name.split(".")[0]
        sizes[kind] = sizes.get(kind, 0) + path.stat().st_size
    sizes["derived"] = sum(path.stat().st_size for path in server.mail_path().rglob("derived"))
    own = sum(len(message(number, 8192)) for number in range(_MESSAGES))
    yield f"a message of {size} bytes: frame", f"{(sizes['messages'] - own) / _MESSAGES:.0f} bytes"
    for kind in ("index", "journal", "derived"):
        yield f"a message of {size} bytes: {kind}", f"{sizes.get(kind, 0) / _MESSAGES:.0f} bytes"
    ids = [path for path in server.mail_path().glob("??/*") if not any(path.glob("*/messages.*"))]
    used = sum(map(_used, ids)) / len(ids)
    yield "an account that never had mail, INBOX alone", f"{used / 1024:.0f} KiB, {_inodes(ids[0])} inodes"
    server.start()


def _inodes(path: Path) -> int:
    return 1 + sum(1 for _ in path.rglob("*"))


def _used(path: Path) -> int:
    return sum(found.lstat().st_blocks * 512 for found in (path, *path.rglob("*")))


def _sync_ms(work: Path, times: int = 300) -> float:
    data = os.urandom(8192)
    fd = os.open(work / "synced", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    began = time.monotonic()
    for _ in range(times):
        os.write(fd, data)
        os.fdatasync(fd)
    os.close(fd)
    return (time.monotonic() - began) / times * 1000


def _pss(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("\nPss:")[1].split()[0]) * 1024


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _slab_bytes() -> int:
    text = Path("/proc/meminfo").read_text()
    return int(text.split("Slab:")[1].split()[0]) * 1024


def _make_certificate(work: Path) -> Path:
    path = work / "pair.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(path), "-out", f"{path}.crt", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


if __name__ == "__main__":
    sys.exit(main())
