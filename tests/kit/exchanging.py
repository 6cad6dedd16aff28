"""A site of a few accounts whose logins are judged, and mechanisms carried on by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mstore.accounts import Accounts, Administrators, LoginRules
from mstore.accounts.database import ACCOUNTS, create_database
from mstore.auth.gate import Turned
from mstore.auth.judge import Grant, Judge
from mstore.auth.sasl.mechanism import Exchange, Failed, Question
from mstore.auth.sasl.table import OWN
from tests.kit.authority import Authority


class Door:
    """A gate that keeps what it is asked and told; ``answer`` is what it says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.noted: list[tuple[str, str, bool]] = []
        self.answer: float | Turned = 0.0

    def admit(self, peer: str, login: str) -> float | Turned:
        self.asked.append((peer, login))
        return self.answer

    def note(self, peer: str, login: str, ok: bool) -> None:
        self.noted.append((peer, login, ok))


class Site:
    """joe and ann, and the administrator root; all with the password that is asked for."""

    def __init__(
        self, root: Path, password: bytes = b"secret", names: Sequence[str] = ("joe", "ann", "root")
    ) -> None:
        create_database(root, ACCOUNTS, 0o600)
        rules = LoginRules.of("example.org", False)
        self.accounts = Accounts(root, rules, Administrators.of(["root"], None, rules))
        self.authority = Authority(self.accounts)
        for name in names:
            self.accounts.add(name, "main")
            self.authority.passwords[name.encode()] = password
        self.gate = self.authority.site.gate = Door()

    def question(self, mechanism: str, initial: bytes | None = None, **facts: Any) -> Question:
        plain = {"service": "imap", "peer": "192.0.2.1", "server": "mail.example.org"}
        return Question(mechanism, initial=initial, **{**plain, **facts})

    def carry_on(
        self,
        mechanism: str,
        *responses: bytes | Callable[[bytes], bytes],
        initial: bytes | None = None,
        bound: bool = False,
        exchange: Callable[[Judge], Exchange] | None = None,
        **facts: Any,
    ) -> tuple[Grant | Failed, list[bytes]]:
        """How an exchange ends, and the challenges on the way, with the final data as the last."""
        judge = Judge(self.authority.site, self.question(mechanism, initial, **facts), bound)
        made = (exchange or OWN[mechanism].exchange)(judge)
        challenges: list[bytes] = []
        left = list(responses)
        try:
            challenges.append(next(made))
            while True:
                answer = left.pop(0)
                challenges.append(made.send(answer(challenges[-1]) if callable(answer) else answer))
        except StopIteration as done:
            try:
                grant = judge.authorize(done.value)
            except Failed as failure:
                return failure, challenges
            finally:
                judge.conclude(True)
            if done.value.final is not None:
                challenges.append(done.value.final)
            assert not left, f"not asked for: {left}"
            return grant, challenges
        except Failed as failure:
            judge.conclude(False)
            return failure, challenges
