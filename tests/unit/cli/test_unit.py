"""The systemd unit, read by systemd itself where it is installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mstore.base.config import parse
from mstore.base.options import Settings
from mstore.cli.unit import REFUSED, format_socket, format_unit
from workers.parent import EX_REFUSED

CONFIG = Path("/etc/md/store/ms.conf")


def settings(*lines: str) -> Settings:
    return parse(CONFIG, "\n".join(["runtime-user root", "mailstore main /var/md/store/mail", *lines]) + "\n")


def unit(*lines: str) -> dict[str, str]:
    return values(format_unit(settings(*lines), CONFIG, Path("/opt/bin")))


def values(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze (package systemd)")
@pytest.mark.parametrize("odd", ["plain", "odd 100% dir"])
def test_systemd_finds_nothing_wrong(tmp_path: Path, odd: str) -> None:
    programs = tmp_path / odd
    programs.mkdir()
    for name in ("storemgr", "rc.m-store"):
        (programs / name).symlink_to(sys.executable)
    file = tmp_path / "m-store.service"
    config = programs / "$x 100% \\.conf"
    file.write_text(format_unit(settings(f'mailstore two "{tmp_path}/a b"'), config, programs))
    lent = tmp_path / "m-store.socket"
    lent.write_text(format_socket(settings("imapd-listen *:143 [::1]:1430", "pop3d-listen localhost:1100")))
    command = ["systemd-analyze", "verify", "--man=no", str(file), str(lent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "m-store" in line]
    assert not ours and done.returncode == 0, done.stdout + done.stderr


def test_what_is_ours_can_be_written_and_the_rest_cannot() -> None:
    found = unit("mailstore two /srv/two", "shutdown-grace 100")
    assert found["ReadWritePaths"] == '"-/var/md/store" "-/srv/two"'
    assert found["ProtectSystem"] == "strict" and found["NoNewPrivileges"] == "yes"
    assert found["ExecStart"] == '"/opt/bin/storemgr" -f "/etc/md/store/ms.conf"'
    assert float(found["TimeoutStopSec"]) > 110
    assert int(found["RestartPreventExitStatus"]) == REFUSED == EX_REFUSED


def test_directories_that_hold_something_of_ours_stay_visible() -> None:
    found = unit("ms-path /home/ms", "mailstore x /var/tmp/x")
    assert found["ProtectHome"] == "read-only" and found["PrivateTmp"] == "no"


def test_pam_may_run_its_helpers() -> None:
    found = unit("authproxy-authmech pam")
    assert found["NoNewPrivileges"] == "no" and "-/run/faillock" in found["ReadWritePaths"]


def test_sockets_are_those_of_the_configuration() -> None:
    lines = ["imapd-listen *:143 192.0.2.1:1430 [::1]:1430", "pop3d-listen none", "lmtpd-listen 127.0.0.1:24",
             "metrics-listen 127.0.0.1:9143"]  # fmt: skip
    text = format_socket(settings(*lines))
    streams = [line.split("=")[1] for line in text.splitlines() if line.startswith("ListenStream=")]
    assert streams == ["143", "192.0.2.1:1430", "[::1]:1430", "127.0.0.1:24", "127.0.0.1:9143"]
    assert "\nBindIPv6Only=both\n" in text and text.startswith("# Made by rc.m-store install.\n")
    assert "BindIPv6Only=ipv6-only" in format_socket(settings("imapd-listen [::]:143"))
