"""What a server spends: CPU time of all its processes, ended ones included, and the memory they share fairly.

CPU is read from a cgroup (v2 `cpu.stat`, or the v1 `cpuacct` hierarchy), which forgets no child; where none
can be made, the process tree is walked and the CPU time of reaped children is added. Memory is PSS from
`smaps_rollup`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """PSS of a set of processes and the page tables that map it."""

    pss_bytes: int
    page_table_bytes: int
    processes: int


class Group:
    """The processes of one server: joined by the first before it starts, inherited by all others."""

    kind = "process tree"

    def enter(self) -> None:
        """Put the calling process in; runs in the child before exec."""

    def started(self, pid: int) -> None:
        """Note the first process."""
        self._root = pid

    def pids(self) -> list[int]:
        """Every living process of the server."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (fields := _stat(int(entry))) is not None:
                children.setdefault(int(fields[1]), []).append(int(entry))
        found, queue = [], [self._root]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue.extend(children.get(pid, ()))
        return found

    def cpu_s(self) -> float:
        """CPU time spent so far."""
        ticks = 0
        for pid in self.pids():
            if (fields := _stat(pid)) is not None:
                ticks += sum(map(int, fields[11:15]))
        return ticks / TICKS

    def remove(self) -> None:
        """Forget the group; no process may be left in it."""


class ControlGroup(Group):
    """A cgroup of its own; CPU time is the kernel's sum, exact to the microsecond."""

    def __init__(self, path: Path, read: Callable[[Path], float], kind: str) -> None:
        self._path, self._read, self.kind = path, read, kind

    def enter(self) -> None:
        with open(self._path / "cgroup.procs", "w") as file:
            file.write(str(os.getpid()))

    def pids(self) -> list[int]:
        return [int(line) for line in (self._path / "cgroup.procs").read_text().split()]

    def cpu_s(self) -> float:
        return self._read(self._path)

    def remove(self) -> None:
        for _ in range(50):
            try:
                self._path.rmdir()
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.1)


def make_group(name: str) -> Group:
    """The best meter that this machine allows."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, options = line.split()[:4]
        if kind == "cgroup2":
            made = _try_group(
                Path(mount) / _own_path("0::").lstrip("/") / name, "cpu.stat", _read_v2, "cgroup v2"
            )
        elif kind == "cgroup" and "cpuacct" in options.split(","):
            made = _try_group(Path(mount) / name, "cpuacct.usage", _read_v1, "cgroup v1")
        else:
            continue
        if made is not None:
            return made
    return Group()


def memory(pids: list[int]) -> Memory:
    """What the processes hold, shared pages counted once between them."""
    pss = tables = count = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            status = Path(f"/proc/{pid}/status").read_text()
        except (OSError, ValueError):
            continue
        pss += _kilobytes(rollup, "Pss:")
        tables += _kilobytes(status, "VmPTE:")
        count += 1
    return Memory(pss * 1024, tables * 1024, count)


def _try_group(path: Path, probe: str, read: Callable[[Path], float], kind: str) -> Group | None:
    try:
        path.mkdir(exist_ok=True)
        if not (path / probe).exists() or not os.access(path / "cgroup.procs", os.W_OK):
            path.rmdir()
            return None
    except OSError:
        return None
    return ControlGroup(path, read, kind)


def _own_path(prefix: str) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith(prefix):
            return line[len(prefix) :]
    return "/"


def _read_v2(path: Path) -> float:
    text = (path / "cpu.stat").read_text()
    return int(text.split("usage_usec ", 1)[1].split("\n", 1)[0]) / 1e6


def _read_v1(path: Path) -> float:
    return int((path / "cpuacct.usage").read_text()) / 1e9


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return None
    return text.rsplit(")", 1)[1].split()


def _kilobytes(text: str, name: str) -> int:
    at = text.find(name)
    return int(text[at + len(name) :].split(None, 1)[0]) if at >= 0 else 0
