import os
from pathlib import Path

import pytest

from mstore.base import config
from mstore.base.config import ConfigErrors, Problem
from mstore.base.options import Settings, declared
from mstore.base.values import Address, AssignmentRule

PATH = Path("ms.conf")
ROOT_NEEDS = "" if os.geteuid() else "runtime-user root\n"


def parse(text: str) -> Settings:
    return config.parse(PATH, ROOT_NEEDS.replace("\n", " \n") + text)


def problems(text: str) -> list[Problem]:
    """What is wrong with a text whose first line is line 1, also for the superuser."""
    with pytest.raises(ConfigErrors) as raised:
        config.parse(PATH, text + "\n" + ROOT_NEEDS)
    return raised.value.problems


def test_smallest_configuration_has_the_documented_defaults() -> None:
    settings = parse("mailstore main /mail")
    assert settings.mailstores == {"main": Path("/mail")}
    assert settings.ms_path == Path("/var/md/store")
    assert settings.executable_base_path == Path("/usr/local/md")
    assert settings.imapd_listen == (Address("*", 143),)
    assert settings.pop3d_listen == (Address("*", 110),)
    assert settings.imapd_tls_listen == () and settings.pop3d_tls_listen == ()
    assert settings.cleartext_login_enable is True
    assert settings.authproxy_authmech == "authdb" and settings.authproxy_pam_service == "imap"
    assert settings.lmtp_shared_name == "shared"
    assert settings.lmtp_enable_overquota_delivery is False and settings.allow8bitheaders is False
    assert settings.password_scheme == "argon2id"
    assert settings.imapd_workers == len(os.sched_getaffinity(0))
    assert settings.services() == ("authproxyd", "imapd", "pop3d", "lmtpd")
    assert settings.ipc_path("lmtpd") == Path("/var/md/store/ipc/lmtpd")
    assert settings.lock_path("imapd") == Path("/var/md/store/run/imapd.lock")


def test_blank_lines_and_comments_are_ignored() -> None:
    text = "\n  \n# a comment\n   # another\nmailstore main /mail\n"
    assert parse(text).mailstores == {"main": Path("/mail")}


def test_mailstore_may_be_repeated_and_quoted() -> None:
    settings = parse('mailstore a /a\nmailstore b "/with a blank"')
    assert settings.mailstores == {"a": Path("/a"), "b": Path("/with a blank")}


@pytest.mark.parametrize(
    ("word", "value"),
    [("yes", True), ("on", True), ("t", True), ("1", True), ("ON", True),
     ("no", False), ("off", False), ("f", False), ("0", False)],
)  # fmt: skip
def test_booleans(word: str, value: bool) -> None:
    settings = parse(f"mailstore a /a\ncleartext-login-enable {word}")
    assert settings.cleartext_login_enable is value


def test_allow8bitheaders_alone_means_on() -> None:
    assert parse("mailstore a /a\nallow8bitheaders").allow8bitheaders is True
    assert parse("mailstore a /a\nallow8bitheaders off").allow8bitheaders is False


def test_boolean_without_a_value_is_an_error() -> None:
    [problem] = problems("mailstore a /a\nsingle-domain")
    assert (problem.line, problem.option, problem.text) == (2, "single-domain", "needs a value")


def test_listeners() -> None:
    settings = parse("mailstore a /a\nimapd-listen *:1143 [::1]:1144 127.0.0.1:1145 localhost:1146")
    assert settings.imapd_listen == (
        Address("*", 1143), Address("::1", 1144), Address("127.0.0.1", 1145), Address("localhost", 1146),
    )  # fmt: skip
    assert str(settings.imapd_listen[1]) == "[::1]:1144"


@pytest.mark.parametrize(
    "word", ["143", ":143", "*:0", "*:65536", "*:x", "::1:143", "[::1]", "a b:1", "-x:1"]
)
def test_bad_listeners(word: str) -> None:
    assert any(
        problem.option == "imapd-listen" for problem in problems(f"mailstore a /a\nimapd-listen {word}")
    )


def test_a_service_may_listen_nowhere() -> None:
    settings = parse("mailstore a /a\npop3d-listen none")
    assert settings.services() == ("authproxyd", "imapd", "lmtpd")


def test_sasl_options_are_a_pattern() -> None:
    settings = parse("mailstore a /a\nsasl-enable-cram-md5 off\nsasl-enable-plain on")
    assert (
        settings.may_use("plain") and settings.may_use("scram-sha-256") and not settings.may_use("cram-md5")
    )


def test_anonymous_sessions_are_off_until_they_are_switched_on() -> None:
    assert not parse("mailstore a /a").may_use("anonymous")
    assert parse("mailstore a /a\nsasl-enable-anonymous on").may_use("anonymous")


def test_assignment_rules() -> None:
    settings = parse("mailstore a /a\nmailstore b /b\nms-assignment-policy match boss b\n"
                     "ms-assignment-policy hash *@x.org b a\nms-assignment-policy most-free b a\n"
                     "ms-assignment-policy Round-Robin j?e a")  # fmt: skip
    assert settings.ms_assignment_policy == (
        AssignmentRule("match", "boss", ("b",)), AssignmentRule("hash", "*@x.org", ("b", "a")),
        AssignmentRule("most-free", "*", ("b", "a")), AssignmentRule("round-robin", "j?e", ("a",)),
    )  # fmt: skip
    [problem] = problems("mailstore a /a\nms-assignment-policy hash a\nms-assignment-policy round-robin c")
    assert problem.line == 3 and "no mailstore 'c'" in problem.text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("all a", "begins with a rule: match, round-robin, most-free, hash"),
        ("", "begins with a rule"),
        ("match", "takes a GLOB"),
        ("match *", "names no mailstore"),
        ("most-free *@x.org", "names no mailstore"),
        ("round-robin", "names no mailstore"),
        ("hash a a", "twice"),
    ],
)
def test_assignment_rules_that_are_none(text: str, says: str) -> None:
    [problem] = problems(f"mailstore a /a\nms-assignment-policy {text}")
    assert problem.line == 2 and says in problem.text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2 h", 7200), ("1d", 86400)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse(f"mailstore a /a\nimapd-autologout {text}").imapd_autologout == seconds


