"""Passwords in running daemons: who may touch them, where they must not appear, and what failures leave."""

from __future__ import annotations

import imaplib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.kit.clients import raw
from tests.kit.instance import DAEMONS, PASSWORD, ROOT, Instance, runtime_user, wait_for

SHA512 = (
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLi"
    "BFdcbYEdFCoEOfaS35inz1"
)
"""Of "Hello world!"."""
WORD = "Hello world!"
FILTER = ROOT / "conf" / "fail2ban" / "filter.d" / "m-store.conf"


def log_in(store: Instance, user: str, password: str) -> bool:
    client = imaplib.IMAP4(*store.imap_address)
    try:
        client.login(user, password)
        return True
    except imaplib.IMAP4.error:
        return False
    finally:
        client.logout()


def scheme(store: Instance, user: str) -> str:
    line = next(line for line in store.msadm("user", "list").stdout.splitlines() if line.startswith(user))
    return line.split()[4]


def as_runtime_user(action: Callable[[], object]) -> str:
    """What a hostile process of the runtime user runs into that does this; empty when it succeeds."""
    user = runtime_user()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([user.pw_gid])
            os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
            os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
            action()
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_a_hash_from_elsewhere_becomes_a_better_one(make_store: Callable[..., Instance]) -> None:
    store = make_store([])
    store.msadm("user", "add", "joe", "--hash", SHA512)
    store.start()
    assert scheme(store, "joe") == "sha512-crypt"
    assert not log_in(store, "joe", "wrong")
    assert log_in(store, "joe", WORD)
    wait_for(lambda: scheme(store, "joe") == "argon2id", 60, lambda: "still the old hash")
    assert log_in(store, "joe", WORD)
    store.msadm("user", "passwd", "joe", "--password-stdin", text="changed\n")
    assert not log_in(store, "joe", WORD)
    assert log_in(store, "joe", "changed")
    store.stop()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs the superuser, who is one user more")
def test_authproxyd_changes_passwords_that_its_user_cannot_touch(make_store: Callable[..., Instance]) -> None:
    store = make_store([])
    store.msadm("user", "add", "joe", "--hash", SHA512)
    store.msadm("user", "add", "ann", "--hash", SHA512)
    store.start()
    uid = runtime_user().pw_uid
    pid = store.daemon_pid("authproxyd")
    assert f"\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in Path(f"/proc/{pid}/status").read_text()
    assert log_in(store, "joe", WORD)
    wait_for(lambda: scheme(store, "joe") == "argon2id", 60, lambda: "authproxyd could not change the file")

    # It is told of when the file has come to rest.
    wait_for(lambda: "event=keys-renewed" in store.log_text(), 60, store.log_text)

    directory = store.ms_path / "db" / "passwords"
    file = directory / "passwords.db"
    assert (directory.stat().st_uid, directory.stat().st_mode & 0o777) == (0, 0o700)
    assert {path.stat().st_uid for path in directory.iterdir()} == {0}
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    tries: dict[str, Callable[[], object]] = {
        "read": file.read_bytes,
        "write": lambda: os.open(file, os.O_WRONLY),
        "list": lambda: os.listdir(directory),
        "plant a journal": lambda: Path(f"{file}-journal").write_bytes(b"x"),
        "plant a log": lambda: Path(f"{file}-wal").write_bytes(b"x"),
        "remove the log": lambda: os.unlink(f"{file}-wal"),
        "replace the directory": lambda: directory.rename(directory.parent / "away"),
        "remove the directory": directory.rmdir,
        "open the directory to all": lambda: directory.chmod(0o777),
        "ask SQLite": lambda: sqlite3.connect(file).execute("SELECT * FROM password").fetchall(),
    }
    for what, action in tries.items():
        said = as_runtime_user(action)
        assert "Permission" in said or "unable to open" in said, f"the runtime user can {what}: {said}"
    links = store.descriptors(pid)
    held = [number for number, path in links.items() if str(file) in path]
    assert list(links.values()).count(str(file)) == 2, "one to read and one to write"
    for number in held:
        said = as_runtime_user(partial(os.open, f"/proc/{pid}/fd/{number}", os.O_RDONLY))
        assert "PermissionError" in said, "authproxyd's descriptors can be opened by its user"
    assert as_runtime_user(lambda: (store.ms_path / "db" / "x").write_bytes(b"")) == "", "nothing was tried"
    (store.ms_path / "db" / "x").unlink()
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before

    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: store.daemon_pid("authproxyd") not in (0, pid), 60, lambda: "authproxyd is not back")
    assert log_in(store, "ann", WORD)
    wait_for(lambda: scheme(store, "ann") == "argon2id", 60, lambda: "not after a kill")
    assert log_in(store, "joe", WORD) and not log_in(store, "joe", "wrong")
    store.tolerated.append(r"authproxyd.*(died|signal|exit)|killed")
    store.stop()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs the superuser, who is one user more")
