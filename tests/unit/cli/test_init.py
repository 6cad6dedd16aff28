from tests.unit.cli.conftest import Admin


def test_init_makes_databases_and_directories(bare: Admin) -> None:
    output = bare.ok("init")
    settings = bare.settings
    assert f"made {settings.db_path}/accounts.db\n" in output
    modes = {
        settings.ipc_path("x").parent: 0o750,
        settings.run_path: 0o755,
        settings.log_path: 0o750,
        settings.mailstores["main"]: 0o700,
        settings.mailstores["second"]: 0o700,
        settings.db_path / "accounts.db": 0o600,
        settings.db_path / "passwords": 0o700,
        settings.db_path / "passwords" / "passwords.db": 0o600,
    }
    for path, mode in modes.items():
        assert path.stat().st_mode & 0o777 == mode, path
    assert bare.json("user", "list") == []
    assert bare.ok("check") == "no accounts checked, no problems\n"


def test_init_again_changes_nothing(admin: Admin) -> None:
    admin.add("joe")
    assert admin.ok("init") == "everything was there already\n"
    assert admin.json("init") == {"made": []}
    assert len(admin.json("user", "list")) == 1


def test_init_never_replaces_a_lost_database(admin: Admin) -> None:
    lost = admin.settings.db_path / "passwords" / "passwords.db"
    lost.unlink()
    assert "backup must be restored" in admin.fails("init")
    assert not lost.exists()


def test_init_names_what_stands_in_its_way(bare: Admin) -> None:
    (bare.path / "ms").mkdir()
    (bare.path / "ms" / "run").write_text("")
    assert "ms/run is not a directory" in bare.fails("init")
