"""The passwords of the system's own users: getpwent, shadow and PAM, with real users of this system."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mstore.auth.mechanisms import pam
from mstore.base.errors import Unavailable
from tests.kit.asking import ask
from tests.kit.clients import WrongAnswer
from tests.kit.instance import ROOT, Instance, runtime_user, title, wait_for
from tests.kit.systemusers import pam_service, run, system_user, traditional_user

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs the superuser, who makes users and reads passwords"),
]

UNIX = ("auth required pam_unix.so nodelay", "account required pam_unix.so")
WORD = "corr3ct horse"


def sha512(password: str) -> str:
    return run("openssl", "passwd", "-6", "-salt", "abcdefgh", password).strip()


def seconds_for(act: Callable[[], object]) -> float:
    began_s = time.monotonic()
    act()
    return time.monotonic() - began_s


def uid_of(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Uid:")).split()[2])


def test_the_password_file_lets_in_who_has_an_account(make_store: Callable[..., Instance]) -> None:
    with traditional_user(sha512(WORD)) as name, system_user(password=WORD) as shadowed:
        store = make_store([name, shadowed], ["authproxy-authmech getpwent"])
        with store:
            client = store.imap()
            client.login(name, f'"{WORD}"')
            client.logout()
            assert not ask(store, name, "wrong").ok
            assert not ask(store, name, "secret").ok, "the password of the account database counts no more"
            assert not ask(store, shadowed, WORD).ok, "its password is not in the password file"
            pid = store.daemon_pid("authproxyd")
            assert uid_of(pid) == runtime_user().pw_uid
            assert "[getpwent, " in title(pid)


@pytest.mark.parametrize("kind", ["yescrypt", "sha512"])
def test_shadow_passwords_as_debian_writes_them(make_store: Callable[..., Instance], kind: str) -> None:
    given = {"password": WORD} if kind == "yescrypt" else {"hashed": sha512(WORD)}
    with system_user(**given) as name:
        stored = run("getent", "shadow", name).split(":")[1]
        assert stored.startswith("$y$" if kind == "yescrypt" else "$6$")
        store = make_store([name], ["authproxy-authmech shadow"])
        with store:
            assert ask(store, name, WORD).ok
            assert ask(store, name.upper(), WORD).ok, "account names are compared without case"
            assert not ask(store, name, "wrong").ok
            assert not ask(store, "root", "wrong").ok
            client = store.imap()
            client.login(name, f'"{WORD}"')
            client.logout()
            run("usermod", "--expiredate", "1", name)
            assert not ask(store, name, WORD).ok
            run("usermod", "--expiredate", "", name)
            assert ask(store, name, WORD).ok
            run("chage", "--lastday", "0", name)
            assert not ask(store, name, WORD).ok, "a password that must be changed"
            run("chage", "--lastday", "2020-01-01", "--maxdays", "30", name)
            assert not ask(store, name, WORD).ok, "a password that is too old"
            run("chage", "--maxdays", "-1", name)
            assert ask(store, name, WORD).ok
            run("usermod", "--lock", name)
            assert not ask(store, name, WORD).ok


def test_authproxyd_stays_superuser_for_shadow_alone_and_leaves_nothing_that_is_roots(
    make_store: Callable[..., Instance],
) -> None:
    with system_user(password=WORD) as name:
        store = make_store([name], ["authproxy-authmech shadow"])
        user = runtime_user()
        with store:
            pid = store.daemon_pid("authproxyd")
            assert uid_of(pid) == 0
            wait_for(lambda: "[shadow, superuser, " in title(pid), 30, lambda: title(pid))
            os.kill(pid, 1)
            stats = store.ms_path / "log" / "authproxyd.stats"
            wait_for(lambda: stats.exists() and stats.read_text() != "", 30, lambda: "no statistics")
            assert "authmech  shadow" in stats.read_text()
            made = [store.ms_path / name for name in ("run/authproxyd.lock", "ipc/authproxyd")]
            for path in (stats, *made):
                assert path.stat().st_uid == user.pw_uid, path
            for other in ("imapd", "pop3d", "lmtpd"):
                assert all(uid_of(worker) == user.pw_uid for worker in store.worker_pids(other))
            assert "user=root" in store.log_text()
        store = make_store([name])
        text = store.config.read_text()
        with store:
            pid = store.daemon_pid("authproxyd")
            assert uid_of(pid) == user.pw_uid and "superuser" not in title(pid)
            # back and forth: nothing is left that the other one could not open
            for mechanism, uid in (("shadow", 0), ("authdb", user.pw_uid)):
                store.config.write_text(f"{text}authproxy-authmech {mechanism}\n")
                store.rc("reload")
                assert uid_of(store.daemon_pid("authproxyd")) == uid


def test_only_who_has_an_enabled_account_gets_in_unless_accounts_are_made(
    make_store: Callable[..., Instance],
) -> None:
    with system_user(password=WORD) as name, system_user(password=WORD) as other:
        store = make_store([name], ["authproxy-authmech shadow"])
        with store:
            assert ask(store, name, WORD).ok
            assert not ask(store, other, WORD).ok
            text = (store.ms_path / "db" / "accounts.db").read_bytes()
            assert other.encode() not in text
        store = make_store([name], ["authproxy-authmech shadow", "authproxy-create-accounts on"])
        with store:
            assert not ask(store, other, "wrong").ok
            assert other not in store.msadm("user", "list").stdout
            client = store.imap()
            client.login(other, f'"{WORD}"')
            client.logout()
            store.deliver(other, b"Subject: hello\r\n\r\nhello\r\n")
            client = store.imap()
            client.login(other, f'"{WORD}"')
            assert client.select() == 1
            client.logout()
            assert other in store.msadm("user", "list").stdout
            accounts_db = store.ms_path / "db" / "accounts.db"
            assert accounts_db.stat().st_uid == runtime_user().pw_uid
            journals = [path for path in accounts_db.parent.iterdir() if "journal" in path.name]
            assert {path.stat().st_uid for path in journals} <= {runtime_user().pw_uid}


def test_pam_judges_password_and_account(make_store: Callable[..., Instance]) -> None:
    with system_user(password=WORD) as name, pam_service(*UNIX) as service:
        store = make_store([name], ["authproxy-authmech pam", f"authproxy-pam-service {service}"])
        with store:
            client = store.imap()
            client.login(name, f'"{WORD}"')
            client.logout()
            assert not ask(store, name, "wrong").ok
            run("usermod", "--expiredate", "1", name)
            assert not ask(store, name, WORD).ok, "the right password of an account that has run out"
            run("usermod", "--expiredate", "", name)
            with ThreadPoolExecutor(20) as threads:
                answers = list(threads.map(lambda n: ask(store, name, WORD if n % 2 else "no").ok, range(40)))
            assert answers == [bool(n % 2) for n in range(40)]
            pid = store.daemon_pid("authproxyd")
            assert uid_of(pid) == 0 and "[pam, superuser, " in title(pid)


def test_pam_is_told_where_the_client_is_and_keeps_no_thread_waiting(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = tmp_path / "script"
    script.write_text(f'#!/bin/sh\necho "$PAM_USER $PAM_RHOST $PAM_SERVICE $PAM_TYPE" >>{seen}\n')
    script.chmod(0o755)
    lines = (f"auth required pam_exec.so quiet {script}", *UNIX)
    with system_user(password=WORD) as name, pam_service(*lines) as service:
        mechanism = pam.Pam(pam.load_pam(), service)
        assert mechanism.verify(name, WORD.encode(), "192.0.2.7").ok
        assert mechanism.verify(name, WORD.encode()).ok
        first, second = seen.read_text().splitlines()
        assert first.split() == [name, "192.0.2.7", service, "auth"]
        assert second.split() == [name, service, "auth"]
    with system_user(password=WORD) as name, pam_service("auth required pam_unix.so", UNIX[1]) as service:
        mechanism = pam.Pam(pam.load_pam(), service)
        code, pause_s = mechanism._ask(name, b"wrong", "")
        assert code == 7 and 1 <= pause_s <= 4, "pam_unix asks for a pause of two seconds, more or less"
        took_s = sorted(seconds_for(lambda: mechanism._ask(name, b"wrong", "")) for _ in range(5))
    with system_user(password=WORD) as name, pam_service(*UNIX) as service:
        mechanism = pam.Pam(pam.load_pam(), service)
        hash_s = sorted(seconds_for(lambda: mechanism._ask(name, b"wrong", "")) for _ in range(5))
        # Each would have paused; others may have the machine at times.
        assert took_s[0] < hash_s[0] + 1, (took_s, hash_s)


def test_a_pam_service_that_cannot_judge_is_not_a_refusal() -> None:
    with system_user(password=WORD) as name:
        for line in ("auth required pam_nosuchmodule.so", "auth required pam_debug.so auth=authinfo_unavail"):
            with pam_service(line, "account required pam_permit.so") as service:
                mechanism = pam.Pam(pam.load_pam(), service)
                with pytest.raises(Unavailable, match=service):
                    mechanism.verify(name, WORD.encode())
        with pam_service("auth required pam_deny.so", "account required pam_permit.so") as service:
            assert not pam.Pam(pam.load_pam(), service).verify(name, WORD.encode()).ok
        with pam_service("auth required pam_permit.so", "account required pam_deny.so") as service:
            assert not pam.Pam(pam.load_pam(), service).verify(name, WORD.encode()).ok


def test_migration_from_the_password_file_as_the_manual_tells_it(
    make_store: Callable[..., Instance],
) -> None:
    store = make_store(["joe"], ["authproxy-authmech authdb", "authproxy-legacy-authmech getpwent"])
    with store:
        with traditional_user(sha512(WORD)) as name:
            assert not ask(store, name, "wrong").ok
            assert name not in store.msadm("user", "list").stdout
            with ThreadPoolExecutor(8) as threads:
                assert all(threads.map(lambda _: ask(store, name, WORD).ok, range(8)))
            assert store.msadm("user", "list").stdout.count(name) == 1
            pid = store.daemon_pid("authproxyd")
            assert "[authdb, legacy getpwent, " in title(pid)
            client = store.imap()
            client.login(name, f'"{WORD}"')
            client.logout()
        # The user is gone from the system, and his account here works on.
        assert ask(store, name, WORD).ok
        assert not ask(store, name, "wrong").ok
        with pytest.raises(WrongAnswer):
            store.imap().login(name, "wrong")


def test_migration_from_shadow_leaves_the_databases_to_whom_they_belong(
    make_store: Callable[..., Instance],
) -> None:
    with system_user(password=WORD) as name:
        store = make_store(["joe"], ["authproxy-legacy-authmech shadow"])
        db = store.ms_path / "db"
        before = {path.name: (path.stat().st_uid, path.stat().st_mode) for path in db.iterdir()}
        with store:
            assert not ask(store, name, "wrong").ok
            client = store.imap()
            client.login(name, f'"{WORD}"')
            client.logout()
            assert "[authdb, legacy shadow, superuser, " in title(store.daemon_pid("authproxyd"))
            run("usermod", "--lock", name)
            assert ask(store, name, WORD).ok, "the old password counts no more, and need not"
            client = store.imap("joe")
            client.logout()
            after = {path.name: (path.stat().st_uid, path.stat().st_mode) for path in db.iterdir()}
            assert after == before


def test_a_mechanism_that_needs_the_superuser_says_so_to_others() -> None:
    user = runtime_user()
    script = (
        "import os; from mstore.auth.mechanisms.shadow import DRIVER; DRIVER.check(None);"
        f"os.setgroups([]); os.setgid({user.pw_gid}); os.setuid({user.pw_uid}); DRIVER.check(None)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert "can only be read by the superuser" in done.stderr
