import time
from pathlib import Path
from typing import Any

import pytest

from mstore.accounts import Accounts, LoginRules
from mstore.accounts.database import ACCOUNTS, PASSWORDS, create_database
from mstore.accounts.keys import Keys
from mstore.accounts.passwords import Passwords
from mstore.accounts.verifier import setting_of
from mstore.auth import crypt
from mstore.auth.apppassword import digest, make_app_password, normalise
from mstore.auth.authdb import AuthDb
from mstore.auth.keying import Keymaker
from mstore.auth.mechanism import Sources, make_mechanism, no_tls
from mstore.auth.scheme import Scheme
from mstore.base.errors import Exists, Invalid, LimitReached, Unavailable
from mstore.base.ids import AccountId
from mstore.base.options import Settings
from tests.kit.loglines import logged


class Counting(Scheme):
    """Counts what it checks."""

    def __init__(self) -> None:
        super().__init__()
        self.checked: list[str] = []

    def verify(self, password: bytes, verifier: str) -> bool:
        self.checked.append(verifier)
        return super().verify(password, verifier)


class Site:
    def __init__(self, path: Path, remembered_s: float = 600) -> None:
        create_database(path, ACCOUNTS, 0o600)
        create_database(path, PASSWORDS, 0o600)
        self.accounts = Accounts(path)
        self.passwords = Passwords(path)
        self.scheme = Counting()
        self.record = self.accounts.add("joe", "main")
        self.set_password(b"secret")
        self.authdb = AuthDb(Passwords(path), self.accounts, Keymaker(scheme=self.scheme), remembered_s)

    def set_password(self, password: bytes) -> None:
        self.passwords.set_keys(self.record.id, Keys(self.scheme.hash(password)))

    def ok(self, login: str, password: bytes) -> bool:
        return self.authdb.verify(login, password).ok


