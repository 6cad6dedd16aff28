"""System tests start the real daemons, each test its own, on free loopback ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.instance import Instance


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.fixture
def make_store() -> Iterator[Callable[..., Instance]]:
    """Makes message stores that are not started; whatever is left of them is removed in the end."""
    made: list[Instance] = []

    def make(*arguments: object, **options: object) -> Instance:
        instance = Instance(*arguments, **options)  # type: ignore[arg-type]
        made.append(instance)
        return instance

    yield make
    with ExitStack() as stack:
        for instance in made:
            stack.callback(instance.destroy)
            print(instance.log_text()[-8000:])


@pytest.fixture
def store(make_store: Callable[..., Instance]) -> Iterator[Instance]:
    """A message store that runs, with the user joe, two workers per service; stopped with all assertions."""
    instance = make_store()
    instance.start()
    yield instance
    if instance.running:
        instance.stop()
