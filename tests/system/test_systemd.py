"""A Debian that systemd runs, and the units that ``rc.m-store install`` writes there.

The container is tests/kit/debian.py's. What the unit confines is in force, as on a machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.kit.debian import HOST, Booted, NotBooted, why_not_booted
from tests.kit.installed import CONFIG, MSADM, RC, USERS, add_users, configure, curl, install
from tests.kit.instance import wait_for
from tests.kit.pages import block

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_not_booted() is not None, reason=str(why_not_booted())),
]


@pytest.fixture(scope="module")
def debian() -> Iterator[Booted]:
    """Installed, configured, with accounts, as the README says; the service is not started yet."""
    with install() as layer:
        try:
            booted = Booted([layer])
        except NotBooted as error:
            pytest.skip(f"no systemd in a container here: {error}")
        try:
            out = booted.run(f"rm /etc/init.d/m-store; {RC} install")
            assert "wrote /etc/systemd/system/m-store.service" in out
            assert "systemctl enable --now m-store" in out
            configure(booted)
            add_users(booted)
            yield booted
            print(booted.try_to("journalctl --no-pager -n 60 -u m-store")[1])
        finally:
            booted.remove()


@pytest.fixture
def running(debian: Booted) -> Iterator[Booted]:
    """Started; whatever is still running is stopped behind it."""
    debian.run("systemctl enable --now m-store")
    yield debian
    debian.run("systemctl stop m-store.socket m-store; systemctl reset-failed m-store; true")


def shown(debian: Booted, name: str) -> str:
    """A property of the service."""
    return debian.run(f"systemctl show m-store -p {name} --value").strip()


def await_restart(debian: Booted, before: int) -> None:
    """Return when systemd has started the service once more than so often."""
    debian.wait(f"test $(systemctl show m-store -p NRestarts --value) -gt {before}", 60)
    debian.wait("systemctl is-active -q m-store", 60)


def processes(debian: Booted) -> set[str]:
    return set(re.findall(r"m-store: (\w+)", debian.run("ps axo args")))


def test_started_reloaded_upgraded_and_stopped(running: Booted) -> None:
    assert shown(running, "StatusText").startswith("5 services up ")
    main = shown(running, "MainPID")
    workers = running.run("pgrep -f 'm-store: imapd worker'").split()
    status = running.run(f"cat /proc/{workers[0]}/status")
    for said in ("CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert said in status
    assert "INBOX" in curl(running, "joe", f"imaps://{HOST}/")
    running.run("systemctl reload m-store")
    assert "upgraded to" in running.run(f"{RC} upgrade")
    assert (shown(running, "MainPID"), shown(running, "ActiveState")) == (main, "active")
    wait_for(
        lambda: set(running.run("pgrep -f 'm-store: imapd worker'").split()).isdisjoint(workers), 60,
        lambda: running.run("ps axo pid,args"),
    )  # fmt: skip
    assert "INBOX" in curl(running, "joe", f"imaps://{HOST}/")
    running.run("systemctl stop m-store")
    assert processes(running) == set()
    assert (shown(running, "Result"), running.try_to(f"{RC} status")[0]) == ("success", 3)
    running.run(f"{MSADM} check")


def test_postfix_delivers(running: Booted) -> None:
    running.run("cat >>/etc/postfix/main.cf", block("README.md", "postfix"))
    running.run(block("README.md", "sh postfix"))
    running.run("systemctl restart postfix")
    letter = "From: ann@example.org\nTo: joe@example.org\nSubject: hello\n\nfirst light\n"
    running.run("sendmail -i -f ann@example.org joe@example.org", letter)
    running.wait("grep -q status=sent /var/log/mail.log", 60)
    assert curl(running, "joe", f"imaps://{HOST}/INBOX;UID=1").endswith("\n\nfirst light\n")


def test_a_storemgr_that_is_killed_or_stuck_is_started_again(running: Booted) -> None:
    before = int(shown(running, "NRestarts"))
    running.run("kill -9 $(systemctl show m-store -p MainPID --value)")
    await_restart(running, before)
    assert "INBOX" in curl(running, "ann", f"imaps://{HOST}/")
    drop_in = "/run/systemd/system/m-store.service.d/watchdog.conf"
    running.write(drop_in, "[Service]\nWatchdogSec=10\n")
    running.run("systemctl daemon-reload && systemctl restart m-store")
    before = int(shown(running, "NRestarts"))
    running.run("kill -STOP $(systemctl show m-store -p MainPID --value)")
    await_restart(running, before)
    assert "INBOX" in curl(running, "ann", f"imaps://{HOST}/")
    running.run(f"rm {drop_in}; systemctl daemon-reload")


def test_the_first_client_starts_it(running: Booted) -> None:
    running.run("systemctl stop m-store && systemctl enable m-store.socket")
    outdated = "/etc/systemd/system/m-store.socket: warning: was made for other options"
    assert outdated in running.run(f"{RC} configtest")  # before there was 993
    assert "wrote /etc/systemd/system/m-store.socket" in running.run(f"{RC} install")
    assert running.run(f"{RC} configtest") == f"{CONFIG}: no errors\n"
    running.run("systemctl start m-store.socket")
    assert processes(running) == set()
    assert "INBOX" in curl(running, USERS[2], f"imaps://{HOST}/")
    running.wait("systemctl is-active -q m-store", 60)
    assert "imapd" in processes(running)


def test_what_an_administrator_must_mend_is_not_tried_again(running: Booted) -> None:
    text = running.read(CONFIG)
    try:
        running.run(f"echo imapd-wrokers 2 >>{CONFIG}; ! systemctl restart m-store")
        assert (shown(running, "ActiveState"), shown(running, "ExecMainStatus")) == ("failed", "78")
        assert "imapd-workers" in running.run("journalctl --no-pager -n 20 -u m-store")
    finally:
        running.write(CONFIG, text)
