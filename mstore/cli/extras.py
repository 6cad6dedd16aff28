"""What makes an installation at home on a machine: samples, manual pages, and completion for shells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mstore.base.generate import format_sample
from mstore.base.options import DEFAULT_CONFIG
from mstore.base.roff import DIRECTORY, MARK
from mstore.cli.completing import SHELLS, script, variable

SHARED = Path("/usr/local/share")
COMPLETION = {
    "bash": "bash-completion/completions/{}",
    "zsh": "zsh/site-functions/_{}",
    "fish": "fish/vendor_completions.d/{}.fish",
}
PROGRAMS = ("msadm", "rc.m-store")
BOOT_SCRIPT = Path(__file__).parents[2] / "rc" / "rc.m-store"
"""It has the LSB header, and so is the init script; it is there in a checkout."""


@dataclass(frozen=True)
class Extra:
    """One file: where it goes, what is in it, and by which words in it we know it for ours."""

    path: Path
    text: str
    mark: str


def extras(base: Path) -> Iterator[Extra]:
    """All such files; manual pages go below the base, where man looks for those of ``base/bin``."""
    sample = format_sample()
    yield Extra(DEFAULT_CONFIG.with_name("ms.sample"), sample, sample.partition(".")[0])
    if BOOT_SCRIPT.is_file():
        script_sample = DEFAULT_CONFIG.with_name("rc.m-store.sample")
        yield Extra(script_sample, BOOT_SCRIPT.read_text(), "# Provides:          m-store\n")
    for page in sorted(DIRECTORY.glob("*.[58]")):
        yield Extra(base / "share" / "man" / f"man{page.suffix[1:]}" / page.name, page.read_text(), MARK)
    for shell in SHELLS:
        for program in PROGRAMS:
            path = SHARED / COMPLETION[shell].format(program)
            yield Extra(path, script(shell, program), variable(program))
