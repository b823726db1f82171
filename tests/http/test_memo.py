from __future__ import annotations

import threading

import pytest

from greenserve.http.memo import Memo, Memory


def test_a_memo_computes_once_for_each_key():
    computed = []

    def measure(key: str) -> int:
        computed.append(key)
        return len(key)

    memo = Memo(measure, max_entries=2, max_length=3)
    assert [memo["a"], memo["bb"], memo["a"], memo["bb"]] == [1, 2, 1, 2]
    assert computed == ["a", "bb"]


def test_a_full_memory_begins_anew():
    memory: Memory[str, int] = Memory(max_entries=2, max_length=3)
    for key in ("a", "b", "c"):
        memory.remember(key, 1)
    assert list(memory) == ["c"]


def test_a_long_key_is_not_remembered():
    memo = Memo(len, max_entries=2, max_length=3)
    assert memo["abcd"] == 4
    assert list(memo) == []


def test_what_raises_is_not_remembered():
    memo = Memo(int, max_entries=2, max_length=3)
    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            memo["x"]
    assert list(memo) == []


def test_a_memo_is_right_from_many_threads():
    memo: Memo[str, int] = Memo(int, max_entries=10, max_length=3)
    wrong: list[str] = []

    def use() -> None:
        for number in range(5000):
            key = str(number % 37)
            if memo[key] != int(key):
                wrong.append(key)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(memo) <= 10 + len(threads)
