"""The shape of the sources: small files and functions, documented, without module-level mutable state."""

import ast

from tests.meta.source import ROOT, files, module_name, tree

LONGEST_FILE = 600
LONGEST_FUNCTION = 60
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
CODE = ("mstore", "workers")


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in files(*CODE, "tests", "bench")}
    assert not {str(path): n for path, n in lengths.items() if n > LONGEST_FILE}


def test_functions_are_short() -> None:
    long = []
    for path in files(*CODE):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    long.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
    assert not long, "\n".join(long)


def test_modules_say_what_they_are() -> None:
    silent = [str(path) for path in files(*CODE) if not ast.get_docstring(tree(path))]
    assert not silent


def test_public_names_are_documented() -> None:
    silent = []
    for path in files(*CODE):
        for node in tree(path).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                silent.append(f"{path}:{node.lineno}: {node.name}")
    assert not silent, "\n".join(silent)


def test_no_module_level_mutable_state() -> None:
    """Lower-case names at module level would be variables; tables have upper-case names."""
    wrong = []
    for path in files(*CODE):
        for node in tree(path).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, MUTABLE):
                for target in targets:
                    if (
                        isinstance(target, ast.Name)
                        and not target.id.strip("_").isupper()
                        and target.id != "__all__"
                    ):
                        wrong.append(f"{path}:{node.lineno}: {target.id}")
    assert not wrong, "\n".join(wrong)


def test_nothing_is_left_to_do() -> None:
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")
    found = [
        f"{path}: {word}" for path in files(*CODE, "tests") for word in words if word in path.read_text()
    ]
    assert not found, "\n".join(found)


def test_every_package_has_an_init() -> None:
    for path in files(*CODE):
        assert (path.parent / "__init__.py").exists(), module_name(path)
    assert (ROOT / "rc" / "rc.m-store").stat().st_mode & 0o111
    assert (ROOT / "tests" / "run").stat().st_mode & 0o111
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
