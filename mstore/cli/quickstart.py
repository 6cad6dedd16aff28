"""rc.m-store quickstart: a whole message store in a directory of its own, on high ports, with two accounts.

May be run again: accounts, passwords, ports and certificate stay, and what does not answer is restarted.
Nothing outside the directory is changed, but for a note of where the last one is, so that ``rc.m-store stop``
finds it.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import shutil
import smtplib
import socket
import stat
import subprocess
import sys
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Any

from mstore.base.config import load
from mstore.base.options import Settings
from mstore.cli import control
from mstore.cli.control import Failed
from mstore.cli.service import look_up, silent_doors
from mstore.cli.site import write_json

USERS = ("alice", "bob")
PORTS = {"imapd-listen": 1143, "imapd-tls-listen": 1993, "pop3d-listen": 1110, "pop3d-tls-listen": 1995}
LABELS = dict(zip(PORTS, ("IMAP", "IMAPS", "POP3", "POP3S"), strict=True))
RUNTIME_USERS = ("mstore", "mail", "nobody")
_QUOTES = frozenset('"\r\n')
LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


def _data_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "m-store"


def default_directory() -> Path:
    """Where a quickstart without a directory goes: a place that the runtime user can reach."""
    return Path("/var/tmp/m-store-quickstart") if os.geteuid() == 0 else _data_home() / "quickstart"


def last_config() -> Path | None:
    """The configuration of the last quickstart of this user, if it is still there."""
    try:
        path = Path((_data_home() / "last-quickstart").read_text().strip())
    except OSError:
        return None
    return path if path.is_file() else None


class Quickstart:
    """One directory, on its way to a running store."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "ms.conf"
        self.passwords_path = directory / "accounts"
        self.notes: list[str] = []
        self.runtime_user = _runtime_user() if os.geteuid() == 0 else None

    def make_directory(self) -> None:
        """Make the directory, ours and reachable for the runtime user.

        Raises: Failed
        """
        if not _QUOTES.isdisjoint(str(self.directory)):
            raise Failed(f"{self.directory} cannot be written in ms.conf; give a DIR without quotation marks")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise Failed(f"{error.filename} is not a directory; give another DIR") from None
        status = self.directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise Failed(f"{self.directory} is not a directory of ours; give another one")
        self.directory.chmod(0o755 if self.runtime_user else 0o700)
        if self.runtime_user is not None:
            user = self.runtime_user
            for parent in self.directory.parents:
                found = parent.stat()
                if not found.st_mode & stat.S_IXOTH and found.st_uid != user.pw_uid:
                    why = f"is closed to user {user.pw_name}, as whom the daemons run"
                    raise Failed(f"{parent} {why}; give another DIR")

    def write_config(self) -> None:
        """Write ms.conf with ports that are free; one that is there is kept."""
        if self.config.exists():
            return
        tls = self._make_certificate()
        lines = [
            "# Made by rc.m-store quickstart.",
            f'ms-path "{self.directory}/store"',
            f'mailstore main "{self.directory}/mail"',
            "single-domain yes",
            "server-name localhost",
        ]
        if self.runtime_user is not None:
            lines.append(f"runtime-user {self.runtime_user.pw_name}")
        taken: set[int] = set()
        for option, wanted in PORTS.items():
            if tls or "tls" not in option:
                taken.add(port := _free_port(wanted, taken))
                lines.append(f"{option} 127.0.0.1:{port}")
        if tls:
            lines += [f'tls-certificate "{self.directory}/cert.pem"', f'tls-key "{self.directory}/key.pem"']
        self.config.write_text("\n".join(lines) + "\n")

    def _make_certificate(self) -> bool:
        certificate, key = self.directory / "cert.pem", self.directory / "key.pem"
        if certificate.exists() and key.exists():
            return True
        openssl = shutil.which("openssl")
        if openssl is None:
            self.notes.append("TLS is off: the openssl command, which makes a certificate, is missing.")
            return False
        made = subprocess.run(
            [
                openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-days", "3650", "-subj", "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-keyout", str(key), "-out", str(certificate),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode != 0:
            self.notes.append("TLS is off: " + (made.stderr.strip().splitlines() or ["openssl failed"])[-1])
            return False
        key.chmod(0o600)
        return True

    def make_accounts(self, settings: Settings) -> dict[str, str]:
        """Make databases and accounts where they are missing; the password of each account."""
        if not (settings.db_path / "accounts.db").exists():
            self._msadm("init")
        known = self._read_passwords()
        for user in USERS:
            if user not in known:
                password = "-".join("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(3))
                self._msadm("user", "add", user, "--password-stdin", text=password + "\n")
                known[user] = password
                self._write_passwords(known)
        return known

    def _read_passwords(self) -> dict[str, str]:
        try:
            lines = self.passwords_path.read_text().splitlines()
        except FileNotFoundError:
            return {}
        return {user: password for user, _, password in (line.partition(" ") for line in lines) if password}

    def _write_passwords(self, known: dict[str, str]) -> None:
        fd = os.open(self.passwords_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(fd, "w") as file:
            file.writelines(f"{user} {password}\n" for user, password in known.items())

    def _msadm(self, *arguments: str, text: str = "") -> None:
        done = subprocess.run(
            control.command("mstore.cli.msadm", "-f", str(self.config), *arguments),
            input=text, text=True, capture_output=True, env=control.environment(), check=False,
        )  # fmt: skip
        if done.returncode != 0:
            words = done.stderr.strip() or done.stdout.strip()
            raise Failed(f"msadm {' '.join(arguments)} failed: {words}")

    def start(self, settings: Settings) -> None:
        """Start, or restart what does not answer."""
        if look_up(settings, "storemgr").pid is not None and silent_doors(settings, 2.0):
            control.stop(settings)
        control.start(settings, self.config)

    def welcome(self, settings: Settings) -> None:
        """Deliver a first message to every account, once."""
        done = self.directory / "welcomed"
        if done.exists():
            return
        with smtplib.LMTP(str(settings.ipc_path("lmtpd")), local_hostname="localhost", timeout=30) as lmtp:
            for user in USERS:
                message = _welcome_message(user)
                refused = lmtp.send_message(message, "postmaster@localhost", [f"{user}@localhost"])
                if refused:
                    raise Failed(f"the welcome message was refused: {refused}")
        done.touch()

    def remember(self) -> None:
        """Note where this store is, for ``rc.m-store stop`` without a configuration."""
        try:
            _data_home().mkdir(parents=True, exist_ok=True)
            (_data_home() / "last-quickstart").write_text(f"{self.config}\n")
        except OSError:
            self.notes.append(f"rc.m-store needs -f {self.config}: its place could not be noted.")

    def describe(self, settings: Settings, passwords: dict[str, str]) -> dict[str, Any]:
        """What ``report`` tells people, for programs."""
        return {
            "config": str(self.config),
            "listeners": self._listeners(settings) | {"LMTP": [str(settings.ipc_path("lmtpd"))]},
            "accounts": [{"name": user, "password": password} for user, password in passwords.items()],
            "notes": self.notes,
        }

    @staticmethod
    def _listeners(settings: Settings) -> dict[str, list[str]]:
        return {
            label: [str(address) for address in getattr(settings, option.replace("-", "_"))]
            for option, label in LABELS.items()
        }

    def report(self, settings: Settings, passwords: dict[str, str]) -> None:
        """Print how to connect and what to try."""
        for label, addresses in self._listeners(settings).items():
            for address in addresses:
                print(f"{label} {address}")
        print(f"LMTP {settings.ipc_path('lmtpd')}")
        print("\nAccounts:")
        for user, password in passwords.items():
            print(f"  {user}  password {password}")
        user = USERS[0]
        imap, pop3 = settings.imapd_listen[0], settings.pop3d_listen[0]
        program = (
            f'import imaplib; m = imaplib.IMAP4("{imap.host}", {imap.port}); '
            f'm.login("{user}", "{passwords[user]}"); m.select(); '
            'print(m.fetch("1", "(RFC822)")[1][0][1].decode())'
        )
        rc = shlex.quote(os.environ.get("MSTORE_RC") or "rc.m-store")
        msadm = shlex.quote(str(Path(sys.executable).parent / "msadm"))
        config = shlex.quote(str(self.config))
        print("\nTry:")
        print(f"  curl --user {user}:{passwords[user]} 'imap://{imap}/INBOX;UID=1'")
        print(f"  curl --user {user}:{passwords[user]} pop3://{pop3}/1")
        print(f"  python3 -c {shlex.quote(program)}")
        print(f"  {msadm} -f {config} user list")
        print(f"  {rc} -f {config} status")
        print(f"  {rc} -f {config} stop")
        for note in self.notes:
            print(f"\n{note}")


def _runtime_user() -> pwd.struct_passwd:
    for name in RUNTIME_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Failed("none of these users exists, as whom the daemons could run: " + " ".join(RUNTIME_USERS))


def _free_port(wanted: int, taken: set[int]) -> int:
    for port in range(wanted, wanted + 1000):
        if port in taken or (port in PORTS.values() and port != wanted):
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise Failed(f"no free port from {wanted} on")


def _welcome_message(user: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "M-Store <postmaster@localhost>"
    message["To"] = f"{user}@localhost"
    message["Subject"] = "Welcome to M-Store"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="localhost")
    message.set_content(
        f"Hello {user},\n\n"
        "this message came in over LMTP and is read over IMAP or POP3.\nYour message store works.\n"
    )
    return message


def run(directory: Path | None, as_json: bool = False) -> None:
    """Set up and start a store, and say how to reach it.

    Raises: Failed
    """
    quickstart = Quickstart(Path(os.path.abspath(directory or default_directory())))
    quickstart.make_directory()
    quickstart.write_config()
    settings = load(quickstart.config)
    passwords = quickstart.make_accounts(settings)
    quickstart.start(settings)
    quickstart.welcome(settings)
    quickstart.remember()
    if as_json:
        write_json(quickstart.describe(settings, passwords))
    else:
        quickstart.report(settings, passwords)
