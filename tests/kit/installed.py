"""M-Store installed on a Debian of the test's own, and what comes next there by the README."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.debian import HOST, Debian
from tests.kit.instance import ROOT
from tests.kit.pages import block

CHECKOUT = "/opt/m-store"
RC, MSADM = "/usr/local/md/bin/rc.m-store", "/usr/local/md/bin/msadm"
CONFIG = "/etc/md/store/ms.conf"
USERS = ("joe", "ann", "zoe")
PASSWORD = "correct horse"


@contextmanager
def install() -> Iterator[Path]:
    """The layer that installing makes."""
    debian = Debian()
    try:
        debian.put_checkout(ROOT, CHECKOUT)
        out = debian.run(f"umask 077; {CHECKOUT}/rc/rc.m-store install")
        assert "made the user mstore" in out and "update-rc.d m-store defaults" in out
        debian.stop()
        yield debian.layer
    finally:
        debian.remove()


def configure(debian: Debian, text: str = "lmtp-socket-group postfix\ndefault-domain example.org\n") -> None:
    """Do what the README says comes next, but for starting; ``text`` is more for ms.conf."""
    debian.run(
        "cd /etc/md/store && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 90"
        f" -subj /CN={HOST} -addext subjectAltName=DNS:{HOST} && chmod 600 key.pem"
    )
    more = [
        "tls-certificate /etc/md/store/cert.pem", "tls-key /etc/md/store/key.pem", "imapd-tls-listen *:993",
        "pop3d-tls-listen *:995", "metrics-listen 127.0.0.1:9143",
    ]  # fmt: skip
    if "cleartext-login-enable" not in text:
        more.append("cleartext-login-enable loopback")
    more.append(text)
    debian.run(f"cat >>{CONFIG}", "\n".join(more))
    assert debian.run(f"{RC} configtest") == f"{CONFIG}: no errors\n"
    debian.run(f"{MSADM} init")


def add_users(debian: Debian) -> None:
    """Add three accounts."""
    for user in USERS:
        debian.run(f"{MSADM} user add {user}@example.org --password-stdin", f"{PASSWORD}\n")


def start_mta(debian: Debian) -> None:
    """Start Debian's postfix, and what writes its log, with what the README says of it."""
    debian.run("cat >>/etc/postfix/main.cf", block("README.md", "postfix"))
    debian.run(block("README.md", "sh postfix"))
    debian.run("rsyslogd; /etc/init.d/postfix start")


def curl(debian: Debian, user: str, url: str) -> str:
    """Read by a client that checks the certificate."""
    tls = f"--cacert /etc/md/store/cert.pem --resolve {HOST}:993:127.0.0.1 --resolve {HOST}:995:127.0.0.1"
    return debian.run(f"curl -sS {tls} --user '{user}:{PASSWORD}' '{url}'").replace("\r\n", "\n")
