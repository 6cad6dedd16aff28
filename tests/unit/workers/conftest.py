from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.workers.running import reachable_directory


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that other users reach as well."""
    with reachable_directory() as path:
        yield path
