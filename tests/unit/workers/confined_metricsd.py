"""metricsd as it would be if it had been taken over: ``GET /try?read+PATH`` says how that ended."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import unquote_plus

from tests.unit.workers.confined import TRIES, attempt
from workers.arguments import read_arguments
from workers.metricsd import NAME, PURPOSE, Metricsd


class Confined(Metricsd):
    """Does what it is told to."""

    def answer(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """The page, or what came of a try."""
        if environ["PATH_INFO"] != "/try":
            return super().answer(environ, start_response)
        name, *arguments = unquote_plus(environ["QUERY_STRING"]).split()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [attempt(TRIES[name], *arguments).encode()]


if __name__ == "__main__":
    metricsd = Confined(read_arguments(NAME, PURPOSE, None))
    metricsd.prepare()
    sys.exit(metricsd.run())
