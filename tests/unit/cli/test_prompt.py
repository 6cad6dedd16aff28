"""msadm without a verb: the prompt at a terminal, and scripts from standard input."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mstore.cli import history
from mstore.cli.script import split
from tests.kit.waiting import wait_for
from tests.unit.cli.conftest import Admin

ROOT = Path(__file__).resolve().parents[3]
PROMPT = "msadm> "


class Terminal:
    """msadm at a terminal of its own."""

    def __init__(self, admin: Admin, readline: bool = True) -> None:
        self.history = admin.path / "state" / "m-store" / "msadm-history"
        environment = os.environ | {
            "XDG_STATE_HOME": str(admin.path / "state"), "PYTHONPATH": str(ROOT), "TERM": "dumb",
        }  # fmt: skip
        missing = "" if readline else "sys.modules['readline'] = None; "
        code = f"import sys; {missing}from mstore.cli.msadm import main; main()"
        words = [sys.executable, "-c", code, "-f", str(admin.config)]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(words[0], words, environment)
        self.status: int | None = None
        self.rest = ""

    def read_until(self, text: str, patience_s: float = 30.0) -> str:
        """What appears up to a text, that included."""
        seen, self.rest = self.rest, ""
        deadline = time.monotonic() + patience_s
        while text not in seen:
            if not self._is_ready(max(0.0, deadline - time.monotonic())):
                self.rest = seen
                raise AssertionError(f"{text!r} did not come: {seen!r}")
            try:
                data = os.read(self.fd, 4096)
            except OSError:
                data = b""
            assert data, f"ended before {text!r}: {seen!r}"
            seen += data.decode(errors="replace").replace("\r\n", "\n").replace("\a", "")
        before, _, self.rest = seen.partition(text)
        return before + text

    def _is_ready(self, patience_s: float) -> bool:
        waiting = select.poll()  # select(2) takes no descriptor above 1,023
        waiting.register(self.fd, select.POLLIN)
        return bool(waiting.poll(patience_s * 1000))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def say(self, line: str) -> str:
        """Type a command line; what appears until the next prompt."""
        self.type(line + "\r")
        self.read_until("\n")
        return self.read_until(PROMPT).removesuffix(PROMPT)

    def wait_for_silence(self) -> None:
        """Wait until what is typed is not shown: what was typed before that is dropped."""
        wait_for(lambda: not termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def interrupt(self) -> str:
        """Type Ctrl-C; what appears until the next prompt.

        A signal that comes just before readline waits is seen with the next key only, so it is typed again.
        """
        for _ in range(5):
            self.type("\x03")
            with contextlib.suppress(AssertionError):
                return self.read_until(PROMPT, 6.0)
        raise AssertionError(f"it was not interrupted: {self.rest!r}")

    def wait(self) -> int:
        if self.status is None:
            while self._is_ready(60.0):
                try:
                    if not os.read(self.fd, 4096):
                        break
                except OSError:
                    break
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        os.close(self.fd)


@pytest.fixture
def terminal(admin: Admin) -> Iterator[Terminal]:
    admin.add("ann")
    admin.add("joe@example.org")
    admin.ok("mailbox", "create", "ann", "Sent Items")
    found = Terminal(admin)
    found.read_until(PROMPT)
    yield found
    found.close()


def test_commands_run_one_after_another_whatever_becomes_of_them(terminal: Terminal) -> None:
    assert re.search(r"^ann +main", terminal.say("user list"), re.M)
    assert "did you mean list?" in terminal.say("user lsit")
    assert "No closing quotation" in terminal.say("user add 'x")
    assert "there is no user jo" in terminal.say("msadm mailbox list jo")
    assert "INBOX" in terminal.say("mailbox list ann")
    assert terminal.say("# user remove ann --yes") == terminal.say("") == ""
    terminal.type("exit\r")
    assert terminal.wait() == 0


def test_help_tells_of_verbs(terminal: Terminal) -> None:
    everything = terminal.say("help")
    assert "  mailbox " in everything and "  exit " in everything
    assert "Usage: msadm user add [OPTIONS] NAME" in terminal.say("help user add")
    assert "did you mean user?" in terminal.say("help usre")


def test_control_d_ends_the_prompt_and_control_c_the_line(terminal: Terminal) -> None:
    terminal.type("user remo")
    terminal.read_until("user remo")
    terminal.interrupt()
    assert "ann" in terminal.say("user list")
    terminal.type("\x04")
    assert terminal.wait() == 0


def test_control_c_ends_a_command_alone(terminal: Terminal) -> None:
    terminal.type("user remove ann\r")
    terminal.read_until("[y/N]: ")
    assert "Aborted" in terminal.interrupt()
    assert "ann" in terminal.say("user list")


def test_a_password_is_asked_for_and_kept_nowhere(terminal: Terminal) -> None:
    terminal.type("user passwd ann\r")
    terminal.read_until("Password: ")
    terminal.wait_for_silence()
    terminal.type("very secret\r")
    terminal.read_until("Once more: ")
    terminal.wait_for_silence()
    terminal.type("very secret\r")
    assert "the password of ann is set" in terminal.read_until(PROMPT)
    terminal.say("user passwd ann --hash '{PLAIN}very secret'")
    terminal.say("user passwd ann --hash={PLAIN}secret")
    terminal.say(" user list")
    terminal.say("user list")
    kept = terminal.history.read_text()
    assert kept == "user passwd ann\nuser list\n"
    assert stat.S_IMODE(terminal.history.stat().st_mode) == 0o600


def test_the_arrow_brings_lines_of_earlier_conversations(terminal: Terminal, admin: Admin) -> None:
    terminal.say("group list")
    terminal.type("exit\r")
    terminal.wait()
    again = Terminal(admin)
    again.read_until(PROMPT)
    again.type("\x1b[A\x1b[A\r")
    assert "NAME  USERS" in again.read_until("USERS")
    again.close()


@pytest.mark.parametrize(
    ("typed", "full"),
    [
        ("mail\t", "mailbox "),
        ("user li\t", "user list "),
        ("user passwd joe\t", "user passwd joe@example.org "),
        ("mailbox list ann --j\t", "mailbox list ann --json "),
        ("mailbox delete ann Se\t", "mailbox delete ann Sent\\ Items "),
        ("mailbox delete ann 'Se\t", "mailbox delete ann 'Sent Items' "),
        ("mailbox delete ann Sent\\ I\t", "mailbox delete ann Sent\\ Items "),
        ("mailbox delete user/an\t", "mailbox delete user/ann/"),
        ("help quota se\t", "help quota set "),
        ("exp\tmb\t", "export mbox "),
    ],
)
def test_tab_completes(terminal: Terminal, typed: str, full: str) -> None:
    terminal.type(typed)
    terminal.read_until(full)


def test_without_readline_lines_are_read_as_they_come(admin: Admin) -> None:
    terminal = Terminal(admin, readline=False)
    terminal.read_until(PROMPT)
    assert "NAME  USERS" in terminal.say("group list")
    terminal.type("\x04")
    assert terminal.wait() == 0
    terminal.close()


def run_script(admin: Admin, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mstore.cli.msadm", "-f", str(admin.config), *arguments],
        input=text, capture_output=True, text=True, cwd=ROOT, timeout=100,
    )  # fmt: skip


def test_a_script_runs_line_by_line(admin: Admin) -> None:
    done = run_script(
        admin,
        "# users\nuser add ann --password-stdin\nsecret one\n\nmsadm user add bob --password-stdin\nsecret\n"
        'mailbox create ann "Sent Items"\nalias add postmaster ann',
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "mail for postmaster reaches ann"
    assert [user["name"] for user in admin.json("user", "list")] == ["ann", "bob"]
    assert "Sent Items" in admin.ok("mailbox", "list", "ann")


def test_a_script_stops_at_the_first_error(admin: Admin) -> None:
    text = "group add one\nuser remove nobody --yes\ngroup add two\nuser 'x\n"
    done = run_script(admin, text)
    assert done.returncode == 1
    assert "there is no user nobody" in done.stderr
    assert "this line has failed: user remove nobody --yes" in done.stderr
    assert [group["name"] for group in admin.json("group", "list")] == ["one"]
    done = run_script(admin, text.removeprefix("group add one\n"), "--keep-going")
    assert done.returncode == 2 and "No closing quotation" in done.stderr
    assert [group["name"] for group in admin.json("group", "list")] == ["one", "two"]


def test_bytes_of_any_kind_in_a_script_are_an_error_at_most(admin: Admin) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mstore.cli.msadm", "-f", str(admin.config), "--keep-going"],
        input=b"\xff\xfe user\n\0\nuser list\0\n" + b"x" * 100_000 + b"\n", capture_output=True, cwd=ROOT,
        timeout=100,
    )  # fmt: skip
    assert done.returncode == 2 and b"Traceback" not in done.stderr


def test_keep_going_is_for_scripts(admin: Admin) -> None:
    assert "takes no verb" in admin.fails("--keep-going", "user", "list")


def test_words_are_those_of_a_shell() -> None:
    assert split("mailbox create ann C#") == ["mailbox", "create", "ann", "C#"]
    assert split("msadm user list") == ["user", "list"]
    assert split("  # nothing") == split(" ") == []


def test_history_is_cut_and_never_in_a_foreign_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history"
    path.parent.mkdir()
    path.write_text("".join(f"line {number}\n" for number in range(2 * history.MOST + 5)))
    path.chmod(0o644)
    found = history.History(path)
    assert len(found.lines) == history.MOST and len(path.read_text().splitlines()) == history.MOST
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found.add("new")
    found.add("new")
    assert path.read_text().endswith(f"line {2 * history.MOST + 4}\nnew\n")
    assert not history.History(Path("~/nobody")).is_kept
    link = tmp_path / "link"
    link.symlink_to(path)
    assert not history.History(link).is_kept
    if os.geteuid() == 0:
        os.chown(path, 1, 1)
        assert not history.History(path).is_kept
