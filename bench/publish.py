"""Puts figures where people read them: tables between marks in the texts, pictures with them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

PICTURES = Path("docs/pictures")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table stands: between two comments that name the mark; with which pictures above it."""

    text: str
    mark: str
    table: str
    pictures: str

    @property
    def begin(self) -> str:
        return f"<!-- bench: {self.mark} -->\n"

    @property
    def end(self) -> str:
        return f"<!-- bench: end of {self.mark} -->\n"


PLACES = (
    Place("README.md", "short", "results-short.md", "results-ratios.svg"),
    Place("docs/performance.md", "table", "results.md", ""),
    Place("docs/performance.md", "scale", "scale.md", "scale-*.svg"),
)
_WORDS = {
    "results-ratios": "Ratios of Dovecot's figures to M-Store's",
    "scale": "Cost of one operation by size",
}


class NoMark(Exception):
    """A text has no place for a table."""


def publish(results: Path, root: Path) -> list[Path]:
    """Put in what there is of tables and pictures; gives the files that were written.

    Raises: NoMark, when a text has lost the comments between which a table stands.
    """
    written = []
    for place in PLACES:
        if (results / place.table).exists():
            written += _put(place, results, root)
    return list(dict.fromkeys(written))


def _put(place: Place, results: Path, root: Path) -> list[Path]:
    path = root / place.text
    text = path.read_text()
    head, found, rest = text.partition(place.begin)
    _, closed, tail = rest.partition(place.end)
    if not found or not closed:
        raise NoMark(f"{path}: no place between {place.begin.strip()} and {place.end.strip()}")
    parts, written = list[str](), [path]
    (root / PICTURES).mkdir(exist_ok=True)
    for picture in sorted(results.glob(place.pictures)) if place.pictures else ():
        written.append(Path(shutil.copy(picture, root / PICTURES / picture.name)))
        words = next(words for name, words in _WORDS.items() if picture.name.startswith(name))
        parts.append(f"![{words}]({os.path.relpath(written[-1], path.parent)})\n")
    parts.append((results / place.table).read_text())
    path.write_text("\n".join([head + place.begin, *parts, place.end + tail]))
    return written
