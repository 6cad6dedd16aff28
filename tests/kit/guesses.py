"""A program that guesses somebody's password at imapd, from an address of its own.

``python -m tests.kit.guesses PORT SOURCE LOGIN COUNT CONNECTIONS`` sends so many wrong passwords over so many
connections at a time, each used until imapd ends it. It ends when the last one is sent, and prints how many
were answered in what way by then.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

PAUSE_S = 0.1
"""Between two connections: who tries as fast as he can only meets the limit on connections."""


class Guesser:
    """The guesses, those left and what was answered."""

    def __init__(self, port: int, source: str, login: str, count: int) -> None:
        self._port = port
        self._source = source
        self._login = login.encode()
        self._left = count
        self.told = Counter[str]()
        self.is_done = asyncio.Event()

    async def guess(self) -> None:
        """Guess on one connection after the other."""
        while True:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self._port, local_addr=(self._source, 0)
            )
            try:
                if (await reader.readline()).startswith(b"* OK"):
                    while await self._try_one(reader, writer):
                        pass
            except OSError:
                self.told["disconnected"] += 1
            finally:
                writer.close()
            await asyncio.sleep(PAUSE_S)

    async def _try_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send one; whether another may be sent on this connection."""
        if self._left == 0:
            self.is_done.set()
            return False
        self._left -= 1
        writer.write(b"a LOGIN %b wrong%d\r\n" % (self._login, self._left))
        answer = await reader.readline()
        self.told[" ".join(answer.decode().split()[:3])] += 1
        return answer.startswith(b"a NO")


async def main(port: str, source: str, login: str, count: str, connections: str) -> None:
    """Guess, all connections at once."""
    guesser = Guesser(int(port), source, login, int(count))
    tasks = [asyncio.create_task(guesser.guess()) for _ in range(int(connections))]
    await guesser.is_done.wait()
    for task in tasks:
        task.cancel()
    print(dict(guesser.told))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
