"""Loops that wait in the hub: side by side in one OS thread, each with what is its own."""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import greenserve
from greenserve import aio
from greenserve.core.report import describe_parked
from greenserve.green.selectors import PollSelector, SelectSelector
from greenserve.testing import wait_until_parked
from tests.aio.loops import run


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def wait_for_event() -> None:
    event: greenserve.Event[None] = greenserve.Event()
    greenserve.spawn(event.send)
    event.wait()


def wait_for_bytes() -> None:
    one, other = socket.socketpair()
    with greenserve.GreenSocket(fileno=one.detach()) as green, other:
        greenserve.spawn_after(0.001, other.send, b"x")
        assert green.recv(1) == b"x"


def wait_for_lock() -> None:
    lock = greenserve.Lock()
    lock.acquire()
    greenserve.spawn_after(0.001, lock.release)
    lock.acquire()


def kill_another() -> None:
    greenserve.spawn(greenserve.sleep, 10).kill()


WAITS: list[Callable[[], Any]] = [
    lambda: greenserve.sleep(0),
    lambda: greenserve.sleep(0.001),
    lambda: greenserve.execute(len, b"abc"),
    lambda: greenserve.spawn(len, b"abc").wait(),
    lambda: greenserve.with_timeout(0.001, greenserve.sleep, 10, timeout_value=None),
    wait_for_bytes,
    wait_for_event,
    wait_for_lock,
    kill_another,
]
NAMES = ["sleep(0)", "sleep", "execute", "join", "timeout", "socket", "event", "lock", "kill"]


def test_other_green_threads_go_on_while_a_loop_waits() -> None:
    ticks: list[int] = []

    def tick() -> None:
        for number in range(5):
            greenserve.sleep(0.001)
            ticks.append(number)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        thread = greenserve.spawn(tick)
        thread.link(lambda _: loop.call_soon_threadsafe(ended.set_result, len(ticks)))
        return await asyncio.wait_for(ended, 10)

    assert run(main()) == 5


@pytest.mark.parametrize("selector", [None, PollSelector, SelectSelector])
def test_a_loop_waits_by_any_green_selector(selector: type[selectors.BaseSelector] | None) -> None:
    loop = aio.EventLoop(None if selector is None else selector())
    try:
        thread = greenserve.spawn(greenserve.sleep, 0.001)
        loop.run_until_complete(asyncio.sleep(0.02))
        assert thread.ended
    finally:
        loop.close()


@pytest.mark.parametrize("wait", WAITS, ids=NAMES)
def test_a_coroutine_that_waits_in_green_code_keeps_its_loop_and_its_task_and_shows_them_to_nobody(
    wait: Callable[[], Any],
) -> None:
    seen: list[object] = []

    def look() -> None:
        for _ in range(3):
            seen.append(running_loop())
            greenserve.sleep(0)

    async def main() -> tuple[bool, bool, bool]:
        loop, task, hooks = asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()
        greenserve.spawn(look)
        wait()
        return running_loop() is loop, asyncio.current_task() is task, sys.get_asyncgen_hooks() == hooks

    assert run(main()) == (True, True, True)
    assert seen
    assert set(seen) == {None}
    assert running_loop() is None


@pytest.mark.parametrize("wait", WAITS, ids=NAMES)
def test_loops_in_several_green_threads_do_not_see_each_other(wait: Callable[[], Any]) -> None:
    loops: set[int] = set()

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        loops.add(id(loop))
        for _ in range(5):
            wait()
            assert asyncio.get_running_loop() is loop
            assert asyncio.current_task() is task
            await asyncio.sleep(0.001)
            assert asyncio.get_running_loop() is loop
            assert asyncio.current_task() is task
            assert asyncio.get_running_loop() is await asyncio.ensure_future(child())

    async def child() -> object:
        wait()
        return asyncio.get_running_loop()

    for thread in [greenserve.spawn(run, main()) for _ in range(5)]:
        thread.wait(20)
    assert len(loops) == 5


def test_a_loop_begins_in_a_green_thread_while_coroutines_of_others_wait_in_green_code() -> None:
    async def outer() -> int:
        return greenserve.spawn(run, inner()).wait(10)

    async def inner() -> int:
        await asyncio.sleep(0)
        return 7

    assert run(outer()) == 7


def test_a_loop_in_the_coroutine_of_another_one_is_refused_as_ever() -> None:
    async def inner() -> None:
        """Never begins."""

    async def outer() -> None:
        loop = aio.EventLoop()
        coroutine = inner()
        try:
            with pytest.raises(RuntimeError, match="while another loop is running"):
                loop.run_until_complete(coroutine)
        finally:
            coroutine.close()
            loop.close()

    run(outer())


