"""The THREAD response (RFC 5256 §4 "THREAD Response")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mstore.store.thread import Forest

Array = np.ndarray[Any, np.dtype[Any]]
_OPEN, _CLOSE, _NODE = b"()%"


@dataclass(frozen=True, slots=True)
class Outline:
    """Threads written down, but for what the client calls the messages.

    ``nodes`` are the messages in the order in which they are told, ``text`` has a ``%d`` for each.
    """

    nodes: Array
    text: str

    @property
    def starts(self) -> tuple[Array, Array]:
        """Where each thread begins, in ``nodes`` and in ``text``."""
        octets = np.frombuffer(self.text.encode(), np.uint8)
        opens = octets == _OPEN
        depth = np.cumsum(opens.astype(np.int8) - (octets == _CLOSE).astype(np.int8), dtype=np.int32)
        texts = np.flatnonzero(opens & (depth == 1))
        return np.flatnonzero(octets == _NODE).searchsorted(texts), texts

    @property
    def size_bytes(self) -> int:
        """The memory that it takes."""
        return self.nodes.nbytes + len(self.text)


def outline(forest: Forest) -> Outline:
    """All threads of a forest."""
    nodes: list[int] = []
    parts: list[str] = []
    _write(forest, nodes, parts)
    return Outline(np.array(nodes, np.int32), "".join(parts))


def format_threads(threads: Outline, numbers: Array) -> bytes:
    """The response; ``numbers`` are what the client calls the messages."""
    if not threads.text:
        return b"* THREAD\r\n"
    return b"* THREAD " + (threads.text % tuple(numbers[threads.nodes].tolist())).encode() + b"\r\n"


def _write(forest: Forest, nodes: list[int], parts: list[str]) -> None:
    """Each thread: the run of only children, then, in parentheses, the branches."""
    children, count = forest.children, forest.count
    # Nodes whose thread is to be opened, or -1 where one is to be closed; the next is the last.
    waiting = forest.roots[::-1]
    while waiting:
        node = waiting.pop()
        if node < 0:
            parts.append(")")
            continue
        below = children.get(node)
        if below is None and node < count:
            nodes.append(node)
            parts.append("(%d)")
            continue
        parts.append("(")
        if node < count:
            nodes.append(node)
            parts.append("%d")
            while below is not None and len(below) == 1:
                node = below[0]
                nodes.append(node)
                parts.append(" %d")
                below = children.get(node)
            if below:
                parts.append(" ")
        waiting.append(-1)
        if below:
            waiting += below[::-1]
