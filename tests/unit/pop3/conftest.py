"""A site with a few users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.mailhost import MailHost


@pytest.fixture
def host(tmp_path: Path) -> Iterator[MailHost]:
    host = MailHost(tmp_path)
    for name in ("joe", "ann", "pat"):
        host.add(name)
    yield host
    host.close()
