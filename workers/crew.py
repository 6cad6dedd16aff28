"""The workers of one daemon: forked, each with its own listeners and its own slot of the scoreboard.

A worker's place decides its listeners; several generations may hold one place at a time after a reload, when
the older ones only wait for their sessions to end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mstore.base.log import Log
from workers.listeners import Listener
from workers.parent import Lines, Parent
from workers.scoreboard import Scoreboard, Slot
from workers.signals import fork
from workers.supervisor import Child, Supervisor

GENERATIONS = 4
"""So many workers may hold one place at once; a reload beyond that ends the oldest with its sessions."""


@dataclass(eq=False)
class Member:
    """One worker, alive or about to be."""

    place: int
    slot: Slot
    child: Child


class Crew:
    """All workers of a daemon."""

    def __init__(
        self,
        supervisor: Supervisor,
        groups: list[list[Listener]],
        shared: list[Listener],
        run: Callable[[int, list[Listener], Slot, Parent], int],
        log: Log,
    ) -> None:
        """``run(number, listeners, slot, parent)`` is the life of a worker, in its process."""
        self.board = Scoreboard(len(groups) * GENERATIONS)
        self.members: list[Member] = []
        self._supervisor = supervisor
        self._groups = groups
        self._shared = shared
        self._run = run
        self._log = log
        self._liveness, self._liveness_write = os.pipe2(os.O_CLOEXEC)
        notify_read, self._notify = os.pipe2(os.O_CLOEXEC)
        self._lines = Lines(notify_read, self._hear)
        self._waiting = len(groups)
        self.complete: Callable[[], None] = lambda: None
        """Called when every worker has begun to accept, the first time."""
        self.gone: Callable[[Slot], None] = lambda slot: None
        """Called when a worker has died, with the slot that it had."""
        supervisor.watch(notify_read, self._lines.read)

    def start(self) -> None:
        """Add one worker for each place."""
        for place in range(len(self._groups)):
            self._add(place)

    def replace(self) -> None:
        """Let the workers end with their sessions, and others take their places."""
        for member in [member for member in self.members if not member.child.retired]:
            if member.child.pid is None:
                continue  # It starts with the new configuration in any case.
            self._supervisor.retire(member.child)
            os.kill(member.child.pid, signal.SIGUSR1)
            self._add(member.place)

    def count(self, name: str) -> int:
        """A field summed over all workers."""
        return self.board.total(name)

    def close(self) -> None:
        """Close the doors: the daemon's own copies of the workers' listeners."""
        for group in self._groups:
            for listener in group:
                listener.socket.close()

    def _add(self, place: int) -> None:
        slots = [self.board.slots[place + n * len(self._groups)] for n in range(GENERATIONS)]
        used = [member for member in self.members if member.place == place]
        free = [slot for slot in slots if all(member.slot is not slot for member in used)]
        if not free:
            used[0].child.told_to_stop = True
            if used[0].child.pid is not None:
                os.kill(used[0].child.pid, signal.SIGTERM)
        slot = free[0] if free else used[0].slot
        child = Child(
            f"worker {place + 1}",
            start=partial(self._fork, place, slot),
            heartbeat=lambda: slot.heartbeat_s,
            died=self._died,
        )
        self.members.append(Member(place, slot, child))
        self._supervisor.add(child)

    def _died(self, child: Child, status: int) -> None:
        for member in list(self.members):
            if member.child is child:
                member.slot.clear()
                self.gone(member.slot)
                if child.retired:
                    self.members.remove(member)

    def _fork(self, place: int, slot: Slot) -> int:
        slot.take()
        return fork(partial(self._become, place, slot), self._supervisor.signals)

    def _become(self, place: int, slot: Slot) -> int:
        """In the child: let go of what is the daemon's, and be a worker."""
        try:
            os.close(self._liveness_write)
            os.close(self._lines.fd)
            for other, group in enumerate(self._groups):
                if other != place:
                    for listener in group:
                        listener.socket.close()
            parent = Parent(self._liveness, self._notify)
            return self._run(place + 1, [*self._groups[place], *self._shared], slot, parent)
        except Exception as error:
            self._log.exception("worker-failed", error, worker=place + 1)
            return 70

    def _hear(self, line: str) -> None:
        if line == "ready" and self._waiting > 0:
            self._waiting -= 1
            if self._waiting == 0:
                self.complete()
