"""Manual pages as text: the macros of man(7), which every formatter knows.

Text is plain ASCII on the page; what is not is written by its name, so that no locale matters.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

import mstore
from mstore.base.option import NO_DEFAULT, Option

DATE = "2026-11-29"
"""The day that stands at the foot of every page; to be moved with the version."""
MARK = '.\\" Generated from the sources of M-Store.'
DIRECTORY = Path(__file__).resolve().parents[2] / "docs" / "man"
SECTION_NAMES = {"5": "File Formats Manual", "8": "System Manager's Manual"}
_NAMES = {
    "\\": "\\e", "…": "...", "§": "\\(sc", "–": "\\(en", "—": "\\(em", "’": "'", "→": "\\(->", "×": "\\(mu",
    "`": "\\(ga", "~": "\\(ti", "^": "\\(ha",
}  # fmt: skip
_CODE = re.compile(r"``?([^`]+)``?")


def escape(text: str) -> str:
    """Text that stands for itself, on one line."""
    parts = [_NAMES.get(character, character) for character in " ".join(text.split())]
    found = "".join(part if part.isascii() else f"\\[u{ord(part):04X}]" for part in parts)
    return "\\&" + found if found[:1] in (".", "'") else found


def literal(text: str) -> str:
    """What is typed as it stands: its hyphens are minus signs."""
    return escape(text).replace("-", "\\-")


def bold(text: str) -> str:
    """What is typed as it stands, in bold."""
    return f"\\fB{literal(text)}\\fR"


class Page:
    """One page on its way; ``text`` is what was put in so far."""

    def __init__(self, name: str, section: str, purpose: str) -> None:
        self.name, self.section = name, section
        head = (name.upper(), section, DATE, f"M-Store {mstore.__version__}", SECTION_NAMES[section])
        self._lines = [
            MARK,
            ".TH " + " ".join(f'"{escape(word)}"' for word in head),
        ]
        self.heading("NAME")
        self._lines.append(f"{literal(name)} \\- {escape(purpose[0].lower() + purpose[1:].rstrip('.'))}")

    @property
    def text(self) -> str:
        """The page."""
        return "\n".join(self._lines) + "\n"

    @property
    def path(self) -> Path:
        """Where the page is in the source tree."""
        return DIRECTORY / f"{self.name}.{self.section}"

    def heading(self, title: str) -> None:
        """Begin a section."""
        self._lines.append(f".SH {escape(title)}")

    def subheading(self, title: str) -> None:
        """Begin a part of a section; the title is something that is typed."""
        self._lines.append(f".SS {literal(title)}")

    def synopsis(self, program: str, lines: Iterable[str]) -> None:
        """The forms of a command line."""
        self.heading("SYNOPSIS")
        for number, line in enumerate(lines):
            self._lines += [".br"] * (number > 0) + [f"{bold(program)} {literal(line)}".rstrip()]

    def prose(self, text: str) -> None:
        """Paragraphs, which stand between blank lines; code in backquotes is bold."""
        for number, paragraph in enumerate(text.split("\n\n")):
            if paragraph.strip():
                self._lines += [".PP"] * (number > 0 or not self._lines[-1].startswith(".S"))
                self._lines.append(_prose(paragraph))

    def item(self, term: str, text: str) -> None:
        """Something that is typed, and what it does."""
        self._lines += [".TP", bold(term), _prose(text)]

    def example(self, lines: Iterable[str]) -> None:
        """Lines that are typed."""
        self._lines += [".PP", ".nf", ".RS 4", *(literal(line) for line in lines), ".RE", ".fi"]

    def options_of(self, options: Iterable[Option]) -> None:
        """Options of ms.conf, each with its default."""
        for option in options:
            default = option.default_text
            shown = "There is no default." if default == NO_DEFAULT else f"The default is `{default}`."
            name = option.name + "MECHANISM" if option.prefix else option.name
            self.item(f"{name} {option.kind.syntax}", f"{option.doc} {shown}")

    def see_also(self, *pages: str) -> None:
        """Other pages, each as ``name(8)``."""
        self.heading("SEE ALSO")
        names = (page.rstrip(")").partition("(") for page in pages if page != f"{self.name}({self.section})")
        self._lines.append(", ".join(f"{bold(name)}({section})" for name, _, section in names))


def _prose(text: str) -> str:
    pieces = _CODE.split(" ".join(text.split()))
    said = "".join(bold(piece) if number % 2 else _inner(piece) for number, piece in enumerate(pieces))
    lines = textwrap.wrap(said, 78, break_long_words=False, break_on_hyphens=False)
    return "\n".join("\\&" + line if line[0] in ".'" else line for line in lines)


def _inner(text: str) -> str:
    """Text inside a line, whose blanks at both ends count."""
    inner = escape(text).removeprefix("\\&")
    return " " * text.startswith(" ") + inner + " " * (text.endswith(" ") and bool(inner))
