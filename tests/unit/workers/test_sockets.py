"""The sockets that storemgr keeps for its daemons."""

import os
import socket
from pathlib import Path

from mstore.base.log import Log
from mstore.base.options import Settings
from mstore.base.values import Address
from workers.places import METRICSD
from workers.privileges import find_identity
from workers.sockets import reopen_sockets


def test_what_is_kept_for_the_next_does_not_block_those_that_leave(tmp_path: Path) -> None:
    """Both have the same socket open, and what is set of it holds for both."""
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        theirs.setblocking(False)
        had = [socket.socket(fileno=os.dup(theirs.fileno()))]
        address = Address("127.0.0.1", theirs.getsockname()[1])
        user = "mail" if os.geteuid() == 0 else None
        settings = Settings(ms_path=tmp_path, mailstores={}, metrics_listen=(address,), runtime_user=user)
        found = reopen_sockets(settings, METRICSD, find_identity(settings), had, Log(2))
        assert [sock.getsockname() for sock in found] == [theirs.getsockname()]
        assert not os.get_blocking(theirs.fileno())
        for sock in (*had, *found):
            sock.close()
