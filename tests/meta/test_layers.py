"""Imports follow the arrows: only downwards, and siblings are strangers."""

from tests.meta.source import files, imports, module_name

PROTOCOLS = ("imap", "pop3", "lmtp")
BELOW_PROTOCOLS = {"store", "accounts", "auth", "net", "mail", "files", "base"}
ALLOWED: dict[str, set[str]] = {
    "base": set(),
    "files": {"base"},
    "mail": {"base"},
    "net": {"base"},
    "accounts": {"base"},
    "auth": {"accounts", "base"},
    "store": {"files", "mail", "base"},
    "backup": {"accounts", "store", "files", "base"},
    **dict.fromkeys(PROTOCOLS, BELOW_PROTOCOLS),
    "moving": {"store", "files", "mail", "base"},
    "cli": BELOW_PROTOCOLS | {"backup", "moving"},
}
CLIENT_SIDE = {"mstore.auth.client", "mstore.auth.stamp"}


def test_imports_go_only_downwards() -> None:
    wrong = []
    for path in files("mstore"):
        module = module_name(path)
        parts = module.split(".")
        if len(parts) < 2:
            continue
        layer = parts[1]
        assert layer in ALLOWED, f"{path} is in a layer that nobody knows"
        for imported, line in imports(path):
            if imported.startswith("workers"):
                wrong.append(f"{path}:{line}: imports {imported}")
            if not imported.startswith("mstore."):
                continue
            other = imported.split(".")[1]
            if other != layer and other != "__version__" and other not in ALLOWED[layer]:
                wrong.append(f"{path}:{line}: {layer} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_protocols_use_the_client_side_of_auth_alone() -> None:
    wrong = []
    for path in files(*(f"mstore/{protocol}" for protocol in PROTOCOLS)):
        for imported, line in imports(path):
            if imported.startswith("mstore.auth."):
                module = ".".join(imported.split(".")[:3])
                if module not in CLIENT_SIDE:
                    wrong.append(f"{path}:{line}: imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_masters_import_neither_gevent_nor_numpy() -> None:
    for name in (
        "storemgr",
        "supervisor",
        "signals",
        "crew",
        "scoreboard",
        "listeners",
        "privileges",
        "parent",
        "inherited",
        "managed",
        "requests",
        "succession",
        "upgrade",
    ):
        for path in files("workers"):
            if path.stem == name:
                found = [imported for imported, _ in imports(path)]
                assert not [module for module in found if module.split(".")[0] in ("gevent", "numpy")], path
