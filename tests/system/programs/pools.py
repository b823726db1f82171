"""Have processes compute, while threads go on, and ask for more: ``pools.py METHOD COUNT``."""

from __future__ import annotations

import multiprocessing
import sys
import threading


def square(number: int) -> int:
    return number * number


if __name__ == "__main__":
    count = int(sys.argv[2])
    stop = threading.Event()
    turns: list[None] = []

    def tick() -> None:
        while not stop.wait(0.001):
            turns.append(None)

    ticker = threading.Thread(target=tick)
    ticker.start()
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        mapped = sum(pool.imap_unordered(square, range(count)))
        single: list[int] = []
        askers = [
            threading.Thread(target=lambda: single.extend(pool.apply(square, (1,)) for _ in range(count // 10)))
            for _ in range(5)
        ]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
    stop.set()
    ticker.join()
    print(mapped, sum(single), len(turns) > 10)
