"""Installing on a Debian that has never seen M-Store, as docs/installing.md and the README say.

The Debian is of the test's own (tests/kit/debian.py); each test begins with a layer in which
``rc.m-store install`` has been run. Postfix, rsyslog and logrotate are Debian's, and set up as there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.debian import HOST, Debian, why_not
from tests.kit.installed import (
    CHECKOUT,
    CONFIG,
    MSADM,
    PASSWORD,
    RC,
    add_users,
    configure,
    curl,
    install,
    start_mta,
)
from tests.kit.instance import ROOT

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]


@pytest.fixture(scope="module")
def layer() -> Iterator[Path]:
    """What installing has changed."""
    with install() as layer:
        yield layer


@pytest.fixture
def make(layer: Path) -> Iterator[Callable[[], Debian]]:
    made: list[Debian] = []

    def start() -> Debian:
        made.append(Debian([layer]))
        return made[-1]

    yield start
    for debian in made:
        print(debian.try_to("tail -n 40 /var/md/store/log/*.log")[1][-6000:])
        debian.remove()


@pytest.fixture
def installed(make: Callable[[], Debian]) -> Debian:
    """Installed, and nothing more."""
    return make()


def test_it_lies_where_the_page_says(installed: Debian) -> None:
    modes = installed.run("cd /; stat -c '%n %a %U' etc/md etc/md/store var/md var/md/store usr/local/md/bin")
    assert set(modes.splitlines()) == {
        "etc/md 755 root", "etc/md/store 755 root", "var/md 755 root", "var/md/store 755 mstore",
        "usr/local/md/bin 755 root",
    }  # fmt: skip
    page = (ROOT / "docs/installing.md").read_text()
    for place in re.findall(r"^\| `(/(?!etc/systemd)[^`]+)` \|", page, re.MULTILINE):
        installed.run(f"test -e {place}")
    programs = re.search(r"`/usr/local/md/bin` \|[^|]*: ([^|]+)", page)
    assert programs is not None
    named = set(re.findall(r"`([a-z0-9.-]+)`", programs[1]))
    assert set(installed.run("ls /usr/local/md/bin").split()) == named
    assert installed.run("getent passwd mstore").strip().endswith(":/var/md/store:/usr/sbin/nologin")
    again = installed.run(f"{RC} install").split("\nNext:")[0]
    assert again == f"kept {CONFIG}\n"


def test_systemd_and_the_boot_order_find_nothing_wrong(installed: Debian) -> None:
    installed.run(f"{CHECKOUT}/rc/rc.m-store install --root /tmp/root")
    installed.run("cp /tmp/root/etc/systemd/system/m-store.service /etc/systemd/system")
    unit = "/etc/systemd/system/m-store.service"
    assert installed.run(f"systemd-analyze verify --man=no {unit}") == ""
    security = installed.run(f"systemd-analyze security --no-pager --offline=yes --threshold=40 {unit}")
    assert "Overall exposure level for m-store.service" in security
    installed.run("update-rc.d m-store defaults")
    order = installed.run("cd /etc/rc2.d; ls -d *m-store *postfix").split()
    assert [name.lstrip("S0123456789") for name in order] == ["m-store", "postfix"]


def test_mail_comes_in_and_is_read(installed: Debian) -> None:
    configure(installed)
    assert installed.try_to(f"{RC} status")[0] == 3
    add_users(installed)
    out = installed.run("env -i /etc/init.d/m-store start")
    assert out == "started: authproxyd, imapd, pop3d, lmtpd, metricsd\n"
    start_mta(installed)
    letter = "From: ann@example.org\nTo: joe@example.org\nSubject: hello\n\n.\nfirst light\n"
    installed.run(
        "sendmail -i -f ann@example.org joe@example.org joe+none@example.org zoe@example.org", letter
    )
    installed.wait("grep -c status=sent /var/log/mail.log | grep -qx 3")
    for user, url in (("joe", f"imaps://{HOST}/INBOX;UID=1"), ("zoe", f"pop3s://{HOST}/1")):
        message = curl(installed, user, url)
        assert message.startswith("Return-Path: <ann@example.org>\n") and message.endswith(
            "\n\n.\nfirst light\n"
        )
    assert curl(installed, "ann", f"imaps://{HOST}/INBOX?ALL") == "* SEARCH\n"
    metrics = installed.run("curl -sS http://127.0.0.1:9143/metrics")
    assert 'mstore_deliveries_total{daemon="lmtpd",outcome="delivered"} 2.0' in metrics
    assert installed.run(f"{RC} status").count("\n") == 7
    out = installed.run("env -i /etc/init.d/m-store stop")
    assert out == "stopped\n"
    assert "m-store:" not in installed.run("ps axo args | grep -v defunct")  # Nobody reaps orphans here.
    installed.run(f"{MSADM} check")


def test_what_was_lost_comes_back_from_a_backup(installed: Debian) -> None:
    configure(installed)
    add_users(installed)
    installed.run(f"{RC} start")
    installed.run("printf 'Subject: kept\\r\\n\\r\\nkept\\r\\n' >/tmp/letter")
    installed.run(
        f"curl -sS --cacert /etc/md/store/cert.pem --resolve {HOST}:993:127.0.0.1 --user 'joe:{PASSWORD}'"
        f" -T /tmp/letter imaps://{HOST}/INBOX"
    )
    installed.run(f"mkdir /backup && {MSADM} backup /backup/mail && {MSADM} backup verify /backup/mail")
    installed.run(f"{RC} stop")
    installed.run("mv /var/md/store /var/md/lost && install -d -o mstore /var/md/store")
    installed.run(f"{MSADM} init && {MSADM} restore /backup/mail --all --yes && {RC} start")
    assert curl(installed, "joe", f"imaps://{HOST}/INBOX;UID=1") == "Subject: kept\n\nkept\n"


def test_logs_are_rotated(installed: Debian) -> None:
    text = (ROOT / "conf/logrotate/m-store").read_text()
    configure(installed)
    add_users(installed)
    installed.write("/etc/logrotate.d/m-store", text)
    installed.run(f"{RC} start")
    assert "error" not in installed.run("logrotate -d /etc/logrotate.d/m-store")
    before = installed.read("/var/md/store/log/imapd.log")
    installed.run("logrotate --force /etc/logrotate.d/m-store")
    installed.wait("grep -qs event=log-reopened /var/md/store/log/imapd.log")
    curl(installed, "joe", f"imaps://{HOST}/")
    assert installed.read("/var/md/store/log/imapd.log.1") == before
    after = installed.read("/var/md/store/log/imapd.log")
    assert after.startswith("time=") and "user=joe@example.org" in after and "event=started" not in after


def test_uninstalling_leaves_mail_alone_and_purging_does_not(installed: Debian) -> None:
    configure(installed)
    add_users(installed)
    installed.run("update-rc.d m-store defaults")
    installed.run(f"{RC} start")
    status, out = installed.try_to(f"{RC} uninstall")
    assert status == 1 and out == "rc.m-store: storemgr is running; stop it first\n"
    installed.run(f"{RC} stop")
    rc = f"{CHECKOUT}/rc/rc.m-store"
    out = installed.run(f"{rc} uninstall")
    assert f"left {CONFIG}, which was edited\n" in out
    assert out.endswith(
        "left /var/md/store with all that is in it\nleft the runtime user; userdel removes it\n"
    )
    find = "find / -xdev -path /opt -prune -o ( -name '*m-store*' -o -path '*/md/*' -prune ) -print"
    left = installed.run(find.replace("(", "\\(").replace(")", "\\)")).split()
    assert sorted(left) == ["/etc/md/store", "/var/md/store"]
    status, out = installed.try_to(f"{rc} uninstall --purge")
    assert status == 2 and "Say --yes" in out
    installed.run("test -d /var/md/store/mail")
    installed.run(f"{rc} uninstall --purge --yes")
    assert installed.run("find /var/md /usr/local/md 2>/dev/null || true") == ""
    assert installed.run("ls /etc/md/store").split() == ["cert.pem", "key.pem"]


def test_a_checkout_of_somebodys_in_a_closed_home(make: Callable[[], Debian]) -> None:
    """The environment is then the superuser's, and the runtime user can read neither."""
    debian = make()
    debian.run(f"{RC} uninstall; rm -rf {CHECKOUT}/.venv; useradd -m -K HOME_MODE=0700 carl")
    debian.run(f"mv {CHECKOUT} /home/carl/m-store && chown -R carl: /home/carl/m-store")
    debian.run("/home/carl/m-store/rc/rc.m-store install")
    home = debian.run("getent passwd root | cut -d: -f6").strip()
    assert debian.run("readlink /usr/local/md/bin/imapd").startswith(f"{home}/.cache/m-store/")
    configure(debian)
    add_users(debian)
    assert debian.run("env -i /etc/init.d/m-store start").startswith("started: ")
    assert 'mstore_up{daemon="imapd"} 1.0' in debian.run("curl -sS http://127.0.0.1:9143/metrics")
    assert "INBOX" in curl(debian, "joe", f"imaps://{HOST}/")
    debian.run("/home/carl/m-store/rc/rc.m-store install --root /tmp/root")
    assert "ProtectHome=read-only" in debian.read("/tmp/root/etc/systemd/system/m-store.service")
