import time

from mstore.accounts import Accounts
from mstore.auth.authdb import AuthDb
from mstore.auth.mechanism import Sources, make_mechanism, no_tls
from mstore.base.options import Settings
from tests.unit.cli.conftest import Admin


def may_log_in(admin: Admin, name: str, password: bytes) -> bool:
    db = admin.settings.db_path
    return AuthDb.open(db, Accounts(db), Settings()).verify(name, password).ok


def holds(admin: Admin, text: bytes) -> bool:
    return any(text in path.read_bytes() for path in admin.settings.db_path.rglob("*") if path.is_file())


def test_a_user_is_added_with_password_quota_and_mail(admin: Admin) -> None:
    limits = ("--quota", "2G", "--quota-messages", "9")
    output = admin.ok("user", "add", "Joe", "--password-stdin", *limits, text="se cret\r\nrest\n")
    assert output == "added Joe in mailstore main\n"
    (record,) = admin.json("user", "list")
    assert (record["name"], record["quota_bytes"], record["enabled"]) == ("Joe", 2 << 30, True)
    assert record["quota_messages"] == 9
    assert may_log_in(admin, "joe", b"se cret")
    assert not may_log_in(admin, "joe", b"secret")
    assert (admin.settings.mailstores["main"] / record["id"][:2] / record["id"] / "catalog").exists()
    assert "2G" in admin.ok("user", "list")


def test_users_go_round_the_mailstores_or_where_they_are_told(admin: Admin) -> None:
    assert [admin.add(name)["mailstore"] for name in ("a", "b", "c")] == ["main", "second", "main"]
    told = admin.json("user", "add", "d", "--password-stdin", "--mailstore", "main", text="x\n")
    assert told["mailstore"] == "main"
    assert "there are: main, second" in admin.fails("user", "add", "e", "--mailstore", "third")


def test_nobody_is_added_to_a_mailstore_whose_directory_is_missing(admin: Admin) -> None:
    admin.settings.mailstores["second"].rmdir()
    output = admin.fails("user", "add", "joe", "--mailstore", "second", "--password-stdin", text="x\n")
    assert "mail2 is missing; msadm init makes" in output
    assert admin.json("user", "list") == []
    admin.ok("init")
    assert admin.json("user", "add", "joe", "--mailstore", "second", "--password-stdin", text="x\n")


def test_what_cannot_be_added_is_refused_before_a_password_is_asked(admin: Admin) -> None:
    admin.add("joe")
    for name in ("JOE", "joe@example.com"):
        assert "already" in admin.fails("user", "add", name, "--password-stdin")
    assert "cannot contain" in admin.fails("user", "add", "a b", "--password-stdin")
    assert "--quota" in admin.fails("user", "add", "jim", "--quota", "lots", "--password-stdin")
    assert len(admin.json("user", "list")) == 1


def test_bad_passwords_add_nobody(admin: Admin) -> None:
    for text in ("", "\n", "a\tb\n", "x" * 1025 + "\n"):
        assert "password" in admin.fails("user", "add", "joe", "--password-stdin", text=text)
    assert "--password-stdin" in admin.fails("user", "add", "joe")
    assert admin.json("user", "list") == []


def test_a_password_is_changed(admin: Admin) -> None:
    admin.add("joe")
    output = admin.ok("user", "passwd", "JOE", "--password-stdin", text="changed\n")
    assert output == "the password of joe is set\n"
    assert may_log_in(admin, "joe", b"changed")
    assert not may_log_in(admin, "joe", b"secret")
    assert "no user jim" in admin.fails("user", "passwd", "jim", "--password-stdin", text="x\n")


def test_removing_a_user_removes_mail_and_password(admin: Admin) -> None:
    record = admin.add("joe")
    path = admin.settings.mailstores["main"] / record["id"][:2] / record["id"]
    assert path.is_dir()
    assert "--yes" in admin.fails("user", "remove", "joe")
    assert path.is_dir()
    assert admin.ok("user", "remove", "joe", "--yes") == "removed joe\n"
    assert not path.exists()
    assert not may_log_in(admin, "joe", b"secret")
    assert "no user joe" in admin.fails("user", "remove", "joe", "--yes")
    assert admin.add("joe")["id"] != record["id"]


def test_passwords_are_nowhere_in_the_databases(admin: Admin) -> None:
    off = [f"sasl-enable-{name} off\n" for name in ("cram-md5", "digest-md5", "apop")]
    with admin.config.open("a") as file:
        file.writelines(off)
    admin.ok("user", "add", "joe", "--password-stdin", text="correcthorse\n")
    assert not holds(admin, b"correcthorse")


def test_passwords_are_kept_while_a_mechanism_needs_them(admin: Admin) -> None:
    admin.ok("user", "add", "joe", "--password-stdin", text="correcthorse\n")
    assert holds(admin, b"correcthorse")
    off = [f"sasl-enable-{name} off\n" for name in ("cram-md5", "digest-md5", "apop")]
    with admin.config.open("a") as file:
        file.writelines(off)
    admin.ok("user", "add", "ann", "--password-stdin", text="x\n")
    assert not holds(admin, b"correcthorse")
    assert may_log_in(admin, "joe", b"correcthorse")


