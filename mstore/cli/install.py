"""rc.m-store install and uninstall: the places of a message store on a machine of its own.

    /etc/md/store/ms.conf             from the sample, where there is none
    /etc/md/store/*.sample            the sample, and the boot script
    /usr/local/md/bin                 links to the programs of this environment
    /usr/local/md/lib/plugins         for plugins of the site's
    /var/md/store                     belongs to the runtime user
    /usr/local/md/share/man           manual pages
    /usr/local/share                  completion for bash, zsh and fish
    /etc/systemd/system/m-store.service, or /etc/init.d/m-store

Both may be run again. Below another root, as for making packages, texts and links speak of the places as they
will be, and neither users nor running services are touched.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from mstore.base.config import ConfigErrors, Parser, load
from mstore.base.generate import format_sample
from mstore.base.options import DEFAULT_CONFIG, Settings
from mstore.cli.control import Failed
from mstore.cli.extras import BOOT_SCRIPT, extras
from mstore.cli.service import look_up
from mstore.cli.unit import MARK, format_socket, format_unit

PROGRAMS = ("storemgr", "authproxyd", "imapd", "pop3d", "lmtpd", "metricsd", "msadm", "rc.m-store")
BASE = Path("/usr/local/md")
BIN = BASE / "bin"
STATE = Path("/var/md/store")
UNIT = Path("/etc/systemd/system/m-store.service")
SOCKET_UNIT = UNIT.with_suffix(".socket")
SOCKET_ENABLED = UNIT.parent / "sockets.target.wants" / SOCKET_UNIT.name
INIT_SCRIPT = Path("/etc/init.d/m-store")
DIRECTORIES = (DEFAULT_CONFIG.parent, BIN, BASE / "lib" / "plugins", STATE)
STATE_DIRECTORIES = ("db", "etc", "ipc", "log", "run", "spool")
"""What M-Store makes below ``ms-path``, beside mailstores."""
DEFAULT_USER = "mstore"


def format_config(user: str) -> str:
    """The sample, with the runtime user in it."""
    lines = format_sample().splitlines(keepends=True)
    return "".join(f"runtime-user {user}\n" if line.startswith("#runtime-user ") else line for line in lines)


def outdated_units(settings: Settings, root: Path = Path("/")) -> list[Path]:
    """The units of our making below a root that these settings would give another text; the one for sockets
    counts when it is enabled."""
    made = [(UNIT, format_unit(settings, DEFAULT_CONFIG, BIN))]
    if (root / SOCKET_ENABLED.relative_to("/")).is_symlink():
        try:
            made.append((SOCKET_UNIT, format_socket(settings)))
        except OSError:
            pass  # a name has no address for the moment
    outdated = []
    for place, text in made:
        try:
            there = (root / place.relative_to("/")).read_text(errors="replace")
        except OSError:
            continue
        if there.startswith(MARK) and there != text:
            outdated.append(place)
    return outdated


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


class Installation:
    """Everything below one root."""

    def __init__(self, root: Path | None, quiet: bool = False) -> None:
        """Without a root, the machine itself. ``quiet`` for who asks afterwards what was done.

        Raises: Failed
        """
        self.root = Path(os.path.abspath(root or "/"))
        self.is_real = root is None
        self.quiet = quiet
        self.did: list[dict[str, str]] = []
        """What was made, kept, removed, left, each with its path and what else there is to say."""
        if self.is_real and os.geteuid() != 0:
            raise Failed("must be run by the superuser; --root DIR lays everything out below DIR instead")
        self.config = self.at(DEFAULT_CONFIG)

    def at(self, path: Path) -> Path:
        """Where a place of the machine is now."""
        return self.root / path.relative_to("/")

    def install(self, user: str) -> list[str]:
        """Lay out what is missing; what is there stays. Gives the commands that come next.

        Raises: Failed, ConfigErrors, OSError
        """
        os.umask(0o022)  # The runtime user must get at it, whatever the superuser's own files are.
        self._make_user(user)
        for directory in DIRECTORIES:
            if not (place := self.at(directory)).is_dir():
                place.mkdir(parents=True)
                if self.is_real and directory == STATE:
                    shutil.chown(place, user)
                self._note("made", place)
        self._write_config(user)
        self._link_programs()
        self._write_extras()
        settings = load(self.config) if self.is_real else self._read_config()
        boot = self._write_boot(settings)
        rc, msadm = BIN / "rc.m-store", BIN / "msadm"
        return [
            f"edit {self.config}: default-domain, tls-certificate, tls-key …",
            f"{rc} configtest", f"{msadm} init", f"{msadm} user add NAME", *boot,
        ]  # fmt: skip

    def uninstall(self, purge: bool = False) -> None:
        """Remove what install has made, unless somebody changed it; mail and databases to ``purge`` alone.

        Raises: Failed, ConfigErrors, OSError
        """
        settings = self._read_config() if purge else None
        is_running = self.config.exists() and look_up(self._read_config(), "storemgr").pid is not None
        if self.is_real and is_running:
            raise Failed("storemgr is running; stop it first")
        script = self.at(INIT_SCRIPT)
        for place in (SOCKET_UNIT, UNIT):
            unit = self.at(place)
            if unit.is_file() and unit.read_text().startswith(MARK):
                self._systemctl("disable", place.name)
                self._remove(unit)
                self._systemctl("daemon-reload")
        if script.is_symlink() and script.readlink() == BOOT_SCRIPT:
            self._remove(script)
            if self.is_real and shutil.which("update-rc.d"):
                self._run(["update-rc.d", script.name, "remove"])  # The links of its runlevels.
        for name in PROGRAMS:
            if (link := self.at(BIN / name)).is_symlink():
                self._remove(link)
        for extra in extras(BASE):
            place = self.at(extra.path)
            if place.is_file() and extra.mark in place.read_text(errors="replace"):
                self._remove(place)
        for directory in {self.at(extra.path).parent for extra in extras(BASE)}:
            self._remove_empty(directory)
        if settings is not None:
            self._purge(settings)
        if self.config.is_file():
            if purge or self._is_unedited():
                self._remove(self.config)
            else:
                self._note("left", self.config, ", which was edited")
        for directory in DIRECTORIES:
            self._remove_empty(self.at(directory))
        if self.at(STATE).exists():
            self._note("left", self.at(STATE), " with all that is in it")
        if self.is_real:
            self._note("left", "the runtime user", "; userdel removes it")

    def _purge(self, settings: Settings) -> None:
        """Remove all mail and all databases; what else lies in these directories stays."""
        ours = [settings.ms_path / name for name in STATE_DIRECTORIES]
        for mailstore in settings.mailstores.values():
            place = self.at(mailstore)
            ours += [mailstore / path.name for path in place.glob("[0-9a-f][0-9a-f]")]
        for path in ours:
            if (place := self.at(path)).is_dir():
                shutil.rmtree(place)
        for path in (*settings.mailstores.values(), settings.ms_path):
            if (place := self.at(path)).is_dir() and not any(place.iterdir()):
                place.rmdir()
                self._note("removed", place)

    def _read_config(self) -> Settings:
        """The configuration, wherever the users and files that it names may be."""
        parser = Parser(self.config)
        settings = parser.parse(self.config.read_text())
        if settings is None or parser.problems:
            raise ConfigErrors(parser.problems)
        return settings

    def _make_user(self, user: str) -> None:
        if not self.is_real or _is_user(user):
            return
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(STATE)]
        self._run([*command, "--shell", "/usr/sbin/nologin", "--", user])
        self._note("made", f"the user {user}")

    def _write_config(self, user: str) -> None:
        if self.config.exists():
            self._note("kept", self.config)
            return
        self.config.write_text(format_config(user))
        self.config.chmod(0o644)
        self._note("made", self.config)

    def _is_unedited(self) -> bool:
        text = self.config.read_text()
        users = [line.split()[1] for line in text.splitlines() if line.startswith("runtime-user ")]
        return len(users) == 1 and text == format_config(users[0])

    def _link_programs(self) -> None:
        for name in PROGRAMS:
            target = Path(sys.executable).parent / name
            if not target.is_file():
                raise Failed(f"{target} is missing: M-Store is not installed in this environment")
            self._link(self.at(BIN / name), target)

    def _write_extras(self) -> None:
        """Write manual pages and completion, unless somebody has put something of his own there."""
        for extra in extras(BASE):
            place = self.at(extra.path)
            there = place.read_text(errors="replace") if place.exists() else None
            if there == extra.text:
                continue
            if there is not None and extra.mark not in there:
                self._note("kept", place, ", which is not of our making")
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(extra.text)
            place.chmod(0o644)
            self._note("wrote", place)

    def _link(self, link: Path, target: Path) -> None:
        if link.is_symlink():
            if link.readlink() == target:
                return
            link.unlink()
        elif link.exists():
            raise Failed(f"{link} is in the way")
        link.symlink_to(target)
        self._note("made", link, f" -> {target}")

    def _write_boot(self, settings: Settings) -> list[str]:
        """Write the unit or the init script, below another root both; what starts the store then."""
        has_systemd = Path("/run/systemd/system").is_dir()
        if has_systemd or not self.is_real:
            self._write_unit(UNIT, format_unit(settings, DEFAULT_CONFIG, BIN))
            self._write_unit(SOCKET_UNIT, format_socket(settings))
            self._systemctl("daemon-reload")
        if not has_systemd or not self.is_real:
            if BOOT_SCRIPT.is_file():
                self.at(INIT_SCRIPT.parent).mkdir(parents=True, exist_ok=True)
                self._link(self.at(INIT_SCRIPT), BOOT_SCRIPT)
            else:
                self._note("missing:", BOOT_SCRIPT, "; there is no init script")
        if has_systemd or not self.is_real:
            return ["systemctl enable --now m-store"]
        return ["update-rc.d m-store defaults", f"{INIT_SCRIPT} start"]

    def _note(self, what: str, about: object, more: str = "") -> None:
        """Say what was done, and keep it."""
        self.did.append({"what": what.rstrip(":"), "path": str(about), "note": more.lstrip(" ,;")})
        if not self.quiet:
            print(f"{what} {about}{more}")

    def _write_unit(self, place: Path, text: str) -> None:
        unit = self.at(place)
        if unit.exists() and not unit.read_text().startswith(MARK):
            self._note("kept", unit, ", which is not of our making")
            return
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text(text)
        unit.chmod(0o644)
        self._note("wrote", unit)

    def _systemctl(self, *arguments: str) -> None:
        if self.is_real and Path("/run/systemd/system").is_dir() and shutil.which("systemctl"):
            self._run(["systemctl", "--quiet", *arguments])

    def _run(self, command: list[str]) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise Failed(f"{command[0]} is missing") from None
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")

    def _remove(self, path: Path) -> None:
        path.unlink()
        self._note("removed", path)

    def _remove_empty(self, directory: Path) -> None:
        """Remove a directory and those above it that are M-Store's, while they are empty."""
        while "md" in directory.relative_to(self.root).parts:
            try:
                directory.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return
            else:
                self._note("removed", directory)
            directory = directory.parent
