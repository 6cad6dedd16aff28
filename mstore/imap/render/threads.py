"""The THREAD response (RFC 5256 §4 "THREAD Response")."""

from __future__ import annotations

from typing import Any

import numpy as np

from mstore.store.thread import Forest

Array = np.ndarray[Any, np.dtype[Any]]


def format_threads(forest: Forest, numbers: Array) -> bytes:
    """All threads; ``numbers`` are what the client calls the messages."""
    parts = [b"* THREAD"]
    if forest.roots:
        parts.append(b" ")
        _write([b"%d" % number for number in numbers.tolist()], forest, parts)
    parts.append(b"\r\n")
    return b"".join(parts)


def _write(names: list[bytes], forest: Forest, parts: list[bytes]) -> None:
    """Each thread: the run of only children, then, in parentheses, the branches."""
    children, count = forest.children, forest.count
    # Nodes whose thread is to be opened, or -1 where one is to be closed; the next is the last.
    waiting = forest.roots[::-1]
    while waiting:
        node = waiting.pop()
        if node < 0:
            parts.append(b")")
            continue
        parts.append(b"(")
        below = children.get(node)
        if node < count:
            parts.append(names[node])
            while below is not None and len(below) == 1:
                node = below[0]
                parts += (b" ", names[node])
                below = children.get(node)
            if below:
                parts.append(b" ")
        waiting.append(-1)
        if below:
            waiting += below[::-1]
