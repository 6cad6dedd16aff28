"""Who acts by msadm, and the log of what is done to accounts, which is kept whatever ``audit-log`` says."""

from __future__ import annotations

import os

from mstore.base.log import Log, open_sink
from mstore.cli.site import Site


def actor_of(site: Site) -> dict[str, object]:
    """The pairs that say who it is: the system's user, and who that was before sudo."""
    return {"user": site.invoker, "by": os.environ.get("SUDO_USER"), "via": "msadm"}


def account_log(site: Site) -> Log:
    """Where to tell what was done to an account, once that is on disk.

    The process has the runtime user's rights afterwards, for the log's file is that user's. Who goes on to
    import more calls ``become_runtime_user`` before.
    Raises: Denied
    """
    site.become_runtime_user(preload=False)
    return Log(open_sink(site.settings, "msadm"), daemon="msadm", **actor_of(site))
