"""Writes ``docs/imap.md``: what imapd speaks, where it is, and what shows that it works.

``python -m mstore.imap.generate`` writes it into the source tree; a test compares. It follows from the table
of commands, from what is announced, from the list of limits, and from the dialogues in ``tests/wire/imap``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from mstore.base.generate import write_all
from mstore.imap import state
from mstore.imap.capability import ALWAYS, DORMANT
from mstore.imap.commands import COMMANDS, Command
from mstore.imap.errors import CODES
from mstore.imap.limits import LIMITS, Limit

ROOT = Path(__file__).resolve().parents[2]
DIALOGUES = ROOT / "tests" / "wire" / "imap"
MOST_TESTS = 6
_SPOKEN = re.compile(r"^C[0-9]?-?: \S+ ((?:UID )?[A-Z]+)", re.MULTILINE | re.IGNORECASE)
_RFC = re.compile(r"RFC ([0-9]{4})")
_PLACE = re.compile(r" (?:%d|\(%b\))")
STATES = MappingProxyType(
    {
        state.ANY: "any",
        state.NOT_AUTHENTICATED: "before login",
        state.LOGGED_IN: "after login",
        state.SELECTED: "selected",
    }
)


@dataclass(frozen=True, slots=True)
class Extension:
    """Where an announced word is defined, and which module does what it stands for."""

    source: str
    module: str
    test: str = ""
    """Where it is tested if not in a dialogue."""


EXTENSIONS: Mapping[str, Extension] = MappingProxyType(
    {
        "IMAP4rev1": Extension("RFC 3501", "session.py"),
        "LITERAL+": Extension("RFC 7888", "reader.py"),
        "LITERAL-": Extension("RFC 7888 §5", "reader.py"),
        "SASL-IR": Extension("RFC 4959", "commands/login.py"),
        "ID": Extension("RFC 2971", "commands/any.py"),
        "IDLE": Extension("RFC 2177", "commands/idle.py"),
        "NAMESPACE": Extension("RFC 2342", "commands/list.py"),
        "UIDPLUS": Extension("RFC 4315", "commands/expunge.py"),
        "UNSELECT": Extension("RFC 3691", "commands/select.py"),
        "CHILDREN": Extension("RFC 3348", "commands/list.py"),
        "ENABLE": Extension("RFC 5161", "commands/enable.py"),
        "CONDSTORE": Extension("RFC 7162 §3.1", "selected.py"),
        "QRESYNC": Extension("RFC 7162 §3.2", "resync.py"),
        "MOVE": Extension("RFC 6851", "commands/copy.py"),
        "MULTIAPPEND": Extension("RFC 3502", "commands/append.py"),
        "UNAUTHENTICATE": Extension("RFC 8437", "commands/login.py"),
        "SAVEDATE": Extension("RFC 8514", "render/lines.py"),
        "OBJECTID": Extension("RFC 8474", "render/lines.py"),
        "REPLACE": Extension("RFC 8508", "commands/replace.py"),
        "PREVIEW": Extension("RFC 8970", "render/messages.py"),
        "BINARY": Extension("RFC 3516", "render/binary.py"),
        "CATENATE": Extension("RFC 4469", "commands/catenate.py"),
        "ESEARCH": Extension("RFC 4731", "render/esearch.py"),
        "SEARCHRES": Extension("RFC 5182", "searching.py"),
        "WITHIN": Extension("RFC 5032", "grammar/searchkeys.py"),
        "PARTIAL": Extension("RFC 9394", "grammar/returnoptions.py"),
        "MULTISEARCH": Extension("RFC 7377", "commands/multisearch.py"),
        "CONTEXT=SEARCH": Extension("RFC 5267", "contexts.py"),
        "I18NLEVEL=1": Extension("RFC 5255 §4", "grammar/searchkeys.py"),
        "INPROGRESS": Extension("RFC 9585", "progress.py", "tests/unit/imap/test_progress.py"),
        "SORT": Extension("RFC 5256", "commands/sort.py"),
        "SORT=DISPLAY": Extension("RFC 5957", "commands/sort.py"),
        "ESORT": Extension("RFC 5267 §3", "commands/sort.py"),
        "THREAD=ORDEREDSUBJECT": Extension("RFC 5256 §3", "commands/sort.py"),
        "THREAD=REFERENCES": Extension("RFC 5256 §3", "commands/sort.py"),
        "THREAD=REFS": Extension("draft-ietf-morg-inthread", "commands/sort.py"),
        "ACL": Extension("RFC 4314", "commands/acl.py"),
        "RIGHTS=texk": Extension("RFC 4314 §6", "commands/acl.py"),
        "QUOTA": Extension("RFC 9208", "commands/quota.py"),
        "QUOTA=RES-STORAGE": Extension("RFC 9208 §5.1", "commands/quota.py"),
        "QUOTA=RES-MESSAGE": Extension("RFC 9208 §5.2", "commands/quota.py"),
        "QUOTASET": Extension("RFC 9208 §4.1.3", "commands/quota.py"),
        "STATUS=SIZE": Extension("RFC 8438", "commands/status.py"),
        "LIST-EXTENDED": Extension("RFC 5258", "commands/list.py"),
        "LIST-STATUS": Extension("RFC 5819", "commands/list.py"),
        "LIST-MYRIGHTS": Extension("RFC 8440", "commands/list.py"),
        "SPECIAL-USE": Extension("RFC 6154", "commands/list.py"),
        "CREATE-SPECIAL-USE": Extension("RFC 6154 §3", "commands/mailbox.py"),
        "COMPRESS=DEFLATE": Extension("RFC 4978", "commands/compress.py"),
        "METADATA": Extension("RFC 5464", "commands/metadata.py"),
        "LIST-METADATA": Extension("RFC 9590", "commands/list.py"),
        "NOTIFY": Extension("RFC 5465", "notifying.py"),
        "IMAP4rev2": Extension("RFC 9051", "grammar/extensions.py"),
        "UTF8=ACCEPT": Extension("RFC 6855", "grammar/extensions.py"),
        "UIDONLY": Extension("RFC 9586", "commands/enable.py"),
        "APPENDLIMIT": Extension("RFC 7889", "commands/status.py"),
        "STARTTLS": Extension("RFC 3501 §6.2.1", "commands/login.py"),
        "LOGINDISABLED": Extension("RFC 3501 §6.2.3", "commands/login.py"),
        "AUTH=PLAIN": Extension("RFC 4616", "commands/login.py"),
        "AUTH=ANONYMOUS": Extension("RFC 4505", "commands/login.py"),
    }
)
"""What is announced, in this order; a test holds it to ``mstore.imap.capability``."""


def announced() -> frozenset[str]:
    """Every word that stands in a capability list whatever the connection."""
    return frozenset(word.decode("ascii") for word in (*b" ".join(ALWAYS).split(b" "), *DORMANT))


def read_dialogues() -> dict[str, str]:
    """Each dialogue's text, by its name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(DIALOGUES.glob("*.txt"))}


