"""The language of wire tests: what clients send, and exactly what the server answers.

A dialogue is a text file. Its first line names the rule that it shows. Then, one per line:

``@ account NAME``                 makes an account with the password ``secret`` (``joe`` is there already)
``@ option NAME VALUE…``           sets an option of the site, as in ms.conf, but with ``_`` for ``-``
``@ message NAME MAILBOX FLAGS…``  puts a small message into a mailbox (``shared bugs`` is ``shared/bugs``);
                                   ``Subject`` counts from 1
``@ mailbox NAME``                 makes a mailbox by its full name: ``user/joe/work``, ``shared/bugs``
``@ acl MAILBOX WHO RIGHTS``       gives an identifier rights; the mailbox by its full name, ``-`` for none
``@ group NAME MEMBER…``           makes a group
``@ quota NAME BYTES MESSAGES``    sets an account's limits; ``-`` for none
``@ login N NAME``                 client N logs in
``@ select N NAME MAILBOX``        client N logs in and selects
``@ deflate N``                    client N compresses and expects compression from here on
``@ inflate N``                    client N compresses no more and expects none
``C: text`` or ``C2: text``        client 1 or 2 sends a line
``C-: text``                       the same without a line end
``S: text``                        the next response to that client, exactly; ``⏎`` stands for CR LF
``X:``                             the server closes that client's connection
``N:``                             nothing is there for that client to read
``# …``                            a remark

In texts ``{{pattern}}`` matches a regular expression, ``{{name=pattern}}`` also keeps what it matched, and
``{{$name}}`` is what was kept. Every response is checked by the grammar, too. Lines sent in a row go out as
one block, cut as the replay asks: whole, by line, by byte or in random pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mstore.base.options import declared
from mstore.imap.session import Session
from mstore.store.access import Access
from mstore.store.append import NewMessage, append
from mstore.store.rights import parse_rights
from tests.kit.mailhost import MailHost, following
from tests.kit.transport import Client, Served

_LINE = re.compile(r"([CSXN])([0-9]?)(-?):(?: (.*))?\Z")
_HOLE = re.compile(r"\{\{(.*?)\}\}")
OPTIONS = declared()
FLAG_BITS = {"\\Seen": 1, "\\Answered": 2, "\\Flagged": 4, "\\Deleted": 8, "\\Draft": 16}

Cut = Callable[[bytes], list[bytes]]


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a dialogue."""

    number: int
    verb: str
    client: int
    text: str


@dataclass(frozen=True)
class Dialogue:
    """A parsed dialogue."""

    title: str
    steps: tuple[Step, ...]
    options: dict[str, Any] = field(default_factory=dict)


def parse_dialogue(text: str) -> Dialogue:
    """The steps of a dialogue file; fails on a line that it does not know."""
    title, *lines = text.splitlines()
    options: dict[str, Any] = {}
    given: dict[str, list[Any]] = {}
    steps = []
    for number, line in enumerate(lines, 2):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("@ option "):
            name, *words = line.split()[2:]
            key, rest = _find_option(name)
            value = OPTIONS[key].kind.parse(words)
            given.setdefault(key, []).append((rest, value) if OPTIONS[key].prefix else value)
            continue
        if line.startswith("@ "):
            steps.append(Step(number, "@", 0, line[2:]))
            continue
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"line {number} is no step: {line!r}")
        verb, client, dash, rest = match.groups()
        steps.append(Step(number, verb + dash, int(client or 1), rest or ""))
    for name, values in given.items():
        gather = OPTIONS[name].gather
        options[name] = gather(values) if gather is not None else values[-1]
    return Dialogue(title, tuple(steps), options)


def _find_option(name: str) -> tuple[str, str]:
    """The option that is meant, and what stands behind the name of one that is a prefix."""
    if name in OPTIONS:
        return name, ""
    key = next(key for key, option in OPTIONS.items() if option.prefix and name.startswith(key + "_"))
    return key, name.removeprefix(key + "_").replace("_", "-")


def play(dialogue: Dialogue, root: Path, cut: Cut) -> None:
    """Play a dialogue against a fresh site; fails at the first line that is not so."""
    with ExitStack() as stack:
        host = stack.enter_context(site(root, dialogue.options))
        Player(host, cut, stack).play(dialogue)


@contextmanager
def site(root: Path, options: dict[str, Any]) -> Iterator[MailHost]:
    """A site with the account joe."""
    host = MailHost(root, admin_users=("root",), **options)
    try:
        host.add("joe")
        with following(host):
            yield host
    finally:
        host.close()


def make_message(number: int) -> bytes:
    """A small message, told by its subject."""
    return b"From: a@example.org\r\nSubject: %d\r\n\r\nText %d\r\n" % (number, number)


