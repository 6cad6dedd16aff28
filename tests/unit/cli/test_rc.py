"""rc.m-store without daemons: what it says about configurations and about what does not run."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mstore.base.config import load
from mstore.base.values import Address
from mstore.cli import control, quickstart, rc, service
from mstore.cli.service import Process, doors, look_up, reach, silent_doors
from mstore.files.lockfile import LockFile
from tests.kit.certificates import make_pair, needs_openssl

ROOT = Path(__file__).resolve().parents[3]
ROOT_NEEDS = "runtime-user root\n" if os.geteuid() == 0 else ""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "ms.conf"
    (tmp_path / "run").mkdir()
    (tmp_path / "ipc").mkdir()
    path.write_text(f"{ROOT_NEEDS}ms-path {tmp_path}\nmailstore main {tmp_path}/mail\n")
    return path


def add(config: Path, *lines: str) -> None:
    config.write_text(config.read_text() + "\n".join(lines) + "\n")


def test_configtest_passes_a_good_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rc.main(["-f", str(config), "configtest"]) == 0
    assert capsys.readouterr().out == f"{config}: no errors\n"


def test_configtest_shows_all_errors(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = config.read_text().count("\n")
    add(config, "imapd-listne *:143", "imapd-workers x")
    assert rc.main(["-f", str(config), "configtest"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert err[0] == f"{config}:{lines + 1}: imapd-listne: unknown option; did you mean imapd-listen?"
    assert err[1].startswith(f"{config}:{lines + 2}: imapd-workers: ")


def test_programs_are_told_in_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(verb: str, status: int) -> Any:
        assert rc.main(["-f", str(config), verb, "--json"]) == status
        return json.loads(capsys.readouterr().out)

    assert told("stop", 0) == {"stopped": False}
    daemons = told("status", rc.NOT_RUNNING)
    nothing = {"pid": None, "up_s": None, "workers": None, "sessions": None, "state": "not running"}
    assert daemons[0] == {"name": "storemgr"} | nothing
    add(config, "cleartext-login-enable off", "lmtpd-listen 127.0.0.1:24")
    found = told("configtest", 0)
    assert found["file"] == str(config) and not found["errors"]
    assert "lmtpd-listen: nobody may hand in mail there" in found["warnings"][0]
    add(config, "imapd-workers x")
    assert "imapd-workers" in told("configtest", 1)["errors"][0]


def test_configtest_knows_the_mechanisms_there_are(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = config.read_text().count("\n") + 1
    add(config, "authproxy-authmech kerberos6")
    assert rc.main(["-f", str(config), "configtest"]) == 1
    err = capsys.readouterr().err
    where = f"{config}:{number}: authproxy-authmech: "
    assert err.startswith(f"{where}there is no authentication mechanism kerberos6")
    assert "did you mean kerberos5?" in err
    config.write_text(config.read_text().replace("kerberos6", "kerberos5"))
    monkeypatch.setitem(sys.modules, "gssapi", None)
    assert rc.main(["-f", str(config), "configtest"]) == 1
    err = capsys.readouterr().err
    assert "authproxy-authmech: the mechanism kerberos5 is not available here: it needs the Python" in err
    config.write_text(config.read_text().replace("kerberos5", "pam\nauthproxy-pam-service ../imap"))
    assert rc.main(["-f", str(config), "configtest"]) == 1
    assert "authproxy-pam-service: '../imap' is not the name of a PAM service" in capsys.readouterr().err


def test_configtest_reads_the_certificate(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cert.pem", "key.pem"):
        (config.parent / name).write_text("no certificate")
    add(config, f"tls-certificate {config.parent}/cert.pem", f"tls-key {config.parent}/key.pem")
    assert rc.main(["-f", str(config), "configtest"]) == 1
    assert "tls-certificate: no certificate" in capsys.readouterr().err


@needs_openssl
def test_configtest_tells_what_certificates_will_not_do(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soon = make_pair(config.parent, "soon.example", days=5)
    fine = make_pair(config.parent, "fine.example", days=100)
    add(config, f"tls-certificate {soon.certificate}", f"tls-key {soon.key}", "server-name soon.example")
    add(config, f"tls-sni other.example {fine.certificate} {fine.key}", "cleartext-login-enable loopback")
    assert rc.main(["-f", str(config), "configtest"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"{config}: warning: tls-certificate: expires on 20")
    assert second == f"{config}: warning: tls-sni other.example: is for fine.example, not for other.example"
    add(config, f"tls-sni wrong.example {fine.certificate} {soon.key}")
    assert rc.main(["-f", str(config), "configtest"]) == 1
    err = capsys.readouterr().err
    assert f"the key in {soon.key} is not that of the certificate in {fine.certificate}" in err


@pytest.mark.parametrize(
    ("lines", "warned"),
    [
        ([], False), (["lmtpd-listen 127.0.0.1:24"], True),
        (["lmtpd-listen 127.0.0.1:24", "admin-users root"], False),
        (["lmtpd-listen 127.0.0.1:24", "lmtp-users relay"], False),
    ],
)  # fmt: skip
def test_configtest_warns_of_a_door_for_nobody(
    config: Path, capsys: pytest.CaptureFixture[str], lines: list[str], warned: bool
) -> None:
    add(config, "cleartext-login-enable off", *lines)
    assert rc.main(["-f", str(config), "configtest"]) == 0
    assert ("lmtpd-listen: nobody may hand in mail there" in capsys.readouterr().err) == warned


@pytest.mark.parametrize(
    ("lines", "warned"),
    [
        ([], True), (["cleartext-login-enable off"], False), (["cleartext-login-enable loopback"], False),
        (["imapd-listen 127.0.0.1:1143", "pop3d-listen [::1]:1110"], False),
        (["imapd-listen 127.0.0.1:1143", "pop3d-listen *:1110"], True),
        (["imapd-listen 127.0.0.1:1143", "pop3d-listen [::1]:1110", "lmtpd-listen *:24"], True),
    ],
)  # fmt: skip
def test_configtest_warns_of_passwords_in_clear_text(
    config: Path, capsys: pytest.CaptureFixture[str], lines: list[str], warned: bool
) -> None:
    add(config, *lines)
    assert rc.main(["-f", str(config), "configtest"]) == 0
    assert ("warning: cleartext-login-enable: " in capsys.readouterr().err) == warned


def test_other_verbs_refuse_a_bad_configuration(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(config, "nonsense on")
    for verb in ("start", "restart", "reload", "upgrade"):
        assert rc.main(["-f", str(config), verb]) == rc.NOT_CONFIGURED
        assert "nonsense: unknown option" in capsys.readouterr().err


def test_a_bad_configuration_stops_nobody_from_looking_and_stopping(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(config, "nonsense on")
    for verb, status, said in (("stop", 0, "not running\n"), ("status", rc.NOT_RUNNING, "DAEMON ")):
        assert rc.main(["-f", str(config), verb]) == status
        out, err = capsys.readouterr()
        assert out.startswith(said) and "nonsense: unknown option" in err
    add(config, "ms-path relative")
    for verb in ("stop", "status"):
        assert rc.main(["-f", str(config), verb]) == rc.NOT_CONFIGURED


def test_status_of_what_does_not_run(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rc.main(["-f", str(config), "status"]) == rc.NOT_RUNNING
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["DAEMON", "PID", "UP", "WORKERS", "SESSIONS", "STATE"]
    assert [line.split()[0] for line in out[1:]] == ["storemgr", "authproxyd", "imapd", "pop3d", "lmtpd"]
    assert all(line.endswith("not running") for line in out[1:])


def test_stopping_nothing_is_fine_and_removes_dead_sockets(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config.parent / "ipc" / "lmtpd"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert rc.main(["-f", str(config), "stop"]) == 0
    assert capsys.readouterr().out == "not running\n"
    assert not path.exists()


def test_reload_needs_something_that_runs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rc.main(["-f", str(config), "reload"]) == 1
    assert "storemgr is not running" in capsys.readouterr().err


def test_a_port_of_another_store_is_not_shared(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "VACATE_S", 0.1)
    monkeypatch.setattr(control, "_launch", lambda config: pytest.fail("started"))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        add(config, f"imapd-listen 127.0.0.1:{port}", "pop3d-listen none")
        why = f"imapd-listen: cannot listen on 127.0.0.1:{port}: Address already in use"
        with pytest.raises(control.Failed, match=re.escape(why)):
            control.start(load(config), config)
    monkeypatch.setattr(control, "_launch", lambda config: None)
    monkeypatch.setattr(control, "silent_doors", lambda settings, patience_s: {})
    assert control.start(load(config), config)


@pytest.fixture
def storemgr(config: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes | None]]:
    """What is answered to those that ask on storemgr's socket; nothing is said for None."""
    monkeypatch.setattr(control, "holder", lambda path: os.getpid())
    answers: list[bytes | None] = []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(config.parent / "ipc" / "storemgr"))
        sock.listen()

        def answer() -> None:
            while True:
                try:
                    asker, _ = sock.accept()
                except OSError:
                    return
                with asker:
                    said = answers.pop(0)
                    assert json.loads(asker.recv(1000))["do"] in ("reload", "upgrade")
                    if said is None:
                        asker.recv(1)
                    else:
                        asker.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        yield answers
        sock.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_reload_returns_with_what_storemgr_says_of_it(
    config: Path, storemgr: list[bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(config)
    storemgr += [
        b'{"failed": [], "needs_restart": ["imapd-workers"]}\n',
        b'{"failed": ["imapd: why", "pop3d: too"]}\n',
        b"",
        None,
    ]
    assert control.reload(settings) == ["imapd-workers"]
    with pytest.raises(control.Failed, match="imapd: why\npop3d: too"):
        control.upgrade(settings)
    with pytest.raises(control.Failed, match="has not answered"):
        control.reload(settings)
    monkeypatch.setattr(control, "ANSWERED_S", 0.1)
    with pytest.raises(control.Failed, match="the upgrade is not complete after"):
        control.upgrade(settings)


def test_a_store_of_somebody_else_cannot_be_reloaded(
    config: Path, storemgr: list[bytes | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    storemgr.append(b"")
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    with pytest.raises(control.Failed, match=r"storemgr \(process \d+\) belongs to somebody else"):
        control.reload(load(config))


@pytest.mark.parametrize("verb", ["start", "status", "uninstall"])
def test_the_user_is_for_install_alone(config: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert rc.main([verb, "--user", "joe"]) == 2
    assert "No such option '--user'" in capsys.readouterr().err


def test_status_fails_while_a_daemon_crashes(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = "crashing: 7 deaths in the last minute, next start in 8 s, last: killed by SIGSEGV"
    found = {
        "storemgr": Process("storemgr", 1, 9.0, f"3 of 4 services up 9s; pop3d {loop}"),
        "pop3d": Process("pop3d", None, 0.0, ""),
    }
    fine = Process("imapd", 2, 9.0, "2 workers, 0 sessions, 0 idle, 0 commands/s")
    monkeypatch.setattr(service, "look_up", lambda settings, name: found.get(name, replace(fine, name=name)))
    assert rc.main(["-f", str(config), "status"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("3 of 4 services up 9s") and lines[4].endswith(loop)
    found = {"imapd": replace(fine, doing=f"1 workers, 0 sessions, 0 idle, 0 commands/s, {loop}")}
    assert rc.main(["-f", str(config), "status"]) == 1
    found = {}
    assert rc.main(["-f", str(config), "status"]) == 0


@pytest.mark.parametrize(("name", "why"), [('a"b', "quotation marks"), ("file/a", "is not a directory")])
def test_a_directory_that_cannot_be_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, why: str
) -> None:
    (tmp_path / "file").touch()
    assert rc.main(["quickstart", str(tmp_path / name)]) == 1
    err = capsys.readouterr().err
    assert why in err and "Errno" not in err


def test_a_directory_is_for_quickstart_alone(config: Path) -> None:
    assert rc.main(["-f", str(config), "start", "/tmp"]) == 2
    assert rc.main(["-f", str(config), "quickstart"]) == 2
    assert rc.main(["strat"]) == 2


def test_a_daemon_is_found_by_its_lock(config: Path) -> None:
    settings = load(config)
    hold = "import sys\nfrom pathlib import Path\nfrom mstore.files.lockfile import LockFile\n"
    hold += f"lock = LockFile.take(Path({str(settings.lock_path('imapd'))!r}))\n"
    hold += "print(flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = look_up(settings, "imapd")
        assert found.pid == process.pid and 0 <= found.up_s < 60
        process.kill()
    assert look_up(settings, "imapd").pid is None


def test_numbers_come_from_the_title() -> None:
    process = Process("imapd", 1, 0.0, "2 workers, 312 sessions")
    assert (process.workers, process.sessions) == ("2", "312")
    assert Process("authproxyd", 1, 0.0, "authdb, 1 ok 0 no").sessions == ""


def test_every_place_that_should_answer_is_asked(config: Path) -> None:
    add(config, "imapd-listen 127.0.0.1:1 [::1]:2", "pop3d-listen none", "lmtp-enable-overquota-delivery on")
    settings = load(config)
    where = [(door.service, Path(door.where).name) for door in doors(settings)]
    assert where == [
        ("imapd", "127.0.0.1:1"), ("imapd", "[::1]:2"), ("authproxyd", "authproxyd"),
        ("authproxyd", "authproxyd-sasl"), ("lmtpd", "lmtpd"),
        ("lmtpd", "lmtpd-oq"),
    ]  # fmt: skip
    silent = silent_doors(settings, 0.0)
    assert len(silent) == 6 and all(silent.values())


def test_a_star_is_reached_on_loopback() -> None:
    assert reach(Address("*", 143)) == ("127.0.0.1", 143)
    assert reach(Address("::", 143)) == ("::1", 143)
    assert reach(Address("192.0.2.1", 143)) == ("192.0.2.1", 143)


def test_start_tells_why_it_failed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rc.main(["-f", str(config), "start"]) == 1
    err = capsys.readouterr().err
    assert "accounts.db is missing" in err and "msadm init" in err
    assert look_up(load(config), "storemgr").pid is None
    control.stop(load(config))


def test_ports_that_are_taken_are_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        if port < 65000:
            assert quickstart._free_port(port, set()) > port


def test_without_a_configuration_the_last_quickstart_is_meant(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(rc, "DEFAULT_CONFIG", tmp_path / "none.conf")
    assert quickstart.last_config() is None
    assert rc.main(["status"]) == rc.NOT_CONFIGURED
    (tmp_path / "data" / "m-store").mkdir(parents=True)
    (tmp_path / "data" / "m-store" / "last-quickstart").write_text(f"{config}\n")
    assert rc.main(["status"]) == rc.NOT_RUNNING


def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((control.Failed, FileExistsError)):
        quickstart.Quickstart(tmp_path / "file").make_directory()


def test_the_environment_gets_what_the_project_asks_for(tmp_path: Path) -> None:
    script = ROOT / "rc" / "environment.py"
    done = subprocess.run(
        [sys.executable, script, "requirements", ROOT, "test"], capture_output=True, text=True, check=True
    )
    names = {line.split(">")[0] for line in done.stdout.splitlines()}
    assert {"gevent", "setproctitle", "pysasl", "libpass", "numpy", "pytest", "ruff", "mypy"} <= names
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    subprocess.run([sys.executable, script, "link", ROOT, tmp_path], check=True)
    assert (packages / "m-store.pth").read_text() == f"{ROOT}\n"
    for name in ("storemgr", "imapd", "pop3d", "lmtpd", "authproxyd", "msadm", "rc.m-store"):
        path = tmp_path / "bin" / name
        assert os.access(path, os.X_OK) and path.read_text().startswith(f"#!{tmp_path}/bin/python\n")


def test_shell_scripts_parse() -> None:
    for name in ("rc/rc.m-store", "rc/environment.sh", "tests/run", ".ci/run"):
        subprocess.run(["sh", "-n", ROOT / name], check=True)


def test_lock_is_not_held_by_the_one_who_asks(config: Path) -> None:
    path = load(config).lock_path("imapd")
    LockFile.take(path).release()
    assert look_up(load(config), "imapd").pid is None
