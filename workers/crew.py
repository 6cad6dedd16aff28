"""The workers of one daemon: forked, each with its own listeners and its own slot of the scoreboard.

A worker's place decides its listeners; several generations may hold one place at a time after a reload, when
the older ones only wait for their sessions to end. Each has a slot of the scoreboard to itself: where a place
has no free one, the worker that accepts goes on until the oldest has ended.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mstore.base.log import Log
from workers import handover
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
    ready_pid: int | None = None
    """The process that has said that it accepts."""
    channel: socket.socket | None = None
    """On which it is handed what only the daemon may open."""

    @property
    def is_ready(self) -> bool:
        """Whether it accepts connections, or need not any more."""
        return self.child.retired or (self.child.pid is not None and self.child.pid == self.ready_pid)


class Crew:
    """All workers of a daemon."""

    def __init__(
        self,
        supervisor: Supervisor,
        groups: list[list[Listener]],
        shared: list[Listener],
        run: Callable[[int, list[Listener], Slot, Parent], int],
        log: Log,
        board: Scoreboard,
    ) -> None:
        """``run(number, listeners, slot, parent)`` is the life of a worker, in its process.

        The scoreboard has ``GENERATIONS`` slots for each group.
        """
        self.board = board
        self.members: list[Member] = []
        self._supervisor = supervisor
        self._groups = groups
        self._shared = shared
        self._run = run
        self._log = log
        self._liveness, self._liveness_write = os.pipe2(os.O_CLOEXEC)
        notify_read, self._notify = os.pipe2(os.O_CLOEXEC)
        self._lines = Lines(notify_read, self._hear)
        self._is_awaited = True
        self._last_words: dict[int, str] = {}
        self._to_replace: set[int] = set()
        """Places whose worker is to be replaced once a slot is free."""
        self.complete: Callable[[], None] = lambda: None
        """Called when every worker has begun to accept, at the start and after each replacement."""
        self.gone: Callable[[Slot, int], None] = lambda slot, pid: None
        """Called when a worker has died, with the slot and the process id that it had."""
        supervisor.watch(notify_read, self._lines.read)

    def start(self) -> None:
        """Add one worker for each place."""
        for place in range(len(self._groups)):
            self._add(place)

    def replace(self) -> None:
        """Let the workers end with their sessions, and others take their places."""
        self._is_awaited = True
        for member in self._current():
            if member.child.pid is None:
                self._supervisor.hurry(member.child)  # It starts with the new configuration in any case.
            else:
                self._replace(member)

    def retire(self) -> None:
        """Let the workers end with their sessions, and nobody take their places."""
        self._is_awaited = False
        self._to_replace.clear()
        for member in self._current():
            self._retire(member)

    def _current(self) -> list[Member]:
        return [member for member in self.members if not member.child.retired]

    def _retire(self, member: Member) -> None:
        pid = member.child.pid
        self._supervisor.retire(member.child)
        if pid is None:
            self.members.remove(member)
        else:
            os.kill(pid, signal.SIGUSR1)

    def _replace(self, member: Member) -> None:
        """Replace a worker, as soon as there is a slot for its successor."""
        if self._free_slot(member.place) is None:
            self._to_replace.add(member.place)
            oldest = next(one for one in self.members if one.place == member.place)
            self._supervisor.end(oldest.child)
            return
        self._to_replace.discard(member.place)
        self._retire(member)
        self._add(member.place)

    def _recycle(self, member: Member, held: str) -> None:
        """Replace a worker that holds too much memory, unless that would cut off an older one's sessions."""
        if member.child.retired:
            return
        can = self._free_slot(member.place) is not None
        self._log.warning(
            "worker-memory-limit", worker=member.place + 1, child_pid=member.child.pid, held_bytes=held,
            replaced="yes" if can else "no",
        )  # fmt: skip
        if can:
            self._replace(member)

    def channels(self) -> list[socket.socket]:
        """On which workers are handed what only the daemon may open."""
        return [member.channel for member in self.members if member.channel is not None]

    def count(self, name: str) -> int:
        """A field summed over all workers."""
        return self.board.total(name)

    def close(self) -> None:
        """Close the doors: the daemon's own copies of the workers' listeners."""
        for group in self._groups:
            for listener in group:
                listener.socket.close()

    def _free_slot(self, place: int) -> Slot | None:
        used = [member.slot for member in self.members if member.place == place]
        slots = (self.board.slots[place + n * len(self._groups)] for n in range(GENERATIONS))
        return next((slot for slot in slots if all(slot is not one for one in used)), None)

    def _add(self, place: int) -> None:
        slot = self._free_slot(place)
        assert slot is not None
        child = Child(
            f"worker {place + 1}",
            start=lambda: 0,
            heartbeat=lambda: slot.heartbeat_s,
            died=self._died,
        )
        child.last_words = self._take_last_words
        member = Member(place, slot, child)
        child.start = partial(self._fork, member)
        self.members.append(member)
        self._supervisor.add(child)

    def _take_last_words(self, pid: int, status: int) -> str:
        self._lines.read()
        return self._last_words.pop(pid, "")

    def _died(self, child: Child, status: int) -> None:
        member = next(member for member in self.members if member.child is child)
        member.slot.clear()
        if member.channel is not None:
            member.channel.close()
            member.channel = None
        self.gone(member.slot, child.last_pid)
        if not child.retired:
            self._to_replace.discard(member.place)  # The next one is new in any case.
            return
        self.members.remove(member)
        if member.place in self._to_replace and not self._supervisor.stopping:
            for current in self._current():
                if current.place == member.place and current.child.pid is not None:
                    self._replace(current)

    def _fork(self, member: Member) -> int:
        member.slot.take()
        ours, theirs = handover.make_channel()
        try:
            with theirs:
                pid = fork(partial(self._become, member.place, member.slot, theirs), self._supervisor.signals)
        except BaseException:
            ours.close()
            raise
        member.channel = ours
        return pid

    def _become(self, place: int, slot: Slot, channel: socket.socket) -> int:
        """In the child: let go of what is the daemon's, and be a worker."""
        parent = Parent(self._liveness, self._notify)
        try:
            os.close(self._liveness_write)
            os.close(self._lines.fd)
            for member in self.members:
                if member.channel is not None:
                    member.channel.close()
            for group in self._groups:
                for listener in group:
                    if listener not in self._groups[place]:
                        listener.socket.close()
            parent = Parent(self._liveness, self._notify, channel.detach())
            return self._run(place + 1, [*self._groups[place], *self._shared], slot, parent)
        except Exception as error:
            self._log.exception("worker-failed", error, worker=place + 1)
            parent.tell(f"failed {os.getpid()} {type(error).__name__}: {error}")
            return 70

    def _hear(self, line: str) -> None:
        self._supervisor.resting.note()
        word, pid, text = [*line.split(" ", 2), "", ""][:3]
        if word == "failed":
            self._last_words[int(pid)] = text
        for member in list(self.members):
            if str(member.child.pid) != pid:
                continue
            if word == "ready":
                member.ready_pid = member.child.pid
            elif word == "swollen" and not self._supervisor.stopping:
                self._recycle(member, text)
        is_complete = not self._to_replace and all(member.is_ready for member in self.members)
        if self._is_awaited and is_complete:
            self._is_awaited = False
            self.complete()
