"""Threads: which messages answer which (RFC 5256 §3 "THREAD"; draft-ietf-morg-inthread for REFS).

ORDEREDSUBJECT groups by base subject. REFERENCES links messages by the ids in their headers, and then threads
whose subjects are alike. REFS links by ids alone, and has the thread that grew last at the end.

Messages are nodes 0 to n - 1, in mailbox order; ids that no message has are dummies above them. A dummy is
left only at the top of a thread, with several children. Nothing recurses, for threads may be deep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mstore.base import blocking
from mstore.mail.summary import BASE_SUBJECT, REFERENCES
from mstore.store.sort import Mailbox, rank, read_slots, sent_dates

Array = np.ndarray[Any, np.dtype[Any]]
Pulse = Callable[[], None]
WORK = 20_000
"""So many steps are done between two pulses."""


@dataclass(slots=True)
class Forest:
    """Threads by their first nodes, in order; the children of each node that has any; how many messages."""

    roots: list[int]
    children: dict[int, list[int]] = field(default_factory=dict)
    count: int = 0


def thread_rows(
    mailbox: Mailbox, rows: Array, algorithm: str, pulse: Pulse = blocking.breathe
) -> Forest:
    """The threads of the messages in ``rows``, which ascend; node n is the message in row n.

    ``algorithm`` is ``orderedsubject``, ``references`` or ``refs``. ``pulse`` is called between pieces of
    work; what it raises ends the threading.
    """
    dates = sent_dates(mailbox, rows)
    if algorithm == "orderedsubject":
        return _by_subject(rank(read_slots(mailbox, rows, (BASE_SUBJECT,), pulse)[0]), _ranks(dates))
    subjects, texts = read_slots(mailbox, rows, (BASE_SUBJECT, REFERENCES), pulse)
    forest = _Linker(texts, pulse).forest()
    if algorithm == "refs":
        _sort_siblings(forest, _ranks(dates).tolist(), roots=False)
        arrivals = _ranks(mailbox.columns.full.internal_date[rows]).tolist()
        children = forest.children
        latest = {
            root: _latest(forest, root, arrivals) if root in children else arrivals[root]
            for root in forest.roots
        }
        forest.roots.sort(key=latest.__getitem__)
        return forest
    when = _ranks(dates).tolist()
    _sort_roots(forest, when)
    pulse()
    # The flag is the first of eight octets, little-endian.
    _merge_subjects(forest, subjects, [text[:1] == b"\1" for text in texts])
    pulse()
    _sort_siblings(forest, when, roots=True)
    return forest


def _ranks(dates: Array) -> Array:
    """The place of each message in the order of dates, mailbox order where these are equal."""
    ranks = np.empty(len(dates), np.int64)
    ranks[np.argsort(dates, kind="stable")] = np.arange(len(dates))
    return ranks


def _by_subject(subjects: Array, when: Array) -> Forest:
    """RFC 5256 §3 "ORDEREDSUBJECT"."""
    if not len(subjects):
        return Forest([])
    order = np.lexsort((when, subjects))
    starts = np.flatnonzero(np.diff(subjects[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    by_date = np.argsort(when[order[starts]], kind="stable")
    nodes = order.tolist()
    forest = Forest([], {}, len(nodes))
    for start, end in zip(starts[by_date].tolist(), ends[by_date].tolist(), strict=True):
        forest.roots.append(nodes[start])
        if end - start > 1:
            forest.children[nodes[start]] = nodes[start + 1 : end]
    return forest


class _Linker:
    """Parents by Message-ID and references (RFC 5256 §3 "REFERENCES", step 1)."""

    def __init__(self, texts: Sequence[bytes], pulse: Pulse) -> None:
        self._pulse = pulse
        self._steps = 0
        self._count = len(texts)
        # All numbers in one list: fifty thousand lists cost more than the linking does.
        self._numbers: list[int] = np.frombuffer(b"".join(texts), "<u8").tolist()
        ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) // 8)
        self._ends: list[int] = [0, *ends.tolist()]
        self._parent = [-1] * len(texts)
        self._sons = [0] * len(texts)
        self._nodes: dict[int, int] = {}
        for node, start in enumerate(self._ends[:-1]):
            own = self._numbers[start + 1]
            if own:
                self._nodes.setdefault(own, node)

    def forest(self) -> Forest:
        """Steps 1 to 3."""
        for node in range(self._count):
            self._link(node)
            if self._steps > WORK:
                self._steps = 0
                self._pulse()
        return self._pruned()

    def _link(self, node: int) -> None:
        parent, sons, nodes = self._parent, self._sons, self._nodes
        start, end = self._ends[node : node + 2]
        self._steps += end - start
        above = -1
        for number in self._numbers[start + 2 : end]:
            found = nodes.get(number)
            if found is None:
                found = nodes[number] = len(parent)
                parent.append(-1)
                sons.append(0)
            if above >= 0 and parent[found] < 0 and not self._is_above(found, above):
                parent[found] = above
                sons[above] += 1
            above = found
        if parent[node] >= 0:
            sons[parent[node]] -= 1
            parent[node] = -1
        if above >= 0 and not self._is_above(node, above):
            parent[node] = above
            sons[above] += 1

    def _is_above(self, node: int, other: int) -> bool:
        """Whether ``node`` is the other one or an ancestor of it."""
        if node == other:
            return True
        if not self._sons[node]:
            return False
        parent = self._parent
        while other >= 0:
            if other == node:
                return True
            other = parent[other]
            self._steps += 1
            if self._steps > WORK:
                self._steps = 0
                self._pulse()
        return False

    def _pruned(self) -> Forest:
        """Steps 2 and 3: dummies go, unless they hold several threads together at the top."""
        parent, count = self._parent, self._count
        children: dict[int, list[int]] = {}
        roots = []
        for node, above in enumerate(parent):
            if above >= 0:
                children.setdefault(above, []).append(node)
            else:
                roots.append(node)
        self._pulse()
        # Dummies below the top: each is replaced by its own children, the deepest ones first.
        has_dummies_below = len(parent) > count and max(parent[count:]) >= 0
        for node in reversed(_downwards(roots, children)) if has_dummies_below else ():
            below = children.get(node)
            if below is not None and below and max(below) >= count:
                children[node] = [
                    inner
                    for child in below
                    for inner in ((child,) if child < count else children.pop(child, ()))
                ]
                if not children[node]:
                    del children[node]
        kept = []
        for root in roots:
            if root < count:
                kept.append(root)
                continue
            below = children.get(root, [])
            if len(below) > 1:
                kept.append(root)
            else:
                kept += children.pop(root, ())
        return Forest(kept, children, count)


def _downwards(roots: Sequence[int], children: dict[int, list[int]]) -> list[int]:
    """All nodes that have children, each before those below it."""
    order = [root for root in roots if root in children]
    for node in order:
        order += [child for child in children[node] if child in children]
    return order


def _sort_roots(forest: Forest, when: list[int]) -> None:
    """Step 4: threads by the date of their first message."""
    for root in forest.roots:
        if root >= forest.count:
            forest.children[root].sort(key=when.__getitem__)
    forest.roots.sort(key=lambda root: when[_head(forest, root)])


def _head(forest: Forest, root: int) -> int:
    """The message that stands for a thread."""
    return root if root < forest.count else forest.children[root][0]


def _sort_siblings(forest: Forest, when: list[int], roots: bool) -> None:
    """Step 6: all siblings by date, those at the top too where asked for."""
    for below in forest.children.values():
        if len(below) > 1:
            below.sort(key=when.__getitem__)
    if roots:
        forest.roots.sort(key=lambda root: when[_head(forest, root)])


def _latest(forest: Forest, root: int, arrivals: list[int]) -> int:
    """When the last message of a thread arrived."""
    latest = arrivals[root] if root < forest.count else -1
    children = forest.children
    waiting = [root]
    while waiting:
        for node in children[waiting.pop()]:
            latest = max(latest, arrivals[node])
            if node in children:
                waiting.append(node)
    return latest


def _merge_subjects(forest: Forest, subjects: list[bytes], replies: list[bool]) -> None:
    """Step 5: threads with the same base subject become one."""
    count, children, roots = forest.count, forest.children, forest.roots
    table: dict[bytes, int] = {}
    for place, root in enumerate(roots):
        subject = subjects[_head(forest, root)]
        if not subject:
            continue
        known = table.setdefault(subject, place)
        first = roots[known]
        if first < count and (root >= count or (replies[first] and not replies[root])):
            table[subject] = place
    gone: set[int] = set()
    spare = max(max(roots, default=0), count - 1) + 1
    for place, root in enumerate(roots):
        subject = subjects[_head(forest, root)]
        if not subject or table[subject] == place:
            continue
        known = table[subject]
        first = roots[known]
        gone.add(place)
        if first >= count:
            if root >= count:
                children[first] += children.pop(root)
            else:
                children[first].append(root)
        elif root < count and replies[root] and not replies[first]:
            children.setdefault(first, []).append(root)
        else:
            children[spare] = [first, root]
            roots[known] = spare
            spare += 1
    if gone:
        forest.roots = [root for place, root in enumerate(roots) if place not in gone]
