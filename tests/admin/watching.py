"""Talks to the page of a running command. Waits by reading its events, which come once a second."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.cli.running import LIFETIME


def ask(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIFETIME)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def read_events(port: int) -> Iterator[dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIFETIME)
    try:
        connection.request("GET", "/events")
        for line in connection.getresponse():
            if line.startswith(b"data: "):
                yield json.loads(line[6:])
    finally:
        connection.close()


def wait_until(port: int, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the first state for which ``condition`` holds. The command's own lifetime ends the wait."""
    for state in read_events(port):
        if condition(state):
            return state
    raise AssertionError("the server ended first")
