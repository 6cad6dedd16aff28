"""The table of mechanisms, those that a site adds, and what each says before it is used."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mstore.accounts import Accounts
from mstore.accounts.database import ACCOUNTS, PASSWORDS, create_database
from mstore.auth.authdb import AuthDb
from mstore.auth.bounded import MOST_WAITING, Bounded
from mstore.auth.client import Accepted, AuthClient, Facts, Refused
from mstore.auth.driver import Sources, no_tls
from mstore.auth.mechanism import (
    MECHANISMS,
    available_mechanisms,
    check_mechanisms,
    find_driver,
    keeps_superuser,
    make_mechanism,
)
from mstore.auth.server import version_text
from mstore.base import blocking, config, loginoptions
from mstore.base.errors import Invalid, Unavailable
from mstore.base.options import Settings

ROOT = Path(__file__).resolve().parents[3]
ROOT_NEEDS = "runtime-user root\n" if os.geteuid() == 0 else ""

DOCS = (ROOT / "docs" / "authentication.md").read_text()
MODULE = (
    DOCS.partition("```python\n")[2].partition("```")[0]
    + """
broken = object()
raises = Driver(lambda sources: 1 / 0)
needy = Driver(make, needs_superuser=True, missing=lambda: "no library")
"""
)
NAMES = """\
members = sitemech:driver
broken = sitemech:broken
raises = sitemech:raises
needy = sitemech:needy
absent = nosuch:driver
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the module of a site, as if it were installed."""
    path = tmp_path / "site"
    info = path / "sitemech-1.dist-info"
    info.mkdir(parents=True)
    (path / "sitemech.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sitemech\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[mstore.authmech]\n{NAMES}")
    monkeypatch.syspath_prepend(str(path))
    monkeypatch.delitem(sys.modules, "sitemech", raising=False)
    return path


def settings(path: Path, *lines: str) -> Settings:
    text = f"{ROOT_NEEDS}ms-path {path}\nmailstore main {path}/mail\n" + "\n".join(lines)
    return config.parse(path / "ms.conf", text)


def test_every_mechanism_that_options_name_is_there() -> None:
    assert set(MECHANISMS) == set(loginoptions.MECHANISMS)
    assert MECHANISMS["kerberos4"] is MECHANISMS["kerberos5"]
    assert {name for name, driver in MECHANISMS.items() if driver.needs_superuser} == {"pam", "shadow"}


def test_superuser_rights_are_kept_for_the_mechanism_and_for_the_old_one(tmp_path: Path) -> None:
    assert not keeps_superuser(settings(tmp_path))
    assert not keeps_superuser(settings(tmp_path, "authproxy-legacy-authmech getpwent"))
    assert keeps_superuser(settings(tmp_path, "authproxy-authmech shadow"))
    assert keeps_superuser(settings(tmp_path, "authproxy-legacy-authmech pam"))


def test_authdb_alone_is_asked_directly(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    for schema in (ACCOUNTS, PASSWORDS):
        create_database(tmp_path / "db", schema, 0o600)
    found = settings(tmp_path)
    mechanism = make_mechanism(Sources(found, Accounts(found.db_path)))
    assert type(mechanism) is AuthDb
    mechanism.close()


def test_a_sites_own_mechanism(added: Path, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    create_database(tmp_path / "db", ACCOUNTS, 0o600)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "members").write_text("joe secret\nann secret\n")
    found = settings(tmp_path, "authproxy-authmech members")
    assert check_mechanisms(found) == []
    accounts = Accounts(found.db_path)
    accounts.add("joe", "main")
    mechanism = make_mechanism(Sources(found, accounts))
    assert mechanism.verify("joe", b"secret").ok
    assert not mechanism.verify("joe", b"wrong").ok
    assert not mechanism.verify("ann", b"secret").ok, "she has no account"
    mechanism.close()


def test_what_is_wrong_with_a_sites_mechanism_is_told(added: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="broken: sitemech:broken is not a mstore"):
        find_driver("broken")
    with pytest.raises(Invalid, match="absent: nosuch:driver cannot be loaded: ModuleNotFoundError"):
        find_driver("absent")
    with pytest.raises(Invalid, match="mechanism nosuch; there are: absent, authdb, broken"):
        find_driver("nosuch")
    assert check_mechanisms(settings(tmp_path, "authproxy-authmech needy")) == [
        "authproxy-authmech: the mechanism needy is not available here: no library"
    ]
    found = available_mechanisms()
    assert found["members"] == "" and found["needy"] == "no library" and "cannot be loaded" in found["absent"]
    text = version_text()
    assert text.startswith("M-Store authproxyd ") and text.endswith("\n")
    lines = dict(line.rsplit(": ", 1) if "not available" not in line else line.split(": ", 1)
                 for line in text.splitlines()[1:])  # fmt: skip
    assert "members" in lines["authentication mechanisms"].split()
    assert "needy" not in lines["authentication mechanisms"].split()
    assert "shadow" in lines["run as the superuser"].split()
    assert "not available here: needy: no library" in text


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("authproxy-authmech raises", "ZeroDivisionError"),
        ("authproxy-authmech needy", "is not available here: no library"),
        ("authproxy-authmech member", "did you mean members?"),
        ("authproxy-authmech authdb\nauthproxy-legacy-authmech broken", "is not a mstore.auth.driver.Driver"),
    ],
)
def test_authproxyd_refuses_to_start_and_says_why(
    added: Path, tmp_path: Path, line: str, said: str
) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "mail").mkdir()
    for schema in (ACCOUNTS, PASSWORDS):
        create_database(tmp_path / "db", schema, 0o600)
    path = tmp_path / "ms.conf"
    path.write_text(f"{ROOT_NEEDS}ms-path {tmp_path}\nmailstore main {tmp_path}/mail\n{line}\n")
    done = subprocess.run(
        [sys.executable, "-m", "workers.authproxyd", "-f", str(path)],
        capture_output=True, text=True, cwd=ROOT, timeout=60, env={**os.environ, "PYTHONPATH": str(added)},
    )  # fmt: skip
    assert done.returncode == 78, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr


def test_authproxyd_answers_by_a_sites_own_mechanism(added: Path, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "mail").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "members").write_text("joe se cret\n")
    for schema in (ACCOUNTS, PASSWORDS):
        create_database(tmp_path / "db", schema, 0o600)
    Accounts(tmp_path / "db").add("joe", "main")
    path = tmp_path / "ms.conf"
    lines = [f"ms-path {tmp_path}", f"mailstore main {tmp_path}/mail", "authproxy-authmech members"]
    path.write_text(ROOT_NEEDS + "\n".join(lines) + "\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.authproxyd", "-f", str(path)],
        stderr=subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(added)},
    )  # fmt: skip
    try:
        client = AuthClient(tmp_path / "ipc" / "authproxyd-sasl", absent_s=60)
        facts = Facts("imap", "127.0.0.1", "mail.example.org")
        assert client.check_password(b"joe", b"se cret", facts) == Accepted("joe", "joe")
        assert isinstance(client.check_password(b"joe", b"wrong", facts), Refused)
        (tmp_path / "etc" / "members").unlink()
        with pytest.raises(Unavailable):
            client.check_password(b"joe", b"se cret", facts)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and b"Traceback" not in errors
    assert b"members: [Errno 2]" in errors and b"cret" not in errors.replace(b"secret", b"")


def test_nobody_starts_tls_where_it_is_not_to_be_had() -> None:
    with pytest.raises(OSError, match="TLS"):
        no_tls(None, "host")


# what waits for others


def test_work_of_a_kind_goes_to_the_threads_of_that_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recording(blocking.Plain):
        def __init__(self) -> None:
            self.calls: list[tuple[str, int]] = []

        def call_apart(self, kind, limit, function, *args):  # type: ignore[no-untyped-def]
            self.calls.append((kind, limit))
            return function(*args)

    waiting = Recording()
    monkeypatch.setattr(blocking, "_waiting", waiting)
    assert Bounded("pam", 7).call(lambda a, b: a + b, 1, 2) == 3
    assert waiting.calls == [("pam", 7)]


def test_who_would_wait_for_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(blocking.Plain):
        def call_apart(self, kind, limit, function, *args):  # type: ignore[no-untyped-def]
            time.sleep(0.05)
            return function(*args)

    monkeypatch.setattr(blocking, "_waiting", Late())
    done: list[int] = []
    with pytest.raises(Unavailable, match="pam: too slow"):
        Bounded("pam", 1, patience_s=0.01).call(done.append, 1)
    assert not done
    bounded = Bounded("pam", 1, patience_s=40)
    bounded.call(done.append, 1)
    assert done == [1]
    bounded._under_way = MOST_WAITING + 1
    with pytest.raises(Unavailable, match="pam: too many"):
        bounded.call(done.append, 1)
    assert done == [1]