def tests_of_extension(word: str, dialogues: Mapping[str, str]) -> list[str]:
    """The dialogues whose title names its source; where none does, those whose text has the word."""
    extension = EXTENSIONS[word]
    if extension.test:
        return [extension.test]
    titles = {name: text.split("\n", 1)[0] for name, text in dialogues.items()}
    exact = [name for name, title in titles.items() if extension.source in title]
    if exact:
        return exact
    numbers = set(_RFC.findall(extension.source)) - {"3501"}
    named = [name for name, title in titles.items() if numbers & set(_RFC.findall(title))]
    plain = re.compile(rf"(?<![\w=-]){re.escape(word.partition('=')[2] or word)}(?![\w=-])", re.IGNORECASE)
    return named or [name for name, text in dialogues.items() if plain.search(text)]


def tests_of_command(command: Command, dialogues: Mapping[str, str]) -> list[str]:
    """The dialogues in which a client says it, those named for it first."""
    name = command.name.decode("ascii")
    found = [
        stem
        for stem, text in dialogues.items()
        if any(spoken.upper() == name for spoken in _SPOKEN.findall(text))
    ]
    word = name.removeprefix("UID ").lower()
    return sorted(found, key=lambda stem: (word not in stem, stem))


def _format_tests(tests: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in tests[:MOST_TESTS])
    more = len(tests) - MOST_TESTS
    return f"{shown} and {more} more" if more > 0 else shown or "–"


