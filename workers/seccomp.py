"""System calls that a process has no use for, refused to it by the kernel for good (seccomp, Linux 3.5).

A filter is a program of the kernel's packet filter machine that sees a call's number and arguments. What it
refuses fails with EPERM, so that a library that tries something new finds out and goes on. There are tables
for x86-64 and AArch64; elsewhere there is no filter.
"""

from __future__ import annotations

import ctypes
import errno
import socket
from collections.abc import Collection

from workers import kernel

_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_MODE_FILTER = 2
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

CALLS = {
    # name: (x86-64, AArch64); None where there is no such call
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "clone": (56, 220), "clone3": (435, 435), "unshare": (272, 97), "setns": (308, 268),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "prlimit64": (302, 261), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "sethostname": (170, 161), "setdomainname": (171, 162), "acct": (163, 89), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "syslog": (103, 116), "vhangup": (153, 58), "personality": (135, 92),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "mknod": (133, None), "mknodat": (259, 33), "setuid": (105, 146), "setgid": (106, 144),
    "setreuid": (113, 145), "setregid": (114, 143), "setresuid": (117, 147), "setresgid": (119, 149),
    "setfsuid": (122, 151), "setfsgid": (123, 152), "setgroups": (116, 159), "capset": (126, 91),
    "chmod": (90, None), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "lchown": (94, None), "fchownat": (260, 54),
    "socket": (41, 198), "bind": (49, 200), "listen": (50, 201), "ioctl": (16, 29),
}  # fmt: skip
"""The calls that filters speak of."""

_LOOKED_INTO = ("clone", "clone3", "prlimit64", "socket", "ioctl")


class _Filter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32)
    )  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filters", ctypes.POINTER(_Filter)))


Step = tuple[int, int, int, int]


def _argument(number: int) -> Step:
    """Load the lower half of an argument, which is all of those that are looked at."""
    return (_LOAD, 0, 0, 16 + 8 * number)


def _fail(number: int = errno.EPERM) -> Step:
    return (_RETURN, 0, 0, _FAIL | number)


_PASS: Step = (_RETURN, 0, 0, _ALLOW)


def _inspect(name: str, families: Collection[int]) -> list[Step]:
    """How a call is judged by its arguments."""
    if name == "clone":  # A thread is welcome, a process is not.
        return [_argument(0), (_IF_ANY_BIT, 0, 1, _CLONE_THREAD), _PASS, _fail()]
    if name == "clone3":  # Its arguments cannot be seen; libraries take clone where it is not there.
        return [_fail(errno.ENOSYS)]
    if name == "prlimit64":  # One's own limits, which is asked for as process 0.
        return [_argument(0), (_IF_EQUAL, 0, 1, 0), _PASS, _fail()]
    if name == "socket":
        tests = [step for family in sorted(families) for step in ((_IF_EQUAL, 0, 1, family), _PASS)]
        return [_argument(0), *tests, _fail()]
    # ioctl: typing on the terminal from which everything was started.
    typing = [step for request in (_TIOCSTI, _TIOCLINUX) for step in ((_IF_EQUAL, 0, 1, request), _fail())]
    return [_argument(1), *typing, _PASS]


def assemble(machine: str, allowed: Collection[str], families: Collection[int]) -> list[Step]:
    """The filter for an architecture: refuses all of ``CALLS`` but those allowed.

    Sockets may be made of the families given.
    """
    place = list(_ARCHITECTURES).index(machine)
    steps: list[Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [(_IF_AT_LEAST, 0, 1, _X32), _fail()]
    for name, numbers in CALLS.items():
        number = numbers[place]
        if number is None or name in allowed:
            continue
        judged = _inspect(name, families) if name in _LOOKED_INTO else [_fail()]
        steps += [(_IF_EQUAL, 0, len(judged), number), *judged]
    return [*steps, _PASS]


def is_known(machine: str | None = None) -> bool:
    """Whether there is a filter for this architecture."""
    return (machine or kernel.machine()) in _ARCHITECTURES


def install(allowed: Collection[str] = (), families: Collection[int] = (socket.AF_UNIX,)) -> None:
    """Filter the calls of this thread, and of those that it starts.

    Raises: OSError, with EINVAL where the kernel has no filters.
    """
    steps = assemble(kernel.machine(), allowed, families)
    filters = (_Filter * len(steps))(*(_Filter(*step) for step in steps))
    program = _Program(len(steps), filters)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))
