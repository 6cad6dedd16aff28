"""The processes: storemgr, the daemons and their workers; the only place with fork, signals and gevent.

``storemgr`` spawns each daemon in a clean interpreter; a daemon (``daemon.py``) binds its sockets, gives up
its rights and forks its workers (``worker.py``). Both are the same ``supervisor.py`` with different
children. Masters run no event loop, start no thread and read no byte of a client.
"""

import os

# Before anything imports numpy: a thread of its own in a process that forks would be a hazard.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
