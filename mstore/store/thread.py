"""Threads: which messages answer which (RFC 5256 §3 "THREAD"; draft-ietf-morg-inthread for REFS).

ORDEREDSUBJECT groups by base subject. REFERENCES links messages by the ids in their headers, and then threads
whose subjects are alike. REFS links by ids alone, and has the thread that grew last at the end.

Messages are nodes 0 to n - 1, in mailbox order; ids that no message has are dummies above them. A dummy is
left only at the top of a thread, with several children. Nothing recurses, for threads may be deep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mstore.base import blocking
from mstore.store.links import Links, links_of
from mstore.store.sort import Mailbox, Pulse, sent_dates, subject_ranks

Array = np.ndarray[Any, np.dtype[Any]]
WORK = 20_000
"""So many steps are done between two pulses."""


@dataclass(slots=True)
class Forest:
    """Threads by their first nodes, in order; the children of each node that has any; how many messages."""

    roots: list[int]
    children: dict[int, list[int]] = field(default_factory=dict)
    count: int = 0


def thread_rows(mailbox: Mailbox, rows: Array, algorithm: str, pulse: Pulse = blocking.breathe) -> Forest:
    """The threads of the messages in ``rows``, which ascend; node n is the message in row n.

    ``algorithm`` is ``orderedsubject``, ``references`` or ``refs``. ``pulse`` is called between pieces of
    work; what it raises ends the threading.
    """
    if algorithm == "orderedsubject":
        return _by_subject(subject_ranks(mailbox, rows, pulse), _ranks(sent_dates(mailbox, rows)))
    return thread_links(mailbox, links_of(mailbox, rows, pulse), algorithm, pulse)


def thread_links(mailbox: Mailbox, links: Links, algorithm: str, pulse: Pulse = blocking.breathe) -> Forest:
    """The threads by ``references`` or ``refs`` of messages whose links are known."""
    rows = links.rows
    dates = sent_dates(mailbox, rows)
    forest = _Linker(links, pulse).forest()
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
    _merge_subjects(forest, links.subjects.tolist(), (links.numbers[links.starts] == 1).tolist())
    pulse()
    _sort_siblings(forest, when, roots=True)
    return forest


def _ranks(dates: Array) -> Array:
    """The place of each message in the order of dates, mailbox order where these are equal."""
    ranks = np.empty(len(dates), np.int64)
    ranks[np.argsort(dates, kind="stable")] = np.arange(len(dates))
    return ranks


def thread_places(mailbox: Mailbox, rows: Array, nodes: Array, starts: Array, algorithm: str) -> Array:
    """The order of threads by ``references`` or ``refs`` that are given in any: which comes first, and so on.

    The messages of each are ``nodes`` of ``rows`` from its start on, the one that stands for it first.
    """
    if algorithm == "refs":
        arrivals = _ranks(mailbox.columns.full.internal_date[rows])
        return np.argsort(np.maximum.reduceat(arrivals[nodes], starts), kind="stable")
    heads = nodes[starts]
    return np.lexsort((heads, sent_dates(mailbox, rows[heads])))


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

    def __init__(self, links: Links, pulse: Pulse) -> None:
        self._pulse = pulse
        self._steps = 0
        self._count = len(links.rows)
        # All numbers in one list: fifty thousand lists cost more than the linking does.
        self._numbers: list[int] = links.numbers.tolist()
        self._ends: list[int] = links.ends.tolist()
        self._parent = [-1] * self._count
        self._sons = [0] * self._count
        # In reverse: of several with one id it is that of the first. An id that is missing is no node's.
        owns: list[int] = links.numbers[links.starts + 1][::-1].tolist()
        self._nodes = dict(zip(owns, range(self._count - 1, -1, -1), strict=True))
        self._nodes.pop(0, None)

    def forest(self) -> Forest:
        """Steps 1 to 3."""
        parent, sons, nodes, numbers = self._parent, self._sons, self._nodes, self._numbers
        start = 0
        for node, end in enumerate(self._ends):
            above = -1
            for number in numbers[start + 2 : end]:
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
            self._steps += end - start
            start = end
            if self._steps > WORK:
                self._steps = 0
                self._pulse()
        return self._pruned()

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
    _sort_by_heads(forest, when)


def _sort_by_heads(forest: Forest, when: list[int]) -> None:
    dates = {root: when[head] for root, head in zip(forest.roots, _heads(forest), strict=True)}
    forest.roots.sort(key=dates.__getitem__)


def _heads(forest: Forest) -> list[int]:
    """The messages that stand for the threads."""
    count, children = forest.count, forest.children
    return [root if root < count else children[root][0] for root in forest.roots]


def _sort_siblings(forest: Forest, when: list[int], roots: bool) -> None:
    """Step 6: all siblings by date, those at the top too where asked for."""
    for below in forest.children.values():
        if len(below) > 1:
            below.sort(key=when.__getitem__)
    if roots:
        _sort_by_heads(forest, when)


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


def _merge_subjects(forest: Forest, told: list[int], replies: list[bool]) -> None:
    """Step 5: threads with the same base subject become one; 0 is that of none."""
    count, children, roots = forest.count, forest.children, forest.roots
    subjects = [told[head] for head in _heads(forest)]
    table: dict[int, int] = {}
    for place, (root, subject) in enumerate(zip(roots, subjects, strict=True)):
        known = table.setdefault(subject, place)
        if known == place:
            continue
        first = roots[known]
        if first < count and (root >= count or (replies[first] and not replies[root])):
            table[subject] = place
    gone: set[int] = set()
    spare = max(max(roots, default=0), count - 1) + 1
    for place, subject in enumerate(subjects):
        known = table[subject]
        if known == place or not subject:
            continue
        root, first = roots[place], roots[known]
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
