"""The file that closes the doors: while ``etc/nologin`` exists, IMAP and POP3 let nobody in.

Who connects is turned away at once, who was connected before when they log in; sessions go on.
"""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_TEXT = "server is closed for maintenance"
_READ_BYTES = 1024
_TEXT_LIMIT = 400


def read_nologin(path: Path) -> str | None:
    """The words for a client that is turned away: the first line of the file; None when there is no file.

    What cannot be read counts as there, because closing is what somebody wanted.
    """
    name = os.fspath(path)
    # A file that is not there is asked for at every greeting; what else may be wrong, open() tells.
    if not os.access(name, os.F_OK) and os.access(os.path.dirname(name), os.X_OK):
        return None
    try:
        with open(path, "rb") as file:
            first = file.read(_READ_BYTES).split(b"\n", 1)[0]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return DEFAULT_TEXT
    text = "".join(c if " " <= c <= "~" else "?" for c in first.decode("utf-8", "replace").strip())
    return text[:_TEXT_LIMIT] or DEFAULT_TEXT
