"""The mechanism kerberos5 against Debian's krb5-kdc, with a realm of the test's own on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mstore.base.errors import Unavailable
from tests.kit.asking import ask
from tests.kit.instance import ROOT, Instance, free_port, runtime_user, title, wait_for

SBIN = "/usr/sbin:/usr/local/sbin"
KDC = shutil.which("krb5kdc", path=SBIN)


def has_gssapi() -> bool:
    try:
        import gssapi  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs the superuser, who gives a keytab away"),
    pytest.mark.skipif(KDC is None, reason="krb5-kdc is not installed"),
    pytest.mark.skipif(not has_gssapi(), reason="the extra kerberos (gssapi) is not installed"),
]

REALM = "TEST.EXAMPLE"
PRINCIPAL = "imap/mail.test.example"

_KRB5 = """\
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    default_ccache_name = FILE:{path}/ccache-%{{uid}}
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
"""

_KDC = """\
[kdcdefaults]
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    {realm} = {{
        database_name = {path}/principal
        key_stash_file = {path}/stash
        acl_file = {path}/acl
        supported_enctypes = aes256-cts:normal
    }}
[logging]
    kdc = FILE:{path}/kdc.log
"""


class Realm:
    """A realm with a KDC; another of the same name takes its place when it has the same port."""

    def __init__(self, path: Path, port: int) -> None:
        self.path, self.port = path, port
        path.mkdir(mode=0o755)
        for name, text in (("krb5.conf", _KRB5), ("kdc.conf", _KDC)):
            (path / name).write_text(text.format(realm=REALM, path=path, port=port))
        self.environment = {
            **os.environ,
            "KRB5_CONFIG": str(path / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(path / "kdc.conf"),
        }
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        log = self.path / "kdc.log"
        log.write_text("")
        self.process = subprocess.Popen([KDC or "", "-n", "-r", REALM], env=self.environment)
        wait_for(lambda: "commencing operation" in log.read_text(), 20, log.read_text)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def admin(self, command: str) -> str:
        return self._run("kadmin.local", "-r", REALM, "-q", command)

    def write_keytab(self, path: Path) -> None:
        self.admin(f"addprinc -randkey {PRINCIPAL}")
        self.admin(f"ktadd -k {path} {PRINCIPAL}")

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [shutil.which(program, path=SBIN) or program, *arguments],
            env=self.environment, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} {arguments}: {done.stdout}{done.stderr}"
        return done.stdout


class Kerberized(Instance):
    """A message store whose programs know the realm."""

    realm: Realm | None = None

    def environment(self) -> dict[str, str]:
        found = super().environment()
        if self.realm is not None:
            found["KRB5_CONFIG"] = self.realm.environment["KRB5_CONFIG"]
        return found


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="krb-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def realm(directory: Path) -> Iterator[Realm]:
    made = Realm(directory / "realm", free_port())
    try:
        made.admin("addprinc -pw secret joe")
        made.admin("addprinc +requires_preauth -pw secret ann")
        made.write_keytab(directory / "imap.keytab")
        user = runtime_user()
        os.chown(directory / "imap.keytab", user.pw_uid, user.pw_gid)
        made.start()
        yield made
    finally:
        made.stop()
        print((made.path / "kdc.log").read_text()[-3000:])


@pytest.fixture
def make_kerberized(realm: Realm, directory: Path) -> Iterator[Callable[..., Kerberized]]:
    made: list[Kerberized] = []

    def make(users: list[str], *options: str, mechanism: str = "kerberos5") -> Kerberized:
        keytab = f"authproxy-kerberos-keytab {directory}/imap.keytab"
        store = Kerberized(users, [f"authproxy-authmech {mechanism}", keytab, *options])
        store.realm = realm
        made.append(store)
        return store

    yield make
    for store in made:
        store.destroy()


def traces() -> set[str]:
    """What Kerberos leaves behind in places for temporary files."""
    return {str(path) for place in ("/tmp", "/var/tmp") for path in Path(place).glob("krb5*")}


def test_a_password_is_right_when_a_ticket_can_be_had_with_it(
    make_kerberized: Callable[..., Kerberized], realm: Realm, directory: Path
) -> None:
    before = traces()
    store = make_kerberized(["joe", "ann", "jim"])
    with store:
        for name in ("joe", "ann"):
            client = store.imap(name)
            client.logout()
            assert not ask(store, name, "wrong").ok
        assert not ask(store, "jim", "secret").ok, "he has an account and is not in the realm"
        pid = store.daemon_pid("authproxyd")
        assert "[kerberos5, " in title(pid) and "superuser" not in title(pid)
        realm.admin("modprinc -allow_tix joe")
        assert not ask(store, "joe", "secret").ok
        realm.admin("modprinc -expire 2020-01-01 ann")
        assert not ask(store, "ann", "secret").ok
        realm.admin("addprinc -pw secret -pwexpire 2020-01-01 jim")
        assert not ask(store, "jim", "secret").ok
    assert traces() == before
    assert not list(realm.path.glob("ccache-*")), "tickets were written to a file"


def test_kerberos4_is_another_name_for_it(make_kerberized: Callable[..., Kerberized]) -> None:
    store = make_kerberized(["joe"], mechanism="kerberos4")
    with store:
        assert ask(store, "joe", "secret").ok and not ask(store, "joe", "wrong").ok


def test_a_server_in_the_place_of_the_realms_cannot_let_anybody_in(
    make_kerberized: Callable[..., Kerberized], realm: Realm, directory: Path
) -> None:
    store = make_kerberized(["joe"])
    store.tolerated.append("event=login-unavailable .*kerberos5: ")
    other = Realm(directory / "other", realm.port)
    other.admin("addprinc -pw chosen joe")
    other.write_keytab(directory / "other.keytab")
    with store:
        assert ask(store, "joe", "secret").ok
        realm.stop()
        other.start()
        try:
            with pytest.raises(Unavailable):
                ask(store, "joe", "chosen")
        finally:
            other.stop()
        assert "the ticket is not for our key" in store.log_text()


def test_a_realm_that_does_not_answer_is_no_wrong_password(
    make_kerberized: Callable[..., Kerberized], realm: Realm
) -> None:
    store = make_kerberized(["joe"])
    store.tolerated.append("event=login-unavailable .*kerberos5: ")
    with store:
        realm.stop()
        with pytest.raises(Unavailable):
            ask(store, "joe", "secret")


def test_a_keytab_that_cannot_be_used_is_refused_at_the_start(
    make_kerberized: Callable[..., Kerberized], directory: Path
) -> None:
    store = make_kerberized(["joe"])
    assert store.rc("configtest").returncode == 0
    keytab = directory / "imap.keytab"
    os.chown(keytab, 0, 0)
    keytab.chmod(0o600)
    process = store.spawn("storemgr")
    assert process.wait(30) != 0
    assert f"authproxy-kerberos-keytab: no key of {PRINCIPAL} in FILE:{keytab}" in store.log_text()
    keytab.unlink()
    done = store.rc("configtest", check=False)
    assert done.returncode == 1 and f"no key of {PRINCIPAL}" in done.stderr


def test_the_realm_of_another_domain_is_asked_by_its_own_name(realm: Realm, directory: Path) -> None:
    script = (
        "from mstore.auth.mechanisms.kerberos import *; import sys;"
        f"k = Kerberos(load_gssapi(), '{PRINCIPAL}', 'FILE:{directory}/imap.keytab');"
        "print(k.verify('joe@test.example', b'secret').ok, k.verify('joe@test.example', b'wrong').ok)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=realm.environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", "False"], done.stderr
