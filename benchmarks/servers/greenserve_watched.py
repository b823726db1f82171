"""greenserve that counts its requests, as ``--metrics-bind`` has it do in a worker, for a moment, then not, and so on.

``/turns`` tells, as JSON, what a request cost in each of these turns, in µs of CPU: two lists, without and with that.
Whoever looks at what was counted does so all the time: once a second, for half a millisecond.
"""

from __future__ import annotations

import itertools
import json
import time

import greenserve
from benchmarks import apps
from benchmarks.servers import program
from greenserve.metrics import Board, Observer
from greenserve.wsgi import Server

# Short: the machine is the same then for two neighbours.
_TURN_SECONDS = 0.05

# A turn with fewer requests had a pause of the load in it, and says nothing.
_MIN_REQUESTS = 500


class _Turns:
    """Has a server count, and not count, in turn."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.costs: tuple[list[float], list[float]] = [], []

    def run(self) -> None:
        """Go on for ever. May switch."""
        server = self._server
        Observer(Board(slots=1), server).start()
        meter = server.meter
        for is_counting in itertools.cycle((False, True, True, False)):
            server.meter = meter if is_counting else None
            cpu, requests = time.process_time(), server.requests
            greenserve.sleep(_TURN_SECONDS)
            cpu, requests = time.process_time() - cpu, server.requests - requests
            self.costs[is_counting].append(cpu / requests * 1e6 if requests >= _MIN_REQUESTS else 0.0)


def serve(host: str, port: int, app: str) -> None:
    listener = greenserve.listen((host, port), backlog=program.BACKLOG)
    served = apps.load(app, greenserve.sleep)

    def application(environ, start_response):  # type: ignore[no-untyped-def]
        if environ["PATH_INFO"] != "/turns":
            return served(environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(turns.costs).encode()]

    server = Server(listener, application, log_output=False, max_size=program.most_connections())
    turns = _Turns(server)
    greenserve.spawn(turns.run)
    server.serve_forever()


if __name__ == "__main__":
    program.run(serve)