def test_sizes() -> None:
    assert parse("mailstore a /a\nmessage-size-limit 64M").message_size_limit == 64 << 20
    [problem] = problems("mailstore a /a\nmessage-size-limit 64X")
    assert "is not a size" in problem.text


def test_all_errors_are_shown_with_their_lines() -> None:
    text = "\n".join(
        [
            "imapd-listne *:143",
            "mailstore main relative",
            "imapd-workers many",
            "cleartext-login-enable maybe",
            "frobnicate yes",
        ]
    )
    found = problems(text)
    assert [(problem.line, problem.option) for problem in found] == [
        (1, "imapd-listne"), (2, "mailstore"), (3, "imapd-workers"),
        (4, "cleartext-login-enable"), (5, "frobnicate"),
    ]  # fmt: skip
    assert found[0].text == "unknown option; did you mean imapd-listen?"
    assert str(found[0]).startswith("ms.conf:1: imapd-listne: ")
    assert "relative" in found[1].text and "many" in found[2].text and "maybe" in found[3].text
    assert found[4].text == "unknown option"


def test_nearest_name_sees_through_punctuation() -> None:
    [problem] = problems("mailstore a /a\nadmin-domain example.org")
    assert problem.text.endswith("did you mean admin_domain?")
    [problem] = problems("mailstore a /a\nsasl-enable plain")
    assert "sasl-enable-plain" in problem.text


def test_an_option_given_twice_names_the_first_line() -> None:
    [problem] = problems("mailstore a /a\nms-path /b\nms-path /c")
    assert problem.line == 3 and "line 2" in problem.text
    [problem] = problems("mailstore a /a\nmailstore a /b")
    assert problem.line == 2 and "a again" in problem.text


def test_a_mailstore_is_needed() -> None:
    [problem] = problems("")
    assert problem.option == "mailstore" and problem.line == 0
    assert str(problem).startswith("ms.conf: mailstore: at least one")


def test_two_mailstores_may_not_share_a_path() -> None:
    [problem] = problems("mailstore a /a\nmailstore b /a")
    assert problem.line == 2 and "share /a" in problem.text


def test_rimap_needs_its_host() -> None:
    [problem] = problems("mailstore a /a\nauthproxy-authmech rimap")
    assert problem.option == "authproxy-rimap-host"


def test_legacy_mechanism_needs_authdb() -> None:
    found = problems("mailstore a /a\nauthproxy-authmech shadow\nauthproxy-legacy-authmech getpwent")
    assert [problem.option for problem in found] == ["authproxy-legacy-authmech"]


def test_tls_listener_needs_certificate_and_key(tmp_path: Path) -> None:
    found = problems("mailstore a /a\nimapd-tls-listen *:993")
    assert [problem.text for problem in found] == ["needs tls-certificate", "needs tls-key"]
    assert {problem.line for problem in found} == {2}
    key = tmp_path / "key.pem"
    found = problems(f"mailstore a /a\ntls-certificate {tmp_path}/none.pem\ntls-key {key}")
    assert [problem.option for problem in found] == ["tls-certificate", "tls-key"]
    for name in ("none.pem", "key.pem"):
        (tmp_path / name).touch()
    text = f"mailstore a /a\ntls-certificate {tmp_path}/none.pem\ntls-key {key}\nimapd-tls-listen *:993"
    assert parse(text).tls_key == key


def test_a_port_is_not_used_twice() -> None:
    [problem] = problems("mailstore a /a\nimapd-listen *:143\npop3d-listen 127.0.0.1:143")
    assert problem.line == 3 and "taken by imapd-listen" in problem.text
    parse("mailstore a /a\nimapd-listen 127.0.0.1:143\npop3d-listen 127.0.0.2:143")


def test_runtime_user_must_exist() -> None:
    text = "mailstore a /a\nruntime-user nobody-of-that-name"
    with pytest.raises(ConfigErrors, match="no user 'nobody-of-that-name'"):
        config.parse(PATH, text)


def test_the_superuser_needs_a_runtime_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(ConfigErrors, match="runtime-user: is needed"):
        config.parse(PATH, "mailstore a /a")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert config.parse(PATH, "mailstore a /a").runtime_user is None


def test_unreadable_files_are_problems_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="cannot be read: No such file"):
        config.load(tmp_path / "none")
    path = tmp_path / "ms.conf"
    path.write_bytes(b"mailstore a /a\n\xff\xfe\n")
    with pytest.raises(ConfigErrors, match=r":2: is not UTF-8"):
        config.load(path)
    path.write_bytes(b"#" * (config.LONGEST_BYTES + 1))
    with pytest.raises(ConfigErrors, match="larger"):
        config.load(path)


def test_a_lone_quotation_mark_is_an_error() -> None:
    [problem] = problems('mailstore a "/a\nmailstore b /b')
    assert problem.line == 1 and "quotation mark" in problem.text


def test_every_option_is_documented_and_has_a_reader() -> None:
    for attribute, option in declared().items():
        assert len(option.doc) > 20, attribute
        assert option.readers, attribute
        assert option.name.replace("-", "_").rstrip("_") in (attribute, attribute.removesuffix("s"))