def test_a_user_is_moved_to_another_mailstore(admin: Admin) -> None:
    record = admin.add("joe")
    admin.ok("mailbox", "create", "joe", "Lists")
    assert admin.ok("user", "move", "JOE", "second") == "moved joe from mailstore main to second\n"
    assert admin.json("user", "list")[0]["mailstore"] == "second"
    assert (admin.settings.mailstores["second"] / record["id"][:2] / record["id"] / "catalog").exists()
    assert "Lists" in admin.ok("mailbox", "list", "joe")
    assert admin.ok("user", "move", "joe", "second") == "joe is in mailstore second already\n"
    assert "1 account checked, no problems" in admin.ok("check")
    assert admin.json("user", "move", "joe", "main") == {"name": "joe", "from": "second", "to": "main"}
    assert "1 account checked, no problems" in admin.ok("check")


def test_the_shared_mailboxes_go_where_the_policy_says_and_are_moved(admin: Admin) -> None:
    assert "there are no shared mailboxes" in admin.fails("user", "move", "shared/", "main")
    with admin.config.open("a") as file:
        file.write("ms-assignment-policy match shared second\n")
    admin.ok("mailbox", "create", "shared/bugs")
    directory = "00/0000000000000001"
    assert (admin.settings.mailstores["second"] / directory / "catalog").exists()
    assert admin.ok("user", "move", "shared/", "main") == "moved shared/ from mailstore second to main\n"
    assert (admin.settings.mailstores["main"] / directory / "catalog").exists()
    assert not (admin.settings.mailstores["second"] / directory).exists()
    assert admin.ok("user", "move", "shared/", "main") == "shared/ is in mailstore main already\n"
    assert [found["name"] for found in admin.json("mailbox", "list", "shared/")] == ["shared/bugs"]
    assert "no problems" in admin.ok("check")


def test_a_move_that_cannot_be_is_refused(admin: Admin) -> None:
    admin.add("joe")
    assert "there are: main, second" in admin.fails("user", "move", "joe", "third")
    assert "no user jim" in admin.fails("user", "move", "jim", "second")


def test_a_move_that_was_interrupted_is_found_and_finished(admin: Admin) -> None:
    record = admin.add("joe")
    shard = admin.settings.mailstores["main"] / record["id"][:2]
    (shard / record["id"]).rename(shard / f"moved-{record['id']}")
    assert "msadm user move NAME MAILSTORE finishes it" in admin.fails("check")
    assert "moved joe" in admin.ok("user", "move", "joe", "second")
    assert "no problems" in admin.ok("check")


SHA512 = (
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLi"
    "BFdcbYEdFCoEOfaS35inz1"
)
"""Of "Hello world!", as published with the specification of the scheme."""


def test_a_hash_made_elsewhere_is_taken(admin: Admin) -> None:
    admin.ok("user", "add", "joe", "--hash", SHA512)
    (record,) = admin.json("user", "list")
    assert record["password"] == "sha512-crypt"
    assert may_log_in(admin, "joe", b"Hello world!")
    assert not may_log_in(admin, "joe", b"Hello world")
    admin.ok("user", "passwd", "joe", "--hash", "-", text="{ssha}" + "0MMC3EHhgcxfdHGpFzhd3gvYDe5zYWx6\n")
    assert admin.json("user", "list")[0]["password"] == "ssha"
    assert "none of the forms" in admin.fails("user", "passwd", "joe", "--hash", "secret")
    assert "--password-stdin" in admin.fails(
        "user", "passwd", "joe", "--hash", SHA512, "--password-stdin", text="x\n"
    )


def test_a_hash_that_was_taken_is_made_anew_at_the_first_login(admin: Admin) -> None:
    admin.ok("user", "add", "joe", "--hash", SHA512)
    db = admin.settings.db_path
    mechanism = make_mechanism(Sources(admin.settings, Accounts(db), no_tls))
    assert not mechanism.verify("joe", b"wrong").ok
    assert admin.json("user", "list")[0]["password"] == "sha512-crypt"
    assert mechanism.verify("joe", b"Hello world!").ok
    assert admin.json("user", "list")[0]["password"] == "argon2id"
    assert mechanism.verify("joe", b"Hello world!").ok
    assert holds(admin, b"Hello world!")


def test_app_passwords_are_made_listed_and_taken_back(admin: Admin) -> None:
    admin.add("joe")
    made = admin.json("user", "app-password", "add", "joe", "my phone")
    assert made["label"] == "my phone" and len(made["password"]) == 19
    assert may_log_in(admin, "joe", made["password"].encode())
    assert may_log_in(admin, "joe", made["password"].replace("-", "").upper().encode())
    assert not holds(admin, made["password"].replace("-", "").encode())
    numbered = admin.json("user", "app-password", "add", "joe", "--service", "imap")
    assert numbered["label"] == "1" and numbered["services"] == ["imap"]
    assert not may_log_in(admin, "joe", numbered["password"].encode())
    first, second = admin.json("user", "app-password", "list", "joe")
    assert (first["label"], first["services"], first["last_used"]) == ("1", ["imap"], None)
    assert second["last_used"] in (second["made"], time.strftime("%Y-%m-%d", time.gmtime()))  # past midnight
    assert "my phone" in admin.ok("user", "app-password", "list", "joe")
    assert "already" in admin.fails("user", "app-password", "add", "joe", "my phone")
    assert "label" in admin.fails("user", "app-password", "add", "joe", "my\tphone")
    admin.ok("user", "app-password", "remove", "joe", "my phone")
    assert not may_log_in(admin, "joe", made["password"].encode())
    assert "no app password" in admin.fails("user", "app-password", "remove", "joe", "my phone")
    assert may_log_in(admin, "joe", b"secret")


def test_an_app_password_is_shown_alone_on_standard_output(admin: Admin) -> None:
    admin.add("joe")
    result = admin.run("user", "app-password", "add", "joe")
    assert len(result.stdout) == 20 and "not shown again" in result.stderr
