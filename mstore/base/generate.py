"""Writes what follows from the declared options: ``conf/ms.conf.sample`` and ``docs/ms.conf.md``.

``python -m mstore.base.generate`` writes both into the source tree; a test compares them.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from mstore.base.config import walk_sections
from mstore.base.option import NO_DEFAULT, Option
from mstore.base.options import DEFAULT_CONFIG

ROOT = Path(__file__).resolve().parents[2]


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
        "",
        "The configuration of all of M-Store; every program takes `-f FILE`, and without it reads",
        f"`{DEFAULT_CONFIG}`. Lines are `option value …`. Blank lines and lines that begin with `#` are",
        "ignored; a value with blanks stands in double quotes. Yes is `yes on t 1`, no is `no off f 0`.",
        "Durations are `90`, `90s`, `30m`, `2h`, `1d`; sizes `512K`, `64M`, `2G`. Listeners are",
        "`ADDRESS:PORT`, where the address may be a name, an IPv4 address, an IPv6 address in brackets, or",
        "`*`.",
        "",
        "`rc.m-store configtest` shows every error in the file at once, each with its line, and the nearest",
        "known name for an option that does not exist.",
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


def generated() -> dict[Path, str]:
    """Each generated file with the text that it should hold now."""
    return {ROOT / "conf" / "ms.conf.sample": format_sample(), ROOT / "docs" / "ms.conf.md": format_manual()}


def main() -> None:
    """Write all generated files."""
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
