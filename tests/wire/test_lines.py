"""Plays every dialogue of LMTP and POP3, the clients' lines cut in all ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mstore.base import blocking
from mstore.lmtp.session import Session as Lmtp
from mstore.pop3.session import Session as Pop3
from tests.kit.dialogue import parse_dialogue
from tests.kit.linedialogue import play_lines
from tests.kit.scripted import CUTS

HERE = Path(__file__).parent
DIALOGUES = sorted([*HERE.glob("lmtp/*.txt"), *HERE.glob("pop3/*.txt")])


@pytest.mark.parametrize("cut", CUTS, ids=[cut.__name__ for cut in CUTS])
@pytest.mark.parametrize("path", DIALOGUES, ids=[f"{path.parent.name}/{path.stem}" for path in DIALOGUES])
def test_dialogue(
    path: Path, cut: Callable[[bytes], list[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "sleep", lambda seconds: None)
    dialogue = parse_dialogue(path.read_text())
    play_lines(Lmtp if path.parent.name == "lmtp" else Pop3, dialogue, tmp_path, cut)
