"""authproxyd's own part: who may ask, and what it opens."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from mstore.base.options import Settings
from tests.kit.exchanging import Site
from workers.authproxyd import is_trusted, make_exchanges, open_site
from workers.parent import Refused


class From:
    """A socket whose other end belongs to a user."""

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_PEERCRED)
        return struct.pack("3i", 1, self._uid, 1)


def test_only_root_and_our_own_user_may_ask() -> None:
    ours, theirs = socket.socketpair()
    assert is_trusted(ours, os.geteuid())
    ours.close()
    theirs.close()
    assert is_trusted(From(0), 1000) and is_trusted(From(1000), 1000)
    assert not is_trusted(From(1001), 1000) and not is_trusted(From(-1), 1000)


def test_a_plugin_that_cannot_be_read_is_a_reason_not_to_run(tmp_path: Path) -> None:
    plugins = tmp_path / "lib" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "x-a.py").write_text("1/0")
    site: Any = Site(tmp_path).authority.site
    with pytest.raises(Refused, match=r"x-a\.py: ZeroDivisionError"):
        make_exchanges(Settings(executable_base_path=tmp_path), site)


def test_keys_of_tokens_that_cannot_be_read_are_a_reason_not_to_run(tmp_path: Path) -> None:
    site = Site(tmp_path)
    settings = Settings(
        authproxy_authmech="pam", oauth_keys=(tmp_path / "gone",), oauth_issuer="i", oauth_audience="a"
    )
    with pytest.raises(Refused, match="gone: No such file"):
        open_site(settings, site.authority, site.accounts)  # type: ignore[arg-type]
    (tmp_path / "gone").write_text("no key")
    with pytest.raises(Refused, match="no keys that can be used"):
        open_site(settings, site.authority, site.accounts)  # type: ignore[arg-type]