def refusals() -> Iterator[tuple[str, str, str]]:
    """Each ``No(…)`` in the package: its code, its text and its module."""
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "No"
            if not is_call or path.name == "errors.py":
                continue
            assert isinstance(node, ast.Call)
            text, code = (_show(argument) for argument in (*node.args, None, None)[:2])
            yield code, text, path.relative_to(package).as_posix()


def _show(node: ast.expr | None) -> str:
    """What an argument says, as far as it stands there."""
    if node is None:
        return "none"
    if isinstance(node, ast.Name) and node.id.isupper():
        return node.id
    strings = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
    words = [part.decode("ascii") if isinstance(part, bytes) else str(part) for part in strings]
    words = [_PLACE.sub("", word).strip() for word in words if word != "?" and not word.isdigit()]
    return " or ".join(filter(None, words)) if any(words) else f"as it happens (`{ast.unparse(node)}`)"


def _store_errors() -> Iterator[tuple[str, str, str]]:
    for kind, code in CODES:
        about = (kind.__doc__ or "").split("\n\n")[0].replace("\n    ", " ").rstrip(".")
        yield code.decode("ascii"), f"{kind.__name__}: {about}", "the store"


OF_COMMANDS = (
    "",
    "EXPUNGE leaves a message with `\\Deleted` that is there but that its client has not been told of yet:",
    "a client cannot have meant a message that it does not know. CLOSE removes all that are marked so.",
    "",
)
"""What is said below the table of commands."""


def format_manual() -> str:
    """The whole page."""
    dialogues = read_dialogues()
    lines = [
        "# IMAP",
        "",
        "<!-- Generated by `python -m mstore.imap.generate`. -->",
        "",
        "What imapd speaks. Modules are under `mstore/imap/`, tests are dialogues under `tests/wire/imap/`;",
        "each is replayed whole, line by line, byte by byte and in random pieces.",
        "",
        "## Commands",
        "",
        "| command | when | source | module | tests |",
        "|---|---|---|---|---|",
    ]
    for command in COMMANDS.values():
        module = command.run.__module__.removeprefix("mstore.imap.").replace(".", "/") + ".py"
        tests = _format_tests(tests_of_command(command, dialogues))
        name = command.name.decode("ascii")
        lines.append(f"| {name} | {STATES[command.states]} | {command.rfc} | `{module}` | {tests} |")
    lines += [
        *OF_COMMANDS,
        "## Extensions",
        "",
        "As they are announced. Each can be switched off (`imapd-disable-capability`); "
        + ", ".join(sorted(word.decode() for word in DORMANT))
        + " is off until it is switched on.",
        "",
        "| word | source | module | tests |",
        "|---|---|---|---|",
    ]
    for word, extension in EXTENSIONS.items():
        tests = _format_tests(tests_of_extension(word, dialogues))
        lines.append(f"| {word} | {extension.source} | `{extension.module}` | {tests} |")
    lines += [
        "",
        "## Refusals",
        "",
        "Every NO has a response code (RFC 5530, and those of the extensions). What the store refuses is",
        "told by the kind of its error, everything else where it is found.",
        "",
        "| code | what is told | where |",
        "|---|---|---|",
    ]
    rows = sorted({*_store_errors(), *refusals()})
    lines += [f"| {code} | {text} | {where} |" for code, text, where in rows]
    lines += [
        "",
        "## Limits",
        "",
        "What has no limit of its own here (flags, sets of numbers, words) is limited by the command's line.",
        "Where an option is named, its default is shown; a message may have `message-size-limit` bytes, and",
        "`imapd-commands-per-second` limits how fast commands are carried out.",
        "",
        "| limit | | option | beyond it |",
        "|---|--:|---|---|",
    ]
    lines += map(_format_limit, LIMITS)
    return "\n".join(lines) + "\n"


def _format_limit(limit: Limit) -> str:
    option = f"`{limit.option}`" if limit.option else ""
    return f"| {limit.what} | {limit.value:,} | {option} | {limit.beyond} |"


def generated() -> dict[Path, str]:
    """The file with the text that it should hold now."""
    return {ROOT / "docs" / "imap.md": format_manual()}


if __name__ == "__main__":
    write_all(generated())
