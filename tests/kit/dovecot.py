"""Debian's dovecot, run privately on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.instance import free_port, wait_for

DOVECOT = shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin")
needs_dovecot = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="dovecot must be started by root"),
    pytest.mark.skipif(DOVECOT is None, reason="dovecot is not installed"),
]

_CONFIG = """\
base_dir = {path}/run
state_dir = {path}/state
log_path = {path}/log
protocols = imap
default_internal_user = dovecot
default_login_user = dovenull
listen = 127.0.0.1, 127.0.0.2
ssl = {ssl}
ssl_cert = <{path}/cert.pem
ssl_key = <{path}/key.pem
disable_plaintext_auth = {closed}
mail_location = maildir:{path}/mail/%u
auth_mechanisms = plain
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = username_format=%u {path}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={path}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
  # no penalty for an address from which many have tried
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


class Dovecot:
    """A private dovecot, with users and their passwords."""

    def __init__(
        self, path: Path, passwords: Mapping[str, str], *, ssl: str = "no", closed: str = "no"
    ) -> None:
        self.path = path
        self.port, self.tls_port = free_port(), free_port()
        for name in ("run", "state", "mail"):
            (path / name).mkdir(mode=0o755)
        shutil.chown(path / "mail", "nobody")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", path / "key.pem", "-out", path / "cert.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        users = [f"{name}:{{PLAIN}}{word}::::::\n" for name, word in passwords.items() if ":" not in word]
        (path / "users").write_text("".join(users))
        text = _CONFIG.format(path=path, port=self.port, tls_port=self.tls_port, ssl=ssl, closed=closed)
        (path / "dovecot.conf").write_text(text)
        self.process = subprocess.Popen([DOVECOT or "", "-F", "-c", path / "dovecot.conf"])
        wait_for(lambda: is_open(self.port), 60, self.log_text)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def has_session(self, user: str) -> bool:
        """Whether somebody is logged in as this user."""
        done = subprocess.run(
            ["doveadm", "-c", self.path / "dovecot.conf", "who", "-1", user],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return len(done.stdout.splitlines()) > 1

    def log_text(self) -> str:
        log = self.path / "log"
        return log.read_text(errors="replace") if log.exists() else ""


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def dovecot(passwords: Mapping[str, str], **options: str) -> Iterator[Dovecot]:
    """A dovecot in a directory of its own that its users can reach."""
    path = Path(tempfile.mkdtemp(prefix="dovecot-", dir="/tmp"))
    path.chmod(0o755)
    try:
        running = Dovecot(path, passwords, **options)
        try:
            yield running
        finally:
            running.stop()
            print(running.log_text()[-4000:])
    finally:
        shutil.rmtree(path, ignore_errors=True)
