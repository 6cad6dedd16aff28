"""A way of waiting that lets others do something meanwhile: for tests of what goes on beside a long piece of
work of this very thread."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mstore.base import blocking


class Between(blocking.Plain):
    """Acts whenever somebody waits, or takes a breath, at some of these moments (from 1), or at all."""

    def __init__(self, act: Callable[[], Any], *moments: int) -> None:
        self.act = act
        self.moments = moments
        self.count = 0
        self._is_acting = False

    def _pause(self) -> None:
        if self._is_acting:
            return
        self._is_acting = True
        self.count += 1
        try:
            if not self.moments or self.count in self.moments:
                contextvars.Context().run(self.act)  # who acts holds none of the locks of who waits
        finally:
            self._is_acting = False

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        self._pause()
        return function(*args)

    def breathe(self) -> None:
        self._pause()


@contextmanager
def between(act: Callable[[], Any], *moments: int) -> Iterator[Between]:
    """Wait in this way for the length of a ``with`` block."""
    waiting = Between(act, *moments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocking, "_waiting", waiting)
        yield waiting
