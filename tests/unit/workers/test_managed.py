"""What storemgr knows of its daemons."""

from pathlib import Path

import pytest

from workers.managed import Managed
from workers.supervisor import Child

FAILED = 1 << 8
OLD = "time=2026-11-30T10:00:00.000Z level=info event=login daemon=imapd pid=41 user=joe"
OWN = "time=2026-11-30T10:00:00.000Z level=error event=fault daemon=imapd pid=42 error=no"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["Traceback (most recent call last):", "ImportError: no", OLD, ""], "ImportError: no"),
        (["ImportError: no", '{"time":"x","event":"login","pid":421,"user":"joe"}'], "ImportError: no"),
        (["ImportError: no", OWN, OLD], OWN),
        ([OLD, ""], ""),
        (["ImportError: no", "said in time"], "said in time"),
    ],
)
def test_last_words_are_the_daemons_own(tmp_path: Path, lines: list[str], words: str) -> None:
    log = tmp_path / "imapd.log"
    log.write_text("before it began\n")
    child = Child("imapd", lambda: 0)
    child.last_pid = 42
    managed = Managed("imapd", child, log=(log, log.stat().st_size))
    with log.open("a") as file:
        file.write("\n".join(lines))
    assert managed.last_words(FAILED) == words
    assert managed.last_words(0) == "" and managed.last_words(9) == ""