def test_authproxyd_refuses_a_directory_of_passwords_that_is_not_private(
    make_store: Callable[..., Instance],
) -> None:
    store = make_store(["joe"])
    directory = store.ms_path / "db" / "passwords"
    os.chown(directory, runtime_user().pw_uid, -1)
    process = store.spawn("authproxyd")
    assert process.wait(60) != 0
    assert f"{directory} must belong to" in store.log_text()


def test_passwords_are_in_no_log_no_title_and_no_environment(store: Instance) -> None:
    store.msadm("user", "add", "ann", "--password-stdin", text="correcthorse\n")
    app = store.msadm("user", "app-password", "add", "ann", "tablet").stdout.strip()
    wrong = "batterystaple"
    assert log_in(store, "ann", "correcthorse") and log_in(store, "ann", app)
    assert not log_in(store, "ann", wrong) and not log_in(store, wrong, "correcthorse")
    pop = store.pop3()
    pop.command(b"USER ann")
    pop.command(b"PASS correcthorse")
    secrets = [PASSWORD + "x", "correcthorse", app, app.replace("-", "")]
    pids = store.pids()
    assert len(pids) >= len(DAEMONS) + 1
    for pid in pids:
        for name in ("cmdline", *(["environ"] if os.geteuid() == 0 else [])):  # Others may not read that.
            text = Path(f"/proc/{pid}/{name}").read_bytes()
            assert not [secret for secret in (*secrets, wrong) if secret.encode() in text], (pid, name)
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"^Max core file size\s+0\s+0\s", limits, re.M), limits
    said = store.log_text()
    assert not [secret for secret in secrets if secret in said]
    assert "tablet" in said and "login-failed" in said
    files = [path for path in store.ms_path.rglob("*") if path.is_file() and "passwords" not in path.parts]
    assert not [path for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)]


@pytest.mark.skipif(shutil.which("fail2ban-regex") is None, reason="fail2ban is not installed")
def test_fail2ban_finds_the_address_of_every_failure(store: Instance) -> None:
    names = ["joe", "a b", 'x" peer=6.6.6.6', "peer=6.6.6.6", "\u00e9", "back\\slash"]
    for name in names:
        text = name.encode()
        say(store.imap_address, b"a LOGIN {%d+}\r\n%s wrong\r\n" % (len(text), text), b"a NO")
        say(store.pop3_address, b"USER %s\r\nPASS wrong\r\n" % text, b"-ERR [AUTH]")
    assert log_in(store, "joe", PASSWORD)
    for daemon in ("imapd", "pop3d"):
        log = store.ms_path / "log" / f"{daemon}.log"
        logged = log.read_text().count("event=login-failed")
        assert logged == len(names), log.read_text()
        done = subprocess.run(["fail2ban-regex", str(log), str(FILTER)], capture_output=True, text=True)
        assert f"Failregex: {logged} total" in done.stdout, done.stdout
        hosts = subprocess.run(
            ["fail2ban-regex", "-o", "ip", str(log), str(FILTER)], capture_output=True, text=True
        )
        assert hosts.stdout.split() == ["127.0.0.1"] * logged, hosts.stdout


def say(address: tuple[str, int], lines: bytes, until: bytes) -> None:
    """Send this and read until such an answer has come."""
    with raw(address) as connection:
        connection.sendall(lines)
        answer = b""
        while until not in answer:
            data = connection.recv(4096)
            assert data, answer
            answer += data
