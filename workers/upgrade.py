"""An upgrade in place: the daemons of another version of the program take over while those of this one run.

Three steps, each of which may fail and then leaves everything as it was. The new storemgr is run once, to
say which daemons it wants, and to bind what is not bound yet (the plan). Those daemons are started, on the
same sockets, while the old ones go on. When all of them accept, this process becomes the new storemgr, by
execve: its process id, its children and its descriptors stay, and what it knows goes along in a file in
memory (the state). The new one tells the old daemons to leave; they end with their sessions.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from mstore.base import clock
from workers.managed import Managed, Program, spawn
from workers.requests import Asker
from workers.succession import NotUnderstood, receive_plan
from workers.supervisor import Child, Supervisor, describe_status

LONGEST_S = 120.0
"""So long may the plan take, and so long the start of the daemons."""
WORDS_BYTES = 4096


class Upgrade:
    """One upgrade, until this process becomes another or everything is as before."""

    def __init__(
        self,
        program: Program,
        asker: Asker | None,
        supervisor: Supervisor,
        start: Callable[[str, list[socket.socket], Program], Managed],
        commit: Callable[[], None],
    ) -> None:
        """``start`` adds a daemon of the new version; ``commit`` is called when all of them accept."""
        self.program = program
        self.asker = asker
        self.successors: list[Managed] = []
        self.failed: list[str] = []
        self._supervisor = supervisor
        self._start = start
        self._commit = commit
        self._deadline_s = clock.steady() + LONGEST_S

    def plan(self, config: Path, sockets: Sequence[socket.socket]) -> None:
        """Ask the new storemgr what it wants, given these sockets.

        Raises: OSError
        """
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = os.memfd_create("words", os.MFD_CLOEXEC)
        fds = [sock.fileno() for sock in sockets]
        more = ["--plan", str(theirs.fileno()), "--listeners", ",".join(map(str, fds))]
        command = self.program.command("storemgr", config, *more)
        planner = Child("plan", start=lambda: 0, retired=True, due_s=None)
        planner.died = lambda child, status: self._planned(status, channel, words)
        try:
            planner.pid = spawn(self.program, command, words, [theirs.fileno(), *fds])
        except BaseException:
            channel.close()
            os.close(words)
            raise
        finally:
            theirs.close()
        planner.started_s, planner.deadline_s = clock.steady(), self._deadline_s
        self._supervisor.add(planner)

    def _planned(self, status: int, channel: socket.socket, words: int) -> None:
        with channel, open(words, "rb") as file:
            if self._supervisor.stopping:
                return
            if status != 0:
                file.seek(0)
                lines = file.read()[-WORDS_BYTES:].decode("utf-8", "replace").strip().splitlines()
                lines = lines if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 78 else lines[-1:]
                self.failed += lines or [f"storemgr: {describe_status(status)}"]
                return
            try:
                plan = receive_plan(channel)
            except (OSError, NotUnderstood) as error:
                self.failed.append(f"storemgr: {error}")
                return
        self._deadline_s = clock.steady() + LONGEST_S
        self.successors = [self._start(name, sockets, self.program) for name, sockets in plan.items()]

    def look(self) -> None:
        """Commit as soon as every new daemon accepts; find who has not in time."""
        if self.failed or not self.successors:
            return
        waiting = [managed.name for managed in self.successors if not managed.ready]
        if not waiting:
            self._commit()
        elif clock.steady() >= self._deadline_s:
            self.failed += [f"{name}: is not ready after {LONGEST_S:.0f} seconds" for name in waiting]

    def died(self, managed: Managed, status: int) -> None:
        """A new daemon has ended, before or after it was ready."""
        words = managed.last_words(status) or describe_status(status)
        self.failed.append(f"{managed.name}: {words}")

    def end(self) -> None:
        """Let the new daemons go, who end with what sessions they have, and say what has failed."""
        for managed in self.successors:
            managed.leave(self._supervisor)
            for sock in managed.sockets:
                sock.close()
            managed.sockets.clear()
        if self.asker is not None:
            self.asker.answer(failed=self.failed)
