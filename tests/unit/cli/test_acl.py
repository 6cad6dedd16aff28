from tests.unit.cli.conftest import Admin


def entries(admin: Admin, *mailbox: str) -> dict[str, str]:
    return {entry["identifier"]: entry["rights"] for entry in admin.json("acl", "show", *mailbox)}


def test_lists_are_shown_set_and_shortened(admin: Admin) -> None:
    admin.add("joe")
    admin.add("ann")
    assert admin.ok("acl", "show", "joe", "INBOX").split() == ["IDENTIFIER", "RIGHTS", "joe", "lrswipkxteacd"]
    admin.ok("acl", "set", "joe", "INBOX", "ann", "lrd")
    assert entries(admin, "user/JOE/inbox") == {"joe": "lrswipkxteacd", "ann": "lrted"}
    admin.ok("acl", "set", "user/joe/INBOX", "ann", "-te")
    admin.ok("acl", "set", "joe", "INBOX", "ann", "+s")
    admin.ok("acl", "set", "joe", "INBOX", "-ann", "w")
    assert entries(admin, "joe", "INBOX") == {"joe": "lrswipkxteacd", "ann": "lrs", "-ann": "w"}
    admin.ok("acl", "delete", "joe", "INBOX", "-ann")
    assert "ann" not in admin.ok("acl", "delete", "joe", "INBOX", "ann")
    assert "not on the list" in admin.fails("acl", "delete", "joe", "INBOX", "ann")


def test_dashes_are_rights_and_identifiers_not_options(admin: Admin) -> None:
    admin.add("joe")
    admin.add("hans")
    admin.ok("acl", "set", "joe", "INBOX", "-hans", "lrs")
    admin.ok("acl", "set", "joe", "INBOX", "-hans", "-s")
    assert entries(admin, "joe", "INBOX")["-hans"] == "lr"
    assert "Usage" in admin.ok("acl", "set", "--help")


def test_shared_mailboxes_are_made_listed_and_shared(admin: Admin) -> None:
    admin.add("joe")
    assert admin.json("mailbox", "list", "shared/") == []
    assert admin.ok("mailbox", "create", "shared/bugs/new") == "created shared/bugs/new\n"
    admin.ok("acl", "set", "shared/bugs", "anyone", "lrsp")
    assert entries(admin, "shared/bugs") == {"anyone": "lrsp"}
    assert entries(admin, "shared/bugs/new") == {}
    assert [found["name"] for found in admin.json("mailbox", "list", "shared/")] == [
        "shared/bugs",
        "shared/bugs/new",
    ]
    assert (
        admin.ok("mailbox", "rename", "shared/bugs", "shared/pests")
        == "renamed shared/bugs to shared/pests\n"
    )
    assert entries(admin, "shared/pests") == {"anyone": "lrsp"}
    assert admin.ok("mailbox", "delete", "shared/pests/new", "--yes") == "deleted shared/pests/new\n"
    assert "another user's" in admin.fails("mailbox", "rename", "shared/pests", "user/joe/pests")
    assert "no user shared" in admin.fails("mailbox", "list", "shared")
    assert "1 account" in admin.ok("check", "joe")
    assert "2 accounts checked, no problems" in admin.ok("check")


def test_mailboxes_have_full_names(admin: Admin) -> None:
    admin.add("joe")
    assert admin.ok("mailbox", "create", "user/JOE/a") == "created user/joe/a\n"
    assert admin.ok("mailbox", "rename", "user/joe/a", "user/joe/b") == "renamed user/joe/a to user/joe/b\n"
    assert [found["name"] for found in admin.json("mailbox", "list", "user/joe")] == ["INBOX", "b"]
    assert admin.ok("mailbox", "delete", "user/joe/b", "--yes") == "deleted user/joe/b\n"
    for words, reason in (
        (("create", "joe"), "2 words"),
        (("create", "joe", "a", "b"), "2 words"),
        (("create", "user/jim/a"), "no user jim"),
        (("create", "joe", "user/x"), "another namespace"),
        (("create", "shared/inbox"), "no shared INBOX"),
        (("rename", "user/joe/a", "b"), "full name"),
        (("create", "shared"), "2 words"),
    ):
        assert reason in admin.fails("mailbox", *words), words


def test_what_cannot_be_is_one_clear_line(admin: Admin) -> None:
    admin.add("joe")
    for words, reason in (
        (("set", "joe", "INBOX", "jim", "l"), "no user jim"),
        (("set", "joe", "INBOX", "group:x", "l"), "no group:x"),
        (("set", "joe", "INBOX", "anyone", "lq"), "no right 'q'"),
        (("set", "joe", "none", "anyone", "l"), "no mailbox user/joe/none"),
        (("show", "joe"), "2 words"),
        (("show", "shared/x"), "no mailbox shared/x"),
        (("show", "jim", "INBOX"), "no user jim"),
    ):
        output = admin.fails("acl", *words)
        assert "Error: " in output
        assert reason in output, (words, output)


def test_groups_are_made_joined_and_left(admin: Admin) -> None:
    admin.add("joe")
    assert admin.ok("group", "add", "Team") == "added group Team\n"
    assert admin.ok("group", "join", "team", "JOE") == "joe is in Team\n"
    assert admin.json("group", "list")[0]["members"] == 1
    assert admin.json("group", "list", "team") == ["joe"]
    assert "joe" in admin.ok("group", "list", "team")
    admin.ok("acl", "set", "joe", "INBOX", "group:team", "lr")
    assert entries(admin, "joe", "INBOX")["group:Team"] == "lr"
    assert admin.ok("group", "leave", "team", "joe") == "joe is no longer in Team\n"
    assert "not in the group" in admin.fails("group", "leave", "team", "joe")
    assert "--yes" in admin.fails("group", "remove", "team")
    assert admin.ok("group", "remove", "team", "--yes") == "removed group Team\n"
    assert "no group team" in admin.fails("group", "join", "team", "joe")
    assert list(entries(admin, "joe", "INBOX")) == ["joe"]


def test_aliases_are_given_and_taken(admin: Admin) -> None:
    admin.add("joe")
    admin.add("ann")
    assert admin.ok("alias", "add", "postmaster", "joe") == "mail for postmaster reaches joe\n"
    admin.ok("alias", "add", "team@other.example", "ann")
    assert admin.json("alias", "list") == [
        {"alias": "postmaster", "user": "joe"},
        {"alias": "team@other.example", "user": "ann"},
    ]
    assert admin.json("alias", "list", "ann") == [{"alias": "team@other.example", "user": "ann"}]
    assert "no user jim" in admin.fails("alias", "add", "x", "jim")
    assert "already" in admin.fails("alias", "add", "postmaster", "ann")
    assert admin.ok("alias", "remove", "Postmaster") == "removed alias Postmaster\n"
    assert "no alias" in admin.fails("alias", "remove", "postmaster")
