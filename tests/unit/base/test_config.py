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
    assert settings.lmtp_enable_overquota_delivery is False and settings.allow8bitheaders == "off"
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
    assert parse("mailstore a /a\nallow8bitheaders").allow8bitheaders == "on"
    assert parse("mailstore a /a\nallow8bitheaders off").allow8bitheaders == "off"
    assert parse("mailstore a /a\nallow8bitheaders utf8").allow8bitheaders == "utf8"
    with pytest.raises(ConfigErrors, match="is none of on, off, utf8"):
        parse("mailstore a /a\nallow8bitheaders maybe")


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


@pytest.mark.parametrize("name", ["a+b", "shared/x", "a@b", '""'])
def test_the_name_of_shared_mailboxes_is_one_that_an_address_can_have(name: str) -> None:
    (problem,) = problems(f"mailstore a /a\nlmtp-shared-name {name}")
    assert problem.option == "lmtp-shared-name" and "before the +" in problem.text


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2 h", 7200), ("1d", 86400)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse(f"mailstore a /a\nauthproxy-cache-time {text}").authproxy_cache_time == seconds


@pytest.mark.parametrize(
    ("option", "least", "below", "source"),
    [
        ("imapd-autologout", "30m", "1799", "RFC 3501 §5.4"),
        ("pop3d-autologout", "10m", "599s", "RFC 1939 §3"),
        ("lmtpd-timeout", "5m", "4m", "RFC 5321 §4.5.3.2.7"),
    ],
)
def test_clients_may_be_silent_for_as_long_as_the_standards_say(
    option: str, least: str, below: str, source: str
) -> None:
    parse(f"mailstore a /a\n{option} {least}")
    [problem] = problems(f"mailstore a /a\n{option} {below}")
    assert (problem.line, problem.option) == (2, option)
    assert str(problem) == f"{PATH}:2: {option}: {below} is too short: {source} asks for {least} at least"


def test_sizes_within_limits() -> None:
    assert parse("mailstore a /a\nimapd-line-limit 256K").imapd_line_limit == 256 << 10
    [problem] = problems("mailstore a /a\nimapd-line-limit 4K")
    assert problem.text == "4K is not within 8K to 1M"


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
    assert problem.option == "authproxy-rimap-host" and problem.line == 2
    [problem] = problems("mailstore a /a\n\nauthproxy-legacy-authmech rimap")
    assert problem.option == "authproxy-rimap-host" and problem.line == 3


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("imap.foo.bar", ("imap.foo.bar", None)),
        ("192.168.0.1", ("192.168.0.1", None)),
        ("imap.foo.bar/1143", ("imap.foo.bar", 1143)),
        ("imap.foo.bar/imap", ("imap.foo.bar", 143)),
        ("imap.foo.bar/IMAPS", ("imap.foo.bar", 993)),
        ("::1/143", ("::1", 143)),
        ("[::1]/143", ("::1", 143)),
    ],
)
def test_the_host_of_rimap_has_a_port_by_number_or_name(
    written: str, expected: tuple[str, int | None]
) -> None:
    text = f"mailstore a /a\nimapd-listen *:1\nauthproxy-authmech rimap\nauthproxy-rimap-host {written}"
    assert parse(text).authproxy_rimap_host == expected


@pytest.mark.parametrize(
    "written", ["a b", "/143", "host/", "host/0", "host/65536", "host/nosuchthing", "h/1/2", "-"]
)
def test_a_host_of_rimap_that_is_none_is_refused(written: str) -> None:
    [problem] = problems(f"mailstore a /a\nauthproxy-authmech rimap\nauthproxy-rimap-host {written}")
    assert problem.option == "authproxy-rimap-host" and problem.line == 3


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1/143", "mail.example.org/imap", "::1"])
def test_rimap_may_not_ask_this_very_imapd(host: str) -> None:
    text = "mailstore a /a\nserver-name mail.example.org\nauthproxy-authmech rimap\nauthproxy-rimap-host "
    [problem] = problems(text + host)
    assert problem.line == 4 and "is where imapd itself listens" in problem.text
    assert parse(text + host.partition("/")[0] + "/1143")


def test_only_authdb_can_be_migrated_to() -> None:
    found = problems("mailstore a /a\nauthproxy-authmech shadow\nauthproxy-legacy-authmech getpwent")
    assert [(problem.line, problem.option) for problem in found] == [(3, "authproxy-legacy-authmech")]
    found = problems("mailstore a /a\nauthproxy-legacy-authmech authdb")
    assert [(problem.line, problem.option) for problem in found] == [(2, "authproxy-legacy-authmech")]


def test_accounts_are_made_at_login_for_other_mechanisms_than_authdb() -> None:
    [problem] = problems("mailstore a /a\nauthproxy-create-accounts on")
    assert problem.line == 2 and "authproxy-legacy-authmech" in problem.text
    assert parse("mailstore a /a\nauthproxy-authmech pam\nauthproxy-create-accounts on")


