"""Writes what follows from the declared options and events: the sample, ``docs/ms.conf.md``,
``docs/man/ms.conf.5`` and the tables in ``docs/logging.md``.

``python -m mstore.base.generate`` writes them into the source tree; a test compares them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from mstore.base.config import walk_sections
from mstore.base.events import format_tables
from mstore.base.option import NO_DEFAULT, Option
from mstore.base.options import DEFAULT_CONFIG, SERVICES
from mstore.base.roff import Page

ROOT = Path(__file__).resolve().parents[2]
ABOUT = f"""\
The configuration of all of M-Store; every program takes `-f FILE`, and without it reads
`{DEFAULT_CONFIG}`. Lines are `option value …`. Blank lines and lines that begin with `#` are
ignored; a value with blanks stands in double quotes. Yes is `yes on t 1`, no is `no off f 0`.
Durations are `90`, `90s`, `30m`, `2h`, `1d`; sizes `512K`, `64M`, `2G`. Listeners are
`ADDRESS:PORT`, where the address may be a name, an IPv4 address, an IPv6 address in brackets, or
`*`.

`rc.m-store configtest` shows every error in the file at once, each with its line, and the nearest
known name for an option that does not exist."""


def _syntax(option: Option) -> str:
    name = option.name + "MECHANISM" if option.prefix else option.name
    return f"{name} {option.kind.syntax}"


def _sample_line(option: Option) -> str:
    value = option.example
    if not value:
        value = option.default_text
    joint = "" if option.prefix else " "
    return f"#{option.name}{joint}{value}"


def format_sample() -> str:
    """The sample configuration: every option with its documentation, commented out but for what is needed."""
    lines = [
        "# M-Store configuration. Lines are: option value ...",
        "# Lines that are commented out show the default, or an example where there is none.",
        f"# Usual place: {DEFAULT_CONFIG}. Check with: rc.m-store configtest",
    ]
    for section, options in walk_sections():
        lines += ["", "", f"# {section}", "# " + "-" * len(section)]
        for option in options:
            text = f"{option.doc} [{option.default_text}]"
            lines += ["", *(f"# {line}" for line in textwrap.wrap(text, 96))]
            line = _sample_line(option)
            needed = option.name == "mailstore"
            lines.append(line.removeprefix("#") if needed else line)
    return "\n".join(lines) + "\n"


def format_manual() -> str:
    """The manual page of ms.conf."""
    lines = [
        "# ms.conf",
        "",
        "<!-- Generated from mstore/base/options.py by `python -m mstore.base.generate`. -->",
        *("\n" + textwrap.fill(paragraph, 100) for paragraph in ABOUT.split("\n\n")),
    ]
    for section, options in walk_sections():
        lines += ["", f"## {section}"]
        for option in options:
            default = option.default_text if option.default_text == NO_DEFAULT else f"`{option.default_text}`"
            lines += ["", f"### `{_syntax(option)}`", ""]
            lines += [f"*Default:* {default}. *Read by:* {', '.join(option.readers)}."]
            lines += ["", *textwrap.wrap(option.doc, 110)]
            if option.gather is not None and not option.prefix:
                lines += ["May be given several times."]
            if option.example:
                joint = "" if option.prefix else " "
                lines += ["", f"    {option.name}{joint}{option.example}"]
    return "\n".join(lines) + "\n"


def format_page() -> Page:
    """ms.conf(5)."""
    page = Page("ms.conf", "5", "The configuration of a message store")
    page.heading("DESCRIPTION")
    page.prose(ABOUT)
    page.heading("OPTIONS")
    for section, options in walk_sections():
        page.subheading(section)
        page.options_of(options)
    page.heading("FILES")
    page.item(str(DEFAULT_CONFIG), "The file that is read where no other is given.")
    page.see_also("rc.m-store(8)", "msadm(8)", "storemgr(8)", *(f"{name}(8)" for name in SERVICES))
    return page


def format_logging() -> str:
    """The page on the log, with the tables of events as they are now."""
    begin, end = "<!-- events -->\n", "<!-- /events -->"
    page = (ROOT / "docs" / "logging.md").read_text(encoding="utf-8")
    head, _, rest = page.partition(begin)
    return head + begin + format_tables() + end + rest.partition(end)[2]


def generated() -> dict[Path, str]:
    """Each generated file with the text that it should hold now."""
    page = format_page()
    return {
        ROOT / "conf" / "ms.conf.sample": format_sample(),
        ROOT / "docs" / "ms.conf.md": format_manual(),
        ROOT / "docs" / "logging.md": format_logging(),
        page.path: page.text,
    }


def write_all(texts: Mapping[Path, str]) -> None:
    """Write generated files, and say which."""
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    write_all(generated())
