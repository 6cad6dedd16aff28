"""M-Store as `msadm init` makes it: storemgr with all its daemons, on loopback, in one directory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from bench.servers import PASSWORD, Failed, Server, mail_user
from mstore import __version__
from mstore.accounts.accounts import Accounts
from mstore.accounts.passwords import Passwords
from mstore.store.store import Store

_ROOT = Path(__file__).resolve().parent.parent


class MStore(Server):
    """This tree's M-Store."""

    name = "m-store"
    title = "M-Store"

    def __init__(self, path: Path, users: list[str], options: tuple[str, ...] = ()) -> None:
        super().__init__(path, users)
        self.lmtp_path = path / "ms" / "ipc" / "lmtpd"
        self._options = options

    def prepare(self) -> None:
        owner = mail_user()
        self.mail_path().mkdir(parents=True, exist_ok=True)
        lines = [
            f"ms-path {self.path}/ms",
            f"mailstore default {self.path}/mail",
            f"imapd-listen 127.0.0.1:{self.imap_address[1]}",
            "default-mailboxes off",
            f"pop3d-listen 127.0.0.1:{self.pop3_address[1]}",
            "single-domain yes",
            *self._options,
        ]
        if os.geteuid() == 0:
            lines.append(f"runtime-user {owner.pw_name}")
            shutil.chown(self.mail_path(), owner.pw_uid, owner.pw_gid)
        (self.path / "ms.conf").write_text("\n".join(lines) + "\n")
        self._msadm(["init"])
        self._msadm(["user", "add", self.users[0], "--password-stdin"], f"{PASSWORD}\n")
        self._add_like(self.users[0], self.users[1:])

    def command(self) -> list[str]:
        return [sys.executable, "-m", "workers.storemgr", "-f", str(self.path / "ms.conf")]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": str(_ROOT)}

    def mail_path(self) -> Path:
        return self.path / "mail"

    def user_path(self, user: str) -> Path:
        accounts = Accounts(self.path / "ms" / "db")
        record = accounts.find(user)
        accounts.close()
        if record is None:
            raise Failed(f"there is no account {user}")
        store = Store({"default": self.mail_path()})
        path = store.path_of(record)
        store.close()
        return path

    def version(self) -> str:
        return f"M-Store {__version__}, Python {sys.version.split()[0]}"

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.path / "ms" / "ipc" / "authproxyd"))
        except OSError:
            return False
        return super()._answers()

    def _add_like(self, model: str, names: list[str]) -> None:
        """Add users that have the password of another: one hash for all of them."""
        db = self.path / "ms" / "db"
        accounts, passwords = Accounts(db), Passwords(db)
        record = accounts.find(model)
        keys = passwords.keys(record.id) if record else None
        if record is None or keys is None:
            raise Failed(f"msadm did not add {model}")
        for name in names:
            passwords.set_keys(accounts.add(name, record.mailstore).id, keys)
        accounts.close()
        passwords.close()

    def _msadm(self, arguments: list[str], text: str = "") -> None:
        command = [sys.executable, "-m", "mstore.cli.msadm", "-f", str(self.path / "ms.conf"), *arguments]
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, env=self.environment(), cwd=self.path
        )
        if done.returncode:
            raise Failed(f"{' '.join(command[2:])}: {done.stderr or done.stdout}")
