"""One reload of all daemons, from its beginning until the last of them has carried it out."""

from __future__ import annotations

from collections.abc import Mapping

from mstore.base import clock
from workers.requests import Asker

LONGEST_S = 60.0


class Reload:
    """Which daemons are still to answer, what those said that have, and who is to be told."""

    def __init__(self, pids: Mapping[str, int | None], askers: list[Asker]) -> None:
        """``pids`` are the daemons that were told; one that does not run now is to start."""
        self._pids = dict(pids)
        self._askers = askers
        self._failed: dict[str, None] = {}
        self._needs_restart: dict[str, None] = {}
        self._deadline_s = clock.steady() + LONGEST_S

    @property
    def is_over(self) -> bool:
        """Whether every daemon has answered."""
        return not self._pids

    def hear(self, name: str, pid: int | None, word: str, text: str) -> None:
        """Take an answer; a daemon that was started since has read the configuration in any case."""
        if word == "needs-restart":
            self._needs_restart[text] = None
        elif word == "not-reloaded":
            self.fail(name, text)
        elif name in self._pids and (word == "reloaded" or (word == "ready" and self._pids[name] != pid)):
            del self._pids[name]

    def fail(self, name: str, text: str) -> None:
        """A daemon goes on as it was, or not at all."""
        self._failed[f"{name}: {'; '.join(text.splitlines())}"] = None
        self._pids.pop(name, None)

    def refuse(self, text: str) -> None:
        """Nobody is told: everything goes on as it was."""
        self._failed[text] = None
        self._pids.clear()

    def look_at_clock(self) -> None:
        """Who has not answered in time has failed."""
        if clock.steady() >= self._deadline_s:
            for name in list(self._pids):
                self.fail(name, f"is not ready after {LONGEST_S:.0f} seconds")

    def end(self) -> None:
        """Tell those that have asked for it."""
        for asker in self._askers:
            asker.answer(failed=list(self._failed), needs_restart=list(self._needs_restart))