def test_a_mechanism_that_nobody_knows_is_told_with_its_line_and_the_nearest_name() -> None:
    [problem] = problems("mailstore a /a\nauthproxy-authmech shadwo")
    assert problem.line == 2 and "did you mean shadow?" in problem.text
    [problem] = problems("mailstore a /a\nauthproxy-authmech authdb\nauthproxy-legacy-authmech zzz")
    assert problem.line == 3 and "there are: authdb, getpwent, " in problem.text


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


def test_certificates_by_name(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).touch()
    both = f"{tmp_path}/cert {tmp_path}/key"
    default = f"mailstore a /a\ntls-certificate {tmp_path}/cert\ntls-key {tmp_path}/key\n"
    settings = parse(f"{default}tls-sni Mail.Example.org. {both}\ntls-sni *.example.org {both}")
    assert [named.name for named in settings.tls_sni] == ["mail.example.org", "*.example.org"]
    assert [pair.name for pair in settings.tls_pairs()] == ["", "mail.example.org", "*.example.org"]
    assert settings.tls_files() == [tmp_path / "cert", tmp_path / "key"]
    assert parse("mailstore a /a").tls_files() == [] and parse("mailstore a /a").tls_pairs() == ()
    for words, text in (
        ("mail.example.org", "takes name, certificate and key"),
        (f"*.*.org {both}", "'*.*.org' is neither a host name nor *.DOMAIN"),
        (f"* {both}", "'*' is neither a host name nor *.DOMAIN"),
        (f"a.b cert {tmp_path}/key", "'cert' is not an absolute path"),
        (f"a.b {tmp_path}/none {tmp_path}/key", f"there is no file {tmp_path}/none"),
    ):
        (found,) = problems(f"{default}tls-sni {words}")
        assert found.option == "tls-sni" and found.line == 4 and text in found.text
    (found,) = problems(f"{default}tls-sni a.b {both}\ntls-sni A.B {both}")
    assert (found.line, found.text) == (5, "a.b again (first on line 4)")
    (found,) = problems(f"mailstore a /a\ntls-sni a.b {both}")
    assert found.text.startswith("needs tls-certificate and tls-key")


def test_asking_clients_for_certificates_needs_authorities(tmp_path: Path) -> None:
    (found,) = problems("mailstore a /a\ntls-client-certificate require")
    assert (found.line, found.option, found.text) == (2, "tls-client-certificate", "needs tls-client-ca")
    (found,) = problems(f"mailstore a /a\ntls-client-ca {tmp_path}/none")
    assert found.text == f"there is no file {tmp_path}/none"


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


def test_a_mechanism_that_nobody_has_is_named_with_the_nearest(tmp_path: Path) -> None:
    [problem] = problems("mailstore a /a\nsasl-enable-cram-md4 on")
    assert problem.line == 2 and "did you mean sasl-enable-cram-md5?" in problem.text
    plugins = tmp_path / "lib" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "x-ticket.py").write_text("")
    settings = parse(f"mailstore a /a\nexecutable-base-path {tmp_path}\nsasl-enable-x-ticket off")
    assert not settings.may_use("x-ticket")


def test_which_mechanisms_are_on_by_default() -> None:
    settings = parse("mailstore a /a")
    on = ("plain", "login", "cram-md5", "apop", "scram-sha-256", "scram-sha-256-plus", "xoauth2", "x-mine")
    off = ("digest-md5", "scram-sha-1", "scram-sha-512", "scram-sha-1-plus", "anonymous")
    assert all(map(settings.may_use, on)) and not any(map(settings.may_use, off))


def test_the_bound_form_of_a_mechanism_follows_the_plain_one() -> None:
    settings = parse("mailstore a /a\nsasl-enable-scram-sha-256 off\nsasl-enable-scram-sha-1 on")
    assert not settings.may_use("scram-sha-256-plus") and settings.may_use("scram-sha-1-plus")
    settings = parse("mailstore a /a\nsasl-enable-scram-sha-256 off\nsasl-enable-scram-sha-256-plus on")
    assert settings.may_use("scram-sha-256-plus")


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        ("oauth-key /k", "needs oauth-issuer"),
        ("oauth-key /k\noauth-issuer i", "needs oauth-audience"),
        ("oauth-introspection-secret /s", "needs oauth-introspection-url"),
        ("oauth-introspection-url ftp://x/", "is not a URL"),
        ("oauth-introspection-url http://x/\noauth-introspection-ca /c", "needs oauth-introspection-url ht"),
    ],
)
def test_tokens_need_to_be_judged_whole(text: str, needed: str) -> None:
    assert needed in "\n".join(problem.text for problem in problems(f"mailstore a /a\n{text}"))