class Player:
    """The state of a dialogue being played."""

    def __init__(self, host: MailHost, cut: Cut, stack: ExitStack) -> None:
        self._host = host
        self._cut = cut
        self._stack = stack
        self._clients: dict[int, Client] = {}
        self._kept: dict[str, str] = {}
        self._messages = 0

    def play(self, dialogue: Dialogue) -> None:
        steps = list(dialogue.steps)
        while steps:
            step = steps.pop(0)
            try:
                if step.verb[0] == "C":
                    data = self._line(step)
                    while steps and steps[0].verb[0] == "C" and steps[0].client == step.client:
                        data += self._line(steps.pop(0))
                    for piece in self._cut(data):
                        self._client(step.client).send(piece)
                elif step.verb == "@":
                    self._arrange(step.text.split())
                else:
                    self._expect(step)
            except AssertionError as error:
                raise AssertionError(f"line {step.number}: {error}") from error
        for number, client in self._clients.items():
            assert client.is_silent(0.01), f"client {number} is told more: {client.receive_raw()!r}"
            client.close()
            client.served.join()

    def _client(self, number: int) -> Client:
        if number not in self._clients:
            served = Served(lambda stream: Session(stream, self._host.service()))
            self._clients[number] = Client(served)
        return self._clients[number]

    def _line(self, step: Step) -> bytes:
        text = _HOLE.sub(lambda hole: self._kept[hole[1][1:]], step.text).replace("⏎", "\r\n")
        return text.encode("utf-8", "surrogateescape") + (b"" if step.verb == "C-" else b"\r\n")

    def _expect(self, step: Step) -> None:
        client = self._client(step.client)
        if step.verb == "N":
            assert client.is_silent(), f"nothing expected, got {client.receive_raw()!r}"
            return
        if step.verb == "X":
            response = client.receive()
            assert not response, f"close expected, got {response!r}"
            return
        response = client.receive()
        text = response.decode("utf-8", "surrogateescape")
        match = re.fullmatch(self._pattern(step.text), text, re.DOTALL)
        assert match is not None, f"\n  expected {step.text!r}\n  got      {text!r}"
        self._kept.update(match.groupdict())

    def _pattern(self, text: str) -> str:
        parts, at = [], 0
        text = text.replace("⏎", "\r\n")
        for hole in _HOLE.finditer(text):
            parts.append(re.escape(text[at : hole.start()]))
            inside = hole[1]
            named = re.match(r"([a-z]+)=(.*)", inside, re.DOTALL)
            if inside.startswith("$"):
                parts.append(re.escape(self._kept[inside[1:]]))
            elif named:
                parts.append(f"(?P<{named[1]}>{named[2]})")
            else:
                parts.append(f"(?:{inside})")
            at = hole.end()
        return "".join([*parts, re.escape(text[at:])])

    def _arrange(self, words: list[str]) -> None:
        verb, *arguments = words
        if verb == "account":
            self._host.add(arguments[0])
        elif verb == "message":
            self._put(*arguments)
        elif verb == "mailbox":
            self._site.create(arguments[0])
        elif verb == "acl":
            name, identifier, rights = arguments
            self._site.set_acl(name, identifier, "=", parse_rights(rights.strip("-")))
        elif verb == "quota":
            record = self._host.accounts.find(arguments[0])
            assert record is not None
            limits = [None if word == "-" else int(word) for word in arguments[1:]]
            self._host.accounts.set_quota(record, *limits)
        elif verb == "deflate":
            self._client(int(arguments[0])).deflate()
        elif verb == "inflate":
            self._client(int(arguments[0])).inflate()
        elif verb == "group":
            self._make_group(*arguments)
        elif verb in ("login", "select"):
            client = self._client(int(arguments[0]))
            greeting = client.receive()
            assert greeting.startswith(b"* OK "), f"greeting expected, got {greeting!r}"
            answer = client.command(b"login LOGIN %b secret" % arguments[1].encode())[-1]
            assert answer.startswith(b"login OK"), f"login expected, got {answer!r}"
            if verb == "select":
                answer = client.command(b"select SELECT %b" % arguments[2].encode())[-1]
                assert answer.startswith(b"select OK"), f"selection expected, got {answer!r}"
        else:
            raise AssertionError(f"unknown arrangement {verb!r}")

    @property
    def _site(self) -> Access:
        """The mail of the site as its administrator ``root`` sees it, without whom there is no site here."""
        host = self._host
        return Access(host.store, host.accounts, host.accounts.find("root") or host.add("root"))

    def _make_group(self, name: str, *members: str) -> None:
        accounts = self._host.accounts
        group = accounts.groups.add(name)
        for member in members:
            record = accounts.find(member)
            assert record is not None
            accounts.groups.join(group, record.id)

    def _put(self, name: str, mailbox_name: str, *flags: str) -> None:
        self._messages += 1
        bits, keywords = 0, []
        for flag in flags:
            bits |= FLAG_BITS.get(flag, 0)
            if not flag.startswith("\\"):
                keywords.append(flag.encode())
        account = self._host.store.account(self._host.accounts.shared()) if name == "shared" else None
        mailbox = (account or self._host.account(name)).open(mailbox_name)
        try:
            message = make_message(self._messages)
            append(mailbox, [NewMessage(message, 837563065 + self._messages, bits, tuple(keywords))])
        finally:
            mailbox.release()
