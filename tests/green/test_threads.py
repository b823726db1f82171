"""Locks, handles and queues with the standard library's manners, whether or not anything is patched."""

from __future__ import annotations

import queue as native_queue
import threading as native

import pytest

import greenserve
from greenserve.green import _thread, queue, time


@pytest.mark.parametrize(
    ("args", "error"),
    [((False, 1), ValueError), ((True, -2), ValueError), ((True, native.TIMEOUT_MAX * 2), OverflowError)],
)
@pytest.mark.parametrize("make", [_thread.Lock, _thread.RLock, native.Lock, native.RLock])
def test_locks_refuse_what_the_standard_ones_refuse(
    make: type[_thread.Lock], args: tuple[bool, float], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make().acquire(*args)


@pytest.mark.parametrize("make", [_thread.RLock, native.RLock])
def test_a_recursive_lock_is_its_owners(make: type[_thread.RLock]) -> None:
    lock = make()
    with lock, lock:
        assert lock._is_owned()
    with pytest.raises(RuntimeError):
        lock.release()
    with pytest.raises(RuntimeError):
        lock._release_save()


def test_a_thread_has_a_number_of_its_own_and_is_counted() -> None:
    seen: list[int] = []
    before = _thread.count()
    number = _thread.start_new_thread(lambda: seen.append(_thread.get_ident()), ())
    assert _thread.count() == before + 1
    greenserve.sleep(0)
    assert seen == [number]
    assert number != _thread.get_ident() == native.get_ident()
    assert _thread.count() == before


@pytest.mark.parametrize("args", [(1, ()), (print, []), (print, (), [])])
def test_a_thread_is_not_started_with_wrong_arguments(args: tuple[object, ...]) -> None:
    with pytest.raises(TypeError):
        _thread.start_new_thread(*args)  # type: ignore[arg-type]  # that is what is tested


def test_a_sentinel_is_released_when_its_thread_ends() -> None:
    locks: list[_thread.Lock] = []

    def work() -> None:
        lock = _thread.set_sentinel()
        lock.acquire()
        locks.append(lock)
        greenserve.sleep(0)

    _thread.start_new_thread(work, ())
    greenserve.sleep(0)
    assert locks[0].locked()
    assert locks[0].acquire(timeout=10)


def test_a_handle_tells_of_its_thread() -> None:
    handle = _thread.ThreadHandle()
    with pytest.raises(RuntimeError, match="not started"):
        handle.join()
    gate = _thread.Lock()
    gate.acquire()
    assert _thread.start_joinable_thread(gate.acquire, handle) is handle
    handle.join(0.01)
    assert not handle.is_done()
    gate.release()
    handle.join()
    assert handle.is_done()
    with pytest.raises(RuntimeError, match="already started"):
        _thread.start_joinable_thread(print, handle)
    with pytest.raises(RuntimeError, match="current thread"):
        _thread.make_thread_handle(_thread.get_ident()).join()


@pytest.mark.parametrize("kind", [queue.SimpleQueue, native_queue.SimpleQueue])
def test_a_simple_queue_is_the_standard_ones_like(kind: type[queue.SimpleQueue[int]]) -> None:
    items = kind()
    items.put(1)
    items.put(2, block=True, timeout=0)
    assert (items.qsize(), items.get(), items.get_nowait(), items.empty()) == (2, 1, 2, True)
    with pytest.raises(native_queue.Empty):
        items.get(timeout=0.001)
    with pytest.raises(ValueError, match="non-negative"):
        items.get(timeout=-1)


@pytest.mark.parametrize(
    ("seconds", "error"),
    [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (None, TypeError), (1e30, OverflowError)],
)
def test_sleep_refuses_what_is_no_time(seconds: float, error: type[Exception]) -> None:
    with pytest.raises(error):
        time.sleep(seconds)


def test_sleep_lets_others_run() -> None:
    seen: list[int] = []
    greenserve.spawn(seen.append, 1)
    time.sleep(0)
    assert seen == [1]
