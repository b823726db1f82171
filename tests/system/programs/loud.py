"""Log from threads, from a signal handler and from finalizers, all at once: ``loud.py FILE COUNT``.

By way of a `queue.SimpleQueue`, which Python says is safe there: a handler that writes to a buffered file is not.
"""

from __future__ import annotations

import gc
import logging
import logging.handlers
import queue
import signal
import sys
import threading
from types import FrameType

log = logging.getLogger("loud")
seen: list[int] = []


class Loud:
    """Says when it goes: when the collector comes by, wherever the program is at that moment."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        log.info("finalizer")


def on_alarm(number: int, frame: FrameType | None) -> None:
    seen.append(number)
    log.info("signal")


def work(count: int) -> None:
    for _ in range(count):
        Loud()
        log.info("thread")


if __name__ == "__main__":
    path, count = sys.argv[1], int(sys.argv[2])
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    log.addHandler(logging.handlers.QueueHandler(records))
    log.setLevel(logging.INFO)
    listener = logging.handlers.QueueListener(records, logging.FileHandler(path))
    listener.start()
    gc.set_threshold(50)
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    threads = [threading.Thread(target=work, args=(count // 20,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while len(seen) < count // 10:
        work(1)
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    listener.stop()
    logging.shutdown()
    print(len(seen))
