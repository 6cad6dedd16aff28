from mstore.base import generate as options
from mstore.imap import generate as imap
from mstore.imap.commands import COMMANDS


def test_generated_files_are_current() -> None:
    for path, text in options.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python -m mstore.base.generate"
    for path, text in imap.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run python -m mstore.imap.generate"


def test_every_extension_has_its_source_its_module_and_a_test() -> None:
    conditional = {"LITERAL-", "APPENDLIMIT", "STARTTLS", "LOGINDISABLED", "AUTH=PLAIN", "AUTH=ANONYMOUS"}
    assert set(imap.EXTENSIONS) == imap.announced() | conditional
    package = imap.ROOT / "mstore" / "imap"
    assert all((package / extension.module).is_file() for extension in imap.EXTENSIONS.values())
    dialogues = imap.read_dialogues()
    assert not [word for word in imap.EXTENSIONS if not imap.tests_of_extension(word, dialogues)]
    assert not [name for name, row in COMMANDS.items() if not imap.tests_of_command(row, dialogues)]


def test_every_refusal_has_a_code() -> None:
    refusals = list(imap.refusals())
    assert len(refusals) > 20
    assert not [(text, where) for code, text, where in refusals if code == "none"]
