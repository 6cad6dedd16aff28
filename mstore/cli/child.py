"""Runs one command line of msadm in a process of its own.

A verb may give up the rights of the superuser for good, change directory or be stopped half-way: nothing of
that is to be left for the next one. A fork costs less than a new interpreter by a factor of ten.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import click

from mstore.base.preload import COMMAND_LINE, load_all, load_modules
from mstore.cli.msadm import msadm

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # No thread is to be there when a process is forked.

_KILLED = 128


def run(config: Path, words: Sequence[str]) -> int:
    """Run a verb with its arguments; returns its exit status, 128 and more when a signal has ended it.

    Ctrl-C ends the verb, not the caller.
    """
    _prepare(words[0])
    # The terminal tells the verb too; an exception here might come between its end and our noticing.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)

    def work() -> None:
        signal.signal(signal.SIGINT, before)
        msadm.main(["-f", str(config), *words], prog_name="msadm")

    try:
        _, status = os.waitpid(_fork(work), 0)
    finally:
        signal.signal(signal.SIGINT, before)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _KILLED - code


def _prepare(verb: str) -> None:
    """Import here what a verb needs, so that the next one like it has it."""
    load_all()
    load_modules(COMMAND_LINE)
    with contextlib.suppress(Exception):  # What cannot be imported is the verb's to tell.
        msadm.get_command(click.Context(msadm), verb)


def ask(question: Callable[[], str]) -> str:
    """What a function gives when it is called in a process of its own; nothing when it fails."""
    read, write = os.pipe()

    def tell() -> None:
        os.close(read)
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        with open(write, "w", encoding="utf-8") as answer:
            answer.write(question())

    pid = _fork(tell)
    os.close(write)
    try:
        with open(read, encoding="utf-8") as answer:
            return answer.read()
    finally:
        os.waitpid(pid, 0)


def _fork(work: Callable[[], object]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _live(work)
    return pid


def _live(work: Callable[[], object]) -> NoReturn:
    """Work, and end without touching what belongs to the process that was forked."""
    status = 1
    try:
        # What is not read here is the next command line's: nothing may be read ahead.
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), write_through=True)
        work()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        status = 130
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                status = status or 1
        os._exit(status)
