"""Dovecot as its experts would set it up for this work.

Process reuse everywhere (`service_count = 0`, and login processes in their high-performance mode), an
authentication cache over a passwd-file with plain passwords (so a login costs no hash), `mail_fsync =
optimized`, which syncs what is saved before it is acknowledged: the same promise that M-Store makes.
flock, because
with fcntl locks a delivery process now and then ends in a panic ("Resource deadlock avoided") when several
deliver to one mdbox. Everything lives below one directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.servers import PASSWORD, Server, mail_user

_CONFIG = """\
base_dir = {path}/run
state_dir = {path}/state
instance_name = bench-{name}
log_path = {path}/dovecot.log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_format = %Ln
auth_cache_size = 16M
auth_cache_ttl = 1 hour
auth_cache_negative_ttl = 1 hour
default_login_user = {login_user}
default_internal_user = {internal_user}
default_internal_group = {internal_group}
default_process_limit = 500
default_client_limit = 20000
first_valid_uid = 1
first_valid_gid = 1
mail_location = {format}:{path}/mail/%n
mail_fsync = optimized
lock_method = flock
mail_max_userip_connections = 0
mailbox_idle_check_interval = 30 secs
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%n {path}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {path}/users
}}
service imap-urlauth-login {{
  process_limit = 1
}}
service imap-login {{
  {chroot}
  service_count = 0
  process_min_avail = {cores}
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  {chroot}
  service_count = 0
  process_min_avail = 1
  inet_listener pop3 {{
    port = {pop3_port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service imap {{
  process_limit = 12000
  service_count = 0
  process_min_avail = {cores}
}}
service pop3 {{
  service_count = 0
  process_min_avail = 1
  process_limit = 500
}}
service lmtp {{
  service_count = 0
  process_min_avail = {cores}
  unix_listener {path}/lmtp {{
    mode = 0666
  }}
}}
service anvil {{
  {chroot}
}}
service stats {{
  {chroot}
}}
protocol lmtp {{
  postmaster_address = postmaster@bench.example
}}
{extra}
"""


class Dovecot(Server):
    """Debian's Dovecot with one mailbox format."""

    def __init__(self, path: Path, users: list[str], format: str) -> None:
        super().__init__(path, users)
        self.name, self.title, self._format = f"dovecot-{format}", f"Dovecot {format}", format

    def prepare(self) -> None:
        for name in ("mail", "run", "state"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        owner = mail_user()
        lines = [
            f"{u}:{PASSWORD}:{owner.pw_uid}:{owner.pw_gid}::{self.path}/home/{u}::\n" for u in self.users
        ]
        (self.path / "users").write_text("".join(lines))
        (self.path / "users").chmod(0o644)
        if os.geteuid() == 0:
            shutil.chown(self.path / "mail", owner.pw_uid, owner.pw_gid)
        root = os.geteuid() == 0
        group = subprocess.run(["id", "-gn"], capture_output=True, text=True, check=True).stdout.strip()
        (self.path / "dovecot.conf").write_text(
            _CONFIG.format(
                path=self.path,
                name=self._format,
                format=self._format,
                login_user="dovenull" if root else owner.pw_name,
                internal_user="dovecot" if root else owner.pw_name,
                internal_group="dovecot" if root else group,
                chroot="chroot =",
                cores=os.cpu_count() or 1,
                imap_port=self.imap_address[1],
                pop3_port=self.pop3_address[1],
                extra="mdbox_rotate_size = 32M" if self._format == "mdbox" else "",
            )
        )

    def command(self) -> list[str]:
        return [shutil.which("dovecot") or "/usr/sbin/dovecot", "-F", "-c", str(self.path / "dovecot.conf")]

    def mail_path(self) -> Path:
        return self.path / "mail"

    def user_path(self, user: str) -> Path:
        return self.mail_path() / user

    def version(self) -> str:
        output = subprocess.run(
            [self.command()[0], "--version"], capture_output=True, text=True, check=True
        ).stdout
        return f"Dovecot {output.split()[0]}"
