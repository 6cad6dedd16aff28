"""Every IMAP dialogue, with its input whole, by line, by byte and in random pieces."""

from pathlib import Path

import pytest

from tests.kit.dialogue import Cut, parse_dialogue, play
from tests.kit.scripted import CUTS
from tests.kit.waiting import waiting_by_threads

DIALOGUES = sorted((Path(__file__).parent / "imap").glob("*.txt"))


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_dialogue(path: Path, cut: Cut, tmp_path: Path) -> None:
    with waiting_by_threads():
        play(parse_dialogue(path.read_text(encoding="utf-8")), tmp_path, cut)


def test_there_are_dialogues_and_each_names_its_rule() -> None:
    assert len(DIALOGUES) > 20
    for path in DIALOGUES:
        assert parse_dialogue(path.read_text(encoding="utf-8")).title.startswith(("RFC ", "The manual")), path
