"""What rc.m-store install lays out, run as the unit has it."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable

import pytest

from mstore.cli import rc
from tests.kit.instance import Instance, runtime_user
from tests.kit.notified import Notified


@pytest.mark.skipif(os.geteuid() != 0, reason="installs as the superuser")
def test_the_unit_starts_what_was_installed(make_store: Callable[..., Instance]) -> None:
    store = make_store()
    root = store.path / "root"
    assert rc.main(["install", "--root", str(root), "--user", runtime_user().pw_name]) == 0
    config = root / "etc/md/store/ms.conf"
    assert f"\nruntime-user {runtime_user().pw_name}\n" in config.read_text()
    config.write_text(store.config.read_text())
    unit = (root / "etc/systemd/system/m-store.service").read_text()
    values = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)

    def command(name: str) -> list[str]:
        return [f"{root}{word}" if word[0] == "/" else word for word in shlex.split(values[name])]

    environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(store.path / "notify")}
    with Notified(store.path / "notify") as manager:
        with open(store.log, "ab") as log:
            process = subprocess.Popen(
                command("ExecStart"), env=environment, stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        store.adopt(process)
        manager.until("READY=1")
    assert store.is_ready()
    client = store.imap("joe")
    client.logout()
    done = subprocess.run(command("ExecReload"), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert process.poll() is None
    store.stop()
    assert rc.main(["uninstall", "--root", str(root)]) == 0
    assert not (root / "usr/local/md").exists()
