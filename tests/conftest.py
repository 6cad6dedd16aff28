"""How Hypothesis works in all tests, and what all that they start inherits.

A machine that pauses for a moment has not failed a test, so an example may take as long as it likes. And each
run tries the same examples, so that one tells of a change and not of luck; ``--hypothesis-profile search``
tries others each time.

A shell that starts them in the background has them ignore SIGINT, and so would every program that they start
and end by it.
"""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile("search", settings.get_profile("steady"), derandomize=False, print_blob=True)
settings.load_profile("steady")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
