"""Starting and stopping a message store from outside: what ``rc.m-store start`` and ``stop`` do.

storemgr is started as a program of its own and left behind; it tells over a pipe whether it is up, and every
socket is then asked itself.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mstore.base.errors import MStoreError
from mstore.base.options import SERVICES, Settings
from mstore.cli.service import look_up, silent_doors, taken_doors
from mstore.files.lockfile import holder

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
ANSWER_S = 15.0
MARGIN_S = 20.0
ANSWERED_S = 400.0
"""How long storemgr may take to reload or to upgrade, also after what it is doing already."""
VACATE_S = 3.0
"""How long the ports may still be held by daemons whose storemgr was killed."""
SOCKETS = ("storemgr", "authproxyd", "authproxyd-sasl", "lmtpd", "lmtpd-oq")


class Failed(MStoreError):
    """What was asked for did not come about; the text says what and why."""


def environment() -> dict[str, str]:
    """The environment in which this installation's programs find their modules."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def command(module: str, *arguments: str) -> list[str]:
    """A command line that runs one of our modules in this interpreter."""
    return [sys.executable, "-P", "-m", module, *arguments]


def start(settings: Settings, config: Path) -> bool:
    """Start storemgr and wait until every socket answers; False when it ran already.

    Raises: Failed
    """
    running = look_up(settings, "storemgr").pid is not None
    if not running:
        _await(lambda: not taken_doors(settings), VACATE_S)
        taken = taken_doors(settings)
        if taken:
            raise Failed("\n".join(f"{door}: Address already in use" for door in taken))
        _launch(config)
    silent = silent_doors(settings, ANSWER_S)
    if silent:
        lines = [f"{door.service} does not answer on {door.where}: {why}" for door, why in silent.items()]
        raise Failed("\n".join([*lines, f"see {settings.log_path}"]))
    return not running


def _launch(config: Path) -> None:
    """Start storemgr in a session of its own and wait for its word."""
    read, write = os.pipe2(os.O_CLOEXEC)
    with tempfile.TemporaryFile() as words:
        try:
            process = subprocess.Popen(
                command("workers.storemgr", "-f", str(config), "-d", "--managed", f",{write}"),
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                env=environment(),
                cwd="/",
                pass_fds=(write,),
                start_new_session=True,
            )
        finally:
            os.close(write)
        try:
            refusal = _await_word(read, time.monotonic() + START_S)
        finally:
            os.close(read)
        if refusal is None:
            return
        _end(process)
        words.seek(0)
        said = words.read().decode("utf-8", "replace").strip()
        raise Failed(refusal or said or "storemgr ended without a word")