def test_each_loop_closes_the_asynchronous_generators_that_its_own_coroutines_left() -> None:
    closed: list[object] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(running_loop())

    async def main() -> object:
        generator = numbers()
        await generator.__anext__()
        for _ in range(3):
            await asyncio.sleep(0.001)
            greenserve.sleep(0.001)
        kept.append(generator)
        return asyncio.get_running_loop()

    kept: list[object] = []
    threads = [greenserve.spawn(run, main()) for _ in range(3)]
    loops = [thread.wait(10) for thread in threads]
    assert sorted(map(id, closed)) == sorted(map(id, loops))
    assert sys.get_asyncgen_hooks() == (None, None)


def test_the_depth_of_origins_is_that_of_each_loop() -> None:
    seen: list[int] = []

    async def look() -> int:
        await asyncio.sleep(0.001)
        greenserve.sleep(0.001)
        seen.append(sys.get_coroutine_origin_tracking_depth())
        return sys.get_coroutine_origin_tracking_depth()

    depths = [greenserve.spawn(run, look(), debug=debug) for debug in (True, False, True)]
    assert [depth.wait(10) > 0 for depth in depths] == [True, False, True]
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_a_switch_is_what_it_was_once_no_loop_runs() -> None:
    hub = greenserve.get_hub()
    plain = hub.greenlet.switch
    kinds: list[bool] = []

    async def main() -> None:
        greenserve.spawn(lambda: kinds.append(hub.switch == plain))
        await asyncio.sleep(0)
        kinds.append(hub.switch == plain)

    run(main())
    greenserve.sleep(0)
    assert kinds == [True, False]  # a green thread without a loop pays nothing for those of others
    assert hub.switch == plain


def test_a_report_names_the_line_of_the_coroutine_that_waits_in_green_code() -> None:
    async def main() -> str:
        other = greenserve.spawn(lambda: describe_parked(greenserve.get_hub().greenlet))
        greenserve.sleep(0)  # this line
        return other.wait()

    path, line = main.__code__.co_filename, main.__code__.co_firstlineno + 2
    assert f"{path}:{line} in main" in run(main())


def test_killing_a_green_thread_ends_its_loop_and_runs_what_its_tasks_have_to_do() -> None:
    began: greenserve.Event[None] = greenserve.Event()
    done: list[str] = []

    async def main() -> None:
        began.send()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")

    def run_and_cancel() -> None:
        loop = aio.EventLoop()
        task = loop.create_task(main())
        try:
            loop.run_until_complete(task)
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                loop.run_until_complete(task)
            loop.close()

    thread = greenserve.spawn(run_and_cancel)
    began.wait(10)
    wait_until_parked()
    thread.kill()
    with pytest.raises(greenserve.GreenletExit):
        thread.wait(10)
    assert done == ["cleaned up"]


def test_a_timeout_ends_a_loop() -> None:
    loop = aio.EventLoop()
    forever = loop.create_future()
    try:
        with pytest.raises(greenserve.Timeout), greenserve.Timeout(0.01):
            loop.run_until_complete(forever)
        assert not loop.is_running()
        assert running_loop() is None
    finally:
        loop.close()


def test_other_threads_of_both_kinds_wake_a_loop() -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[str] = asyncio.Queue()
        native = threading.Thread(target=loop.call_soon_threadsafe, args=(queue.put_nowait, "native"))
        native.start()
        greenserve.spawn_after(0.001, loop.call_soon_threadsafe, queue.put_nowait, "green")
        got = sorted([await queue.get(), await queue.get()])
        native.join()
        return got

    assert run(main()) == ["green", "native"]


def test_a_loop_runs_in_any_os_thread_with_green_threads_beside_it() -> None:
    results: list[object] = []

    def work() -> None:
        async def main() -> int:
            return await aio.to_green(child)

        def child() -> int:
            greenserve.sleep(0.001)
            return threading.get_ident()

        results.append(run(main()))

    thread = threading.Thread(target=work)
    thread.start()
    greenserve.execute(thread.join, 10)
    assert results == [thread.ident]


def test_calls_in_native_threads_lookups_and_streams_work() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> tuple[object, bytes, bool]:
        loop = asyncio.get_running_loop()
        in_native = await loop.run_in_executor(None, threading.get_ident)
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return found[0][4], line, in_native != threading.get_ident()

    assert run(main()) == (("127.0.0.1", 80), b"HELLO\n", True)


def test_a_busy_loop_lets_green_threads_have_their_turns() -> None:
    turns: list[int] = []

    def count() -> None:
        for number in range(10):
            turns.append(number)
            greenserve.sleep(0)

    async def main() -> int:
        greenserve.spawn(count)
        rounds = 0
        while len(turns) < 10:
            rounds += 1
            await asyncio.sleep(0)
        return rounds

    assert run(main()) < 100
