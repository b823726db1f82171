"""Crawl a site from its page 0 on, following links to numbers under COUNT: ``crawl.py URL COUNT``."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import requests

local = threading.local()


def fetch(base: str, number: int) -> list[int]:
    """Return the numbers that page ``number`` links to."""
    if not hasattr(local, "session"):
        local.session = requests.Session()
    answer = local.session.get(f"{base}/page/{number}", timeout=30)
    answer.raise_for_status()
    page = answer.json()
    assert page["page"] == number, page
    return page["links"]


def crawl(base: str, count: int) -> set[int]:
    seen = {0}
    with ThreadPoolExecutor(20) as pool:
        running = {pool.submit(fetch, base, 0)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                found = {link for link in future.result() if link < count} - seen
                seen |= found
                running |= {pool.submit(fetch, base, link) for link in found}
    return seen


if __name__ == "__main__":
    print(len(crawl(sys.argv[1], int(sys.argv[2]))))
