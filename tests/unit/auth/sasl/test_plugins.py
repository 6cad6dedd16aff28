"""Mechanisms of a site: which files are read, and which are refused."""

import os
from pathlib import Path

import pytest

from mstore.auth.judge import Grant
from mstore.auth.sasl.plugins import load_plugins
from mstore.base.errors import Denied, Invalid
from tests.kit.exchanging import Site

EXAMPLE = Path(__file__).parents[4] / "conf" / "plugins" / "x-ticket.py"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "lib" / "plugins"
    path.mkdir(parents=True)
    for step in (path, path.parent, tmp_path):
        step.chmod(0o755)
    return path


def put(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_the_example_works(directory: Path, site: Site) -> None:
    put(directory, "x-ticket.py", EXAMPLE.read_text())
    tickets = directory.parent / "tickets"
    put(tickets.parent, "tickets", "joe opensesame\nroot key\n# a remark\n")
    [plugin] = load_plugins(directory)
    assert plugin.offer.name == "X-TICKET" and plugin.offer.password

    def carry_on(message: bytes) -> object:
        return site.carry_on("X-TICKET", initial=message, exchange=plugin.exchange)[0]

    assert carry_on(b"joe opensesame") == Grant("joe", "joe")
    assert getattr(carry_on(b"joe wrong"), "code", "") == "AUTHENTICATIONFAILED"
    assert getattr(carry_on(b"nobody opensesame"), "code", "") == "AUTHENTICATIONFAILED"
    assert getattr(carry_on(b"joe"), "code", "") == "MALFORMED"
    assert site.gate.noted == [
        ("192.0.2.1", "joe", True),
        ("192.0.2.1", "joe", False),
        ("192.0.2.1", "nobody", False),
    ]
    assert not (directory / "__pycache__").exists()


def test_there_may_be_no_directory(tmp_path: Path) -> None:
    assert load_plugins(tmp_path / "nowhere") == []
    assert load_plugins(tmp_path) == []


MECHANISM = """
from mstore.auth.offers import Offer
from mstore.auth.sasl.mechanism import Identity, Mechanism
def exchange(judge):
    yield b""
    return Identity("joe")
MECHANISM = Mechanism(Offer({name!r}), exchange)
"""


def test_files_are_read_in_the_order_of_their_names_and_others_not_at_all(directory: Path) -> None:
    for name in ("x-b", "x-a"):
        put(directory, f"{name}.py", MECHANISM.format(name=name.upper()))
    put(directory, "README", "no Python")
    assert [plugin.offer.name for plugin in load_plugins(directory)] == ["X-A", "X-B"]


@pytest.mark.parametrize("what", ["the file", "the directory", "the way to it"])
def test_what_others_may_write_is_not_read(directory: Path, what: str) -> None:
    path = put(directory, "x-a.py", "raise SystemExit('was run')")
    open_to_all = {"the file": path, "the directory": directory, "the way to it": directory.parent}[what]
    for mode in (0o777, 0o775):
        open_to_all.chmod(mode)
        with pytest.raises(Denied, match=str(open_to_all)):
            load_plugins(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_user_is_not_read(directory: Path) -> None:
    path = put(directory, "x-a.py", "raise SystemExit('was run')")
    os.chown(path, 12345, 12345)
    with pytest.raises(Denied, match="another user"):
        load_plugins(directory)


def test_a_link_leads_to_what_others_may_not_write_either(directory: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    put(elsewhere, "x-a.py", "raise SystemExit('was run')")
    elsewhere.chmod(0o777)
    (directory / "x-a.py").symlink_to(elsewhere / "x-a.py")
    with pytest.raises(Denied, match="elsewhere"):
        load_plugins(directory)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("x-a.py", "", "does not define MECHANISM"),
        ("x-a.py", MECHANISM.format(name="X-B"), "with the name X-A"),
        ("X-A.py", MECHANISM.format(name="X-A"), "lower case"),
        ("x a.py", "", "named like it"),
        ("plain.py", MECHANISM.format(name="PLAIN"), "of its own"),
        ("x-a.py", "import nothing_of_this_name", "ModuleNotFoundError"),
        ("x-a.py", "def (", "SyntaxError"),
        ("x-a.py", "1/0", "ZeroDivisionError"),
    ],
)
def test_files_that_define_no_mechanism_are_named(directory: Path, name: str, text: str, reason: str) -> None:
    path = put(directory, name, text)
    with pytest.raises(Invalid, match=reason) as raised:
        load_plugins(directory)
    assert str(path) in str(raised.value)