def _await_word(read: int, deadline: float) -> str | None:
    """None when storemgr is up, otherwise why not (nothing when it did not say)."""
    data = b""
    poll = select.poll()
    poll.register(read, select.POLLIN)
    refusals: list[str] = []
    while (left_s := deadline - time.monotonic()) > 0:
        if not poll.poll(left_s * 1000):
            break
        more = os.read(read, 4096)
        *lines, data = (data + more).split(b"\n")
        for line in lines:
            word, _, text = line.decode("utf-8", "replace").partition(" ")
            if word == "ready":
                return None
            if word == "refused":
                refusals.append(text)
        if not more:
            return "\n".join(refusals)
    return "\n".join(refusals) or f"storemgr was not ready after {START_S:.0f} seconds"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(MARGIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop(settings: Settings) -> bool:
    """End storemgr and everything it runs; False when nothing ran.

    Raises: Failed, with what would not end
    """
    patience_s = settings.shutdown_grace + MARGIN_S
    ran = _end_by_lock(settings, ["storemgr"], patience_s)
    # Daemons that were started alone, or whose storemgr was killed.
    left = list(reversed(SERVICES))
    ran = _end_by_lock(settings, left, patience_s) or ran
    still = [name for name in ("storemgr", *left) if holder(settings.lock_path(name)) is not None]
    if still:
        raise Failed("still running: " + ", ".join(still))
    _await(lambda: not _members(settings), settings.shutdown_grace + 5)
    for name in SOCKETS:
        path = settings.ipc_path(name)
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                path.unlink()
        except FileNotFoundError:
            pass
    return ran


def _end_by_lock(settings: Settings, names: list[str], patience_s: float) -> bool:
    found = {name: pid for name in names if (pid := holder(settings.lock_path(name))) is not None}
    for name, pid in found.items():
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        except PermissionError:
            raise Failed(f"{name} (process {pid}) belongs to somebody else") from None
    _await(lambda: all(holder(settings.lock_path(name)) != pid for name, pid in found.items()), patience_s)
    return bool(found)


def _members(settings: Settings) -> list[int]:
    """Our processes that hold a descriptor below ``ms-path``: workers that outlive their daemon.

    Nobody but the superuser sees the descriptors of workers, who are confined. Then a worker counts whose
    daemon is gone, wherever it may be from: it ends by itself.
    """
    root = f"{settings.ms_path}/"
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                if file.read(9) != b"m-store: ":
                    continue
            try:
                files = os.listdir(f"/proc/{entry}/fd")
            except PermissionError:
                if _is_orphan(entry):
                    found.append(int(entry))
                continue
            if any(os.readlink(f"/proc/{entry}/fd/{fd}").startswith(root) for fd in files):
                found.append(int(entry))
        except OSError:
            continue  # Ended while we looked, or somebody else's.
    return found


def _is_orphan(pid: str) -> bool:
    """Whether this is a process of our user's whose parent is none of M-Store's."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    if int(fields["Uid"].split()[0]) != os.getuid():
        return False
    try:
        parent = Path(f"/proc/{fields['PPid'].strip()}/cmdline").read_bytes()
    except OSError:
        return True
    return not parent.startswith(b"m-store: ")


def _await(condition: Callable[[], bool], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def reload(settings: Settings) -> list[str]:
    """Have the daemons read their configuration anew; returns when the new workers accept.

    Gives the changed options that need a restart.
    Raises: Failed when storemgr does not run, is somebody else's, or when a daemon could not reload
    """
    return _ask(settings, {"do": "reload"}).get("needs_restart", [])


def upgrade(settings: Settings) -> None:
    """Have this version of the program take over; returns when its daemons accept and are in charge.

    Raises: Failed when storemgr does not run or is somebody else's, or when the new version does not start;
    the old one then goes on.
    """
    _ask(settings, {"do": "upgrade", "python": sys.executable, "root": str(ROOT)})


def _ask(settings: Settings, request: dict[str, str]) -> dict[str, list[str]]:
    """What storemgr answers (workers/requests.py).

    Raises: Failed
    """
    pid = holder(settings.lock_path("storemgr"))
    if pid is None:
        raise Failed("storemgr is not running")
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(ANSWERED_S)
            sock.connect(str(settings.ipc_path("storemgr")))
            sock.sendall(json.dumps(request).encode("ascii") + b"\n")
            while not answer.endswith(b"\n") and (piece := sock.recv(65_536)):
                answer += piece
    except PermissionError:
        raise Failed(f"storemgr (process {pid}) belongs to somebody else") from None
    except TimeoutError:
        what = f"the {request['do']} is not complete after {ANSWERED_S:.0f} seconds"
        raise Failed(f"{what}; see {settings.log_path}") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise Failed(f"storemgr (process {pid}) cannot be asked; restart it") from None
    except ConnectionError:
        answer = b""
    if not answer:
        if os.geteuid() not in (0, Path(f"/proc/{pid}").stat().st_uid):
            raise Failed(f"storemgr (process {pid}) belongs to somebody else")
        raise Failed(f"storemgr has not answered; see {settings.log_path}")
    found: dict[str, list[str]] = json.loads(answer)
    if found["failed"]:
        raise Failed("\n".join(found["failed"]))
    return found
