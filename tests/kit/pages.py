"""What the documentation tells a reader to type or to write, for tests that do so."""

from __future__ import annotations

import re

from tests.kit.instance import ROOT


def blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of a page whose opening fence says ``kind``; there is at least one."""
    text = (ROOT / page).read_text()
    found = re.findall(rf"^```{re.escape(kind)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no block of the kind {kind}"
    return found


def block(page: str, kind: str) -> str:
    """The only such block."""
    (text,) = blocks(page, kind)
    return text
