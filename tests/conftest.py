"""How Hypothesis works in all tests, and what all that they start inherits.

A machine that pauses for a moment has not failed a test, so an example may take as long as it likes. And each
run tries the same examples, so that one tells of a change and not of luck; ``--hypothesis-profile search``
tries others each time. Hypothesis mixes constants of the modules that are loaded into what it draws, which
are others for each selection of tests and each worker of pytest: not so where each run tries the same.

A shell that starts them in the background has them ignore SIGINT, and so would every program that they start
and end by it.

Thousands of tests run in one process, whose stores keep files open; an ordinary user may have 1,024 of them
unless he asks for more.
"""

import resource
import signal
from typing import Any

from hypothesis import HealthCheck, settings

FILES = 20_000

try:
    from hypothesis.internal.conjecture import providers
except ImportError:  # one that is older than this
    providers = None  # type: ignore[assignment]

settings.register_profile(
    "steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile("search", settings.get_profile("steady"), derandomize=False, print_blob=True)
settings.load_profile("steady")

if hasattr(providers, "_get_local_constants") and hasattr(providers, "_local_constants"):
    find_constants = providers._get_local_constants

    def constants_of_none() -> Any:
        """Those of no module, unless other examples are to be tried each time."""
        return providers._local_constants if settings.default.derandomize else find_constants()

    providers._get_local_constants = constants_of_none

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if 0 <= soft < FILES:  # negative where there is no limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES if hard < 0 else min(FILES, hard), hard))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
