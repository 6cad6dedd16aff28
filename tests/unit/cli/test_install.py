"""rc.m-store install and uninstall below a root of their own."""

import json
import os
import sys
from pathlib import Path

import pytest

from mstore.base.config import load
from mstore.base.roff import MARK
from mstore.cli import install, rc


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with all programs in it."""
    directory = tmp_path / "environment"
    directory.mkdir()
    for name in (*install.PROGRAMS, "python"):
        (directory / name).write_text("#!/bin/sh\n")
    monkeypatch.setattr(sys, "executable", str(directory / "python"))
    return directory


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def run(verb: str, root: Path, *more: str) -> int:
    return rc.main([verb, "--root", str(root), *more])


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or path.is_file()}


EVERYTHING = {
    "etc/md/store/ms.conf", "etc/md/store/ms.sample", "etc/md/store/rc.m-store.sample", "etc/init.d/m-store",
    "etc/systemd/system/m-store.service", "etc/systemd/system/m-store.socket",
    *(f"usr/local/md/bin/{name}" for name in install.PROGRAMS),
    *(f"usr/local/md/share/man/man8/{name}.8" for name in install.PROGRAMS),
    "usr/local/md/share/man/man5/ms.conf.5",
    "usr/local/share/bash-completion/completions/msadm",
    "usr/local/share/bash-completion/completions/rc.m-store",
    "usr/local/share/zsh/site-functions/_msadm", "usr/local/share/zsh/site-functions/_rc.m-store",
    "usr/local/share/fish/vendor_completions.d/msadm.fish",
    "usr/local/share/fish/vendor_completions.d/rc.m-store.fish",
}  # fmt: skip


def test_install_lays_everything_out(root: Path, programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("install", root, "--user", "root") == 0
    out = capsys.readouterr().out
    assert names(root) == EVERYTHING
    assert (root / "usr/local/md/lib/plugins").is_dir() and (root / "var/md/store").is_dir()
    assert (root / "usr/local/md/bin/imapd").readlink() == programs / "imapd"
    assert "### BEGIN INIT INFO" in (root / "etc/init.d/m-store").read_text()
    unit = (root / "etc/systemd/system/m-store.service").read_text()
    assert 'ExecStart="/usr/local/md/bin/storemgr" -f "/etc/md/store/ms.conf"' in unit
    assert "systemctl enable --now m-store" in out and f"made {root}/etc/md/store/ms.conf" in out
    assert load(root / "etc/md/store/ms.conf").runtime_user == "root"
    assert "### BEGIN INIT INFO" in (root / "etc/md/store/rc.m-store.sample").read_text()
    assert "\n#imapd-workers " in (root / "etc/md/store/ms.sample").read_text()


def test_the_user_need_not_exist(root: Path) -> None:
    assert run("install", root, "--user", "no-such-user") == 0
    assert "\nruntime-user no-such-user\n" in (root / "etc/md/store/ms.conf").read_text()


def test_again_it_changes_nothing_and_keeps_the_configuration(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("install", root)
    config = root / "etc/md/store/ms.conf"
    config.write_text("mailstore main /srv/mail\n")
    capsys.readouterr()
    assert run("install", root) == 0
    assert f"kept {config}" in capsys.readouterr().out
    assert config.read_text() == "mailstore main /srv/mail\n" and names(root) == EVERYTHING
    assert '"-/srv/mail"' in (root / "etc/systemd/system/m-store.service").read_text()


def test_links_follow_the_environment(root: Path, programs: Path) -> None:
    run("install", root)
    link = root / "usr/local/md/bin/msadm"
    link.unlink()
    link.symlink_to("/elsewhere/msadm")
    assert run("install", root) == 0 and link.readlink() == programs / "msadm"


def test_uninstall_leaves_nothing_of_what_was_made(root: Path) -> None:
    run("install", root)
    assert run("uninstall", root) == 0
    assert names(root) == set()
    assert not (root / "usr/local/md").exists() and not (root / "var/md").exists()
    assert not (root / "etc/md").exists() and (root / "etc").is_dir()
    assert run("uninstall", root) == 0


def test_uninstall_keeps_what_is_somebodys(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("install", root)
    config, mail = root / "etc/md/store/ms.conf", root / "var/md/store/mail/1"
    plugin = root / "usr/local/md/lib/plugins/p.so"
    config.write_text(config.read_text() + "imapd-workers 3\n")
    mail.parent.mkdir()
    for file in (mail, plugin, root / "usr/local/md/bin/mine"):
        file.write_text("x")
    unit = root / "etc/systemd/system/m-store.service"
    unit.write_text("[Unit]\n")
    assert run("uninstall", root) == 0
    out = capsys.readouterr().out
    assert f"left {config}, which was edited" in out and f"left {root}/var/md/store" in out
    assert all(path.is_file() for path in (config, mail, plugin, unit, root / "usr/local/md/bin/mine"))
    assert not (root / "usr/local/md/bin/imapd").is_symlink()


def test_what_is_in_the_way_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "usr/local/md/bin").mkdir(parents=True)
    (root / "usr/local/md/bin/imapd").write_text("not ours")
    assert run("install", root) == 1
    assert f"{root}/usr/local/md/bin/imapd is in the way" in capsys.readouterr().err
    assert (root / "usr/local/md/bin/imapd").read_text() == "not ours"


def test_a_unit_of_somebody_elses_stays(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unit = root / "etc/systemd/system/m-store.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Unit]\n")
    assert run("install", root) == 0
    assert unit.read_text() == "[Unit]\n" and f"kept {unit}" in capsys.readouterr().out


def test_units_made_for_other_options_are_found(root: Path) -> None:
    assert run("install", root, "--user", "root") == 0
    config = root / "etc/md/store/ms.conf"
    assert install.outdated_units(load(config), root) == []
    config.write_text(config.read_text() + "imapd-listen 127.0.0.1:14300\n")
    assert install.outdated_units(load(config), root) == []  # sockets are not enabled
    enabled = root / "etc/systemd/system/sockets.target.wants/m-store.socket"
    enabled.parent.mkdir()
    enabled.symlink_to("/etc/systemd/system/m-store.socket")
    assert install.outdated_units(load(config), root) == [install.SOCKET_UNIT]
    config.write_text(config.read_text() + "shutdown-grace 77\n")
    assert install.outdated_units(load(config), root) == [install.UNIT, install.SOCKET_UNIT]
    assert run("install", root) == 0
    assert install.outdated_units(load(config), root) == []
    config.write_text(config.read_text().replace("grace 77", "grace 78"))
    (root / "etc/systemd/system/m-store.service").write_text("[Unit]\n")
    enabled.unlink()
    assert install.outdated_units(load(config), root) == []  # somebody's own


def test_without_a_root_it_is_for_the_superuser(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert rc.main(["install"]) == 1 and rc.main(["uninstall"]) == 1
    assert "must be run by the superuser" in capsys.readouterr().err


def test_pages_and_completion_are_renewed_unless_they_are_somebodys(root: Path) -> None:
    run("install", root)
    page = root / "usr/local/md/share/man/man8/imapd.8"
    theirs = root / "usr/local/share/zsh/site-functions/_msadm"
    before = page.read_text()
    page.write_text(MARK + "\nof an earlier version\n")
    theirs.write_text("#compdef msadm\n")
    assert run("install", root) == 0
    assert page.read_text() == before and theirs.read_text() == "#compdef msadm\n"
    assert run("uninstall", root) == 0
    assert names(root) == {"usr/local/share/zsh/site-functions/_msadm"}


def test_what_was_done_is_told_to_programs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("install", root, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    paths = {line["path"] for line in told["did"] if line["what"] in ("made", "wrote")}
    assert {str(root / name) for name in EVERYTHING} <= paths
    assert any(line.endswith("msadm init") for line in told["next"])
    assert run("uninstall", root, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {"what": "removed", "path": f"{root}/usr/local/md/bin/imapd", "note": ""} in told["did"]


def test_errors_of_the_configuration_are_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("install", root)
    (root / "etc/md/store/ms.conf").write_text("imapd-worker 3\n")
    assert run("install", root) == rc.NOT_CONFIGURED
    assert "imapd-worker: unknown option" in capsys.readouterr().err


def test_purging_removes_mail_and_nothing_else(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("install", root)
    (root / "etc/md/store/ms.conf").write_text("runtime-user mstore\nmailstore two /srv/two\n")
    for made in ("var/md/store/db/accounts.db", "srv/two/e6/e6fcac18a98357a2/catalog"):
        (root / made).parent.mkdir(parents=True)
        (root / made).write_text("x")
    (root / "srv/two/somebody").write_text("else's")
    assert run("uninstall", root, "--purge") == 2
    assert "Say --yes" in capsys.readouterr().err and (root / "srv/two/e6").exists()
    assert run("uninstall", root, "--purge", "--yes") == 0
    assert names(root) == {"srv/two/somebody"}
    assert not (root / "var/md").exists() and not (root / "etc/md").exists()


def test_only_uninstall_purges(root: Path) -> None:
    assert run("install", root, "--purge") == 2
