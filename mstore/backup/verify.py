"""Reading all of a directory of backups: every message and every manifest against its checksum."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mstore.backup import manifest, pack
from mstore.backup.pack import Key, Packed
from mstore.backup.repository import Repository
from mstore.base.errors import Corrupt


def verify(repository: Repository, tick: Callable[[int], object] = lambda _: None) -> Iterator[str]:
    """What is wrong, a sentence each; ``tick`` is told how many bytes were read.

    Raises: StorageFailed.
    """
    whole: dict[tuple[int, int], tuple[Key, Packed]] = {}
    for number, found, end, size in pack.verify(repository.packs):
        whole |= {(number, at): message for at, message in found.items()}
        if end != size:
            yield f"{number}.pack is damaged, or cut, at byte {end}"
        tick(size)
    for backup in repository.backups():
        for account_id, name in backup.accounts.items():
            try:
                head, boxes = manifest.read(repository.manifest(backup, account_id))
            except (Corrupt, OSError) as error:
                yield f"backup {backup.id}, {name}: {error}"
                continue
            for box in boxes:
                for message in box.all_messages():
                    wanted = box.key(head.id, message.uid), message.packed
                    if whole.get((message.packed.pack, message.packed.at)) != wanted:
                        which = f"backup {backup.id}, {name}: message {message.uid} of {box.entry.name}"
                        yield f"{which} is damaged or missing in {message.packed.pack}.pack"


def size_bytes(repository: Repository) -> int:
    """How many bytes the packs have in all."""
    return sum(path.stat().st_size for path in repository.packs.glob("*.pack"))