def test_right_and_wrong_passwords(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.ok("Joe", b"secret")
    for password in (b"Secret", b"secret ", b"", b"x" * 4000, b"sec\0ret", b"\xff\xfe"):
        assert not site.ok("joe", password)


def test_who_is_wrong_is_not_told_what_was(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.authdb.verify("joe", b"wrong") == site.authdb.verify("nobody", b"wrong")


def test_an_unknown_name_costs_a_hash_with_the_same_parameters(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.ok("nobody", b"x")
    site.ok("joe", b"wrong")
    unknown, wrong = site.scheme.checked
    assert unknown.split("$")[:4] == wrong.split("$")[:4]
    assert unknown.startswith("$argon2id$")


def test_a_right_password_is_hashed_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for _ in range(3):
        assert site.ok("joe", b"secret")
    assert len(site.scheme.checked) == 1
    assert not site.ok("joe", b"other")
    assert len(site.scheme.checked) == 2
    assert site.ok("joe", b"secret")
    assert len(site.scheme.checked) == 2


def test_a_new_password_ends_what_was_remembered(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.ok("joe", b"secret")
    site.set_password(b"changed")
    assert not site.ok("joe", b"secret")
    assert site.ok("joe", b"changed")


def test_what_is_remembered_ends_by_itself(tmp_path: Path) -> None:
    site = Site(tmp_path, remembered_s=0.05)
    assert site.ok("joe", b"secret")
    time.sleep(0.06)
    assert site.ok("joe", b"secret")
    assert len(site.scheme.checked) == 2


def test_a_disabled_account_cannot_log_in_with_what_is_remembered(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.ok("joe", b"secret")
    Accounts(tmp_path).set_enabled(site.record, False)
    assert not site.ok("joe", b"secret")


def test_an_account_without_a_password_cannot_log_in(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.passwords.remove(site.record.id)
    assert not site.ok("joe", b"secret")
    assert not site.ok("joe", b"")


def test_the_password_itself_is_nowhere_in_memory_of_the_mechanism(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.set_password(b"correcthorse")
    assert site.ok("joe", b"correcthorse")
    assert b"correcthorse" not in repr(site.authdb._remembered).encode()
    assert b"correcthorse" not in (tmp_path / "passwords" / "passwords.db").read_bytes()


@pytest.mark.parametrize("verifier", ["", "x", "$argon2id$", "{PLAIN}secret", "$2b$12$" + "x" * 53])
def test_a_verifier_that_cannot_be_read_fits_nothing(verifier: str) -> None:
    assert not Scheme().verify(b"secret", verifier)


def test_the_mechanism_of_the_configuration_is_made(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    site = Site(tmp_path / "db")
    mechanism = make_mechanism(Sources(Settings(ms_path=tmp_path), site.accounts, no_tls))
    assert mechanism.verify("joe", b"secret").ok
    mechanism.close()


def test_a_missing_database_is_told_when_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"passwords\.db"):
        make_mechanism(Sources(Settings(ms_path=tmp_path), Accounts(tmp_path / "db"), no_tls))


def old_verifier(password: bytes) -> str:
    return crypt.make(password, "$6$", 1000)


def full(path: Path, **settings: Any) -> tuple[AuthDb, Accounts, Passwords]:
    """The mechanism as authproxyd opens it."""
    for schema in (ACCOUNTS, PASSWORDS):
        create_database(path, schema, 0o600)
    (path / "mail").mkdir()
    accounts = Accounts(path, LoginRules("example.com"), None, {"main": path / "mail"})
    return AuthDb.open(path, accounts, Settings(scram_iterations=4096, **settings)), accounts, Passwords(path)


def test_old_keys_are_made_anew_behind_a_right_login(tmp_path: Path) -> None:
    authdb, accounts, passwords = full(tmp_path)
    record = accounts.add("joe", "main")
    passwords.set_keys(record.id, Keys(old_verifier(b"secret")))
    assert not authdb.verify("joe", b"wrong").ok
    assert (keys := passwords.keys(record.id)) is not None and keys.verifier.startswith("$6$")
    assert authdb.verify("joe", b"secret").ok
    keys = passwords.keys(record.id)
    assert keys is not None and keys.verifier.startswith("$argon2id$") and keys.secret == b"secret"
    assert set(keys.scram) == {"SHA-256"}
    assert authdb._is_remembered(record.id, b"secret", keys.verifier)
    assert authdb.verify("joe", b"secret").ok and not authdb.verify("joe", b"wrong").ok
    assert passwords.keys(record.id) == keys


def test_a_password_that_changed_meanwhile_is_not_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authdb, accounts, passwords = full(tmp_path)
    record = accounts.add("joe", "main")
    passwords.set_keys(record.id, Keys(old_verifier(b"secret")))
    later: list[Any] = []
    monkeypatch.setattr("mstore.auth.authdb.blocking.spawn", lambda *call: later.append(call))
    for _ in range(3):
        assert authdb.verify("joe", b"secret").ok
    assert len(later) == 1
    passwords.set_keys(record.id, Keys(old_verifier(b"changed")))
    for function, *arguments in later:
        function(*arguments)
    assert authdb.verify("joe", b"changed").ok and not authdb.verify("joe", b"secret").ok


def test_a_password_of_which_bcrypt_saw_only_a_part_is_not_made_anew(tmp_path: Path) -> None:
    authdb, accounts, passwords = full(tmp_path)
    record = accounts.add("joe", "main")
    verifier = crypt.make(b"x" * 80, "$2b$", 4)
    passwords.set_keys(record.id, Keys(verifier))
    assert authdb.verify("joe", b"x" * 72 + b"mistyped").ok
    assert passwords.keys(record.id) == Keys(verifier)


def test_passwords_that_no_mechanism_needs_are_forgotten_at_the_start(tmp_path: Path) -> None:
    authdb, accounts, passwords = full(tmp_path)
    authdb.enroll("joe", b"secret")
    record = accounts.find("joe")
    assert record is not None and (keys := passwords.keys(record.id)) and keys.secret == b"secret"
    authdb.close()
    off = {"cram-md5": False, "digest-md5": False, "apop": False}
    AuthDb.open(tmp_path, accounts, Settings(scram_iterations=4096, sasl_enable=off)).close()
    assert (keys := passwords.keys(record.id)) and keys.secret is None


def test_every_refusal_costs_one_check_of_each_setting(tmp_path: Path) -> None:
    site = Site(tmp_path)
    old, off = site.accounts.add("old", "main"), site.accounts.add("off", "main")
    site.accounts.add("bare", "main")
    bcrypt = site.accounts.add("bcrypt", "main")
    site.passwords.set_keys(old.id, Keys(old_verifier(b"x")))
    site.passwords.set_keys(off.id, Keys(site.scheme.hash(b"x")))
    site.passwords.set_keys(bcrypt.id, Keys(crypt.make(b"x", "$2b$", 4)))
    site.accounts.set_enabled(off, False)
    costs = []
    for login in ("joe", "old", "off", "bare", "bcrypt", "nobody", "x" * 2000, ""):
        site.scheme.checked.clear()
        assert not site.ok(login, b"wrong")
        costs.append(sorted(setting_of(verifier) for verifier in site.scheme.checked))
    assert costs == [costs[0]] * 8
    assert costs[0] == ["$2b$04", "$6$rounds=1000$", "$argon2id$v=19$m=19456,t=2,p=1"]


def test_an_app_password_counts_beside_the_password(tmp_path: Path) -> None:
    site = Site(tmp_path)
    made = make_app_password()
    letters = normalise(made.encode())
    assert letters is not None and len(letters) == 16
    kept = digest(site.passwords.site_key(), site.record.id, letters)
    site.passwords.add_app(site.record.id, "phone", kept, ("imap",))
    verify, today = site.authdb.verify, int(time.time()) // 86_400
    with logged() as lines:
        assert verify("joe", made.encode(), "192.0.2.1", "imap").ok
        assert verify("joe", made.upper().replace("-", " ").encode(), service="imapd").ok
    assert site.scheme.checked == []
    used = {"event": "app-password-used", "user": "joe", "label": "phone"}
    assert lines == [("info", {**used, "peer": "192.0.2.1"}), ("info", used)]
    (app,) = site.passwords.apps(site.record.id)
    assert app.used_day in (today, int(time.time()) // 86_400)
    for service in ("", "pop3", "pop3d"):
        assert not verify("joe", made.encode(), service=service).ok
    assert verify("joe", b"secret").ok
    other = site.accounts.add("ann", "main")
    site.passwords.add_app(other.id, "phone", kept, ())
    assert not verify("ann", made.encode()).ok
    site.accounts.set_enabled(site.record, False)
    assert not verify("joe", made.encode(), service="imap").ok


def test_what_cannot_be_an_app_password() -> None:
    for wrong in (b"", b"secret", b"x" * 17, b"abcd-efgh-ijkm-npq", b"abcd-efgh-ijkm-npq0", b"-" * 16):
        assert normalise(wrong) is None
    assert len({make_app_password() for _ in range(100)}) == 100


def test_enrolling_makes_an_account_with_all_keys(tmp_path: Path) -> None:
    authdb, accounts, passwords = full(tmp_path)
    assert not authdb.knows("Joe@Example.com")
    authdb.enroll("Joe@Example.com", b"secret")
    record = accounts.find("joe")
    assert record is not None and (record.name, record.mailstore) == ("joe", "main")
    assert authdb.knows("JOE") and authdb.verify("joe", b"secret").ok
    keys = passwords.keys(record.id)
    assert keys is not None and set(keys.scram) == {"SHA-256"}
    with pytest.raises(Exists):
        authdb.enroll("joe", b"other")
    assert passwords.keys(record.id) == keys and passwords.count() == 1


def test_enrolling_gives_keys_to_an_account_that_has_none(tmp_path: Path) -> None:
    authdb, accounts, passwords = full(tmp_path)
    record = accounts.add("joe", "main")
    assert not authdb.knows("joe")
    authdb.enroll("joe", b"secret")
    assert authdb.knows("joe") and authdb.verify("joe", b"secret").ok
    off = accounts.add("off", "main")
    accounts.set_enabled(off, False)
    assert authdb.knows("off")
    with pytest.raises(Exists):
        authdb.enroll("off", b"secret")
    assert passwords.keys(off.id) is None and passwords.keys(record.id) is not None


def test_of_two_who_enroll_one_makes_the_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authdb, accounts, passwords = full(tmp_path)
    set_keys = Passwords.set_keys

    def be_slower(self: Passwords, account_id: AccountId, keys: Keys) -> None:
        monkeypatch.setattr(Passwords, "set_keys", set_keys)
        authdb.enroll("joe", b"secret")
        set_keys(self, account_id, keys)

    monkeypatch.setattr(Passwords, "set_keys", be_slower)
    with pytest.raises(Exists):
        authdb.enroll("joe", b"secret")
    assert len(accounts.list()) == 1 and passwords.count() == 1
    assert authdb.verify("joe", b"secret").ok


def test_who_cannot_be_enrolled_leaves_nothing(tmp_path: Path) -> None:
    authdb, accounts, passwords = full(tmp_path)
    for login, password in (("a b", b"secret"), ("joe", b""), ("joe", b"a\0b"), ("x" * 300, b"secret")):
        with pytest.raises((Invalid, LimitReached)):
            authdb.enroll(login, password)
    assert accounts.list() == [] and passwords.count() == 0


def test_without_a_cache_each_login_costs_a_hash(tmp_path: Path) -> None:
    site = Site(tmp_path, remembered_s=0)
    for _ in range(2):
        assert site.ok("joe", b"secret")
    assert len(site.scheme.checked) == 2 and not site.authdb._remembered
