"""From green threads to coroutines and back: results, errors, contexts, and what nobody awaits any more."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest

import greenserve
from greenserve import aio
from greenserve.errors import HubError
from greenserve.testing import wait_until_parked
from tests.aio.loops import run

NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


async def double(number: int) -> int:
    await asyncio.sleep(0.001)
    return 2 * number


class Ready:
    """An awaitable that is neither a coroutine nor a future."""

    def __await__(self) -> Generator[Any, None, str]:
        yield
        return "ready"


class Seen:
    """A coroutine that waits for ever, and how far it came."""

    def __init__(self) -> None:
        self.began: greenserve.Event[None] = greenserve.Event()
        self.ended: greenserve.Event[str] = greenserve.Event()

    async def wait(self) -> None:
        self.began.send()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.ended.send("cancelled")
            raise


# await_ ---------------------------------------------------------------------------------------------------------------


def test_green_code_gets_what_a_coroutine_returns() -> None:
    assert aio.await_(double(4)) == 8


def test_any_awaitable_will_do() -> None:
    async def make() -> Awaitable[int]:
        return asyncio.ensure_future(double(3))

    assert aio.await_(Ready()) == "ready"
    assert aio.await_(aio.await_(make())) == 6


def test_what_is_no_awaitable_is_refused() -> None:
    with pytest.raises(TypeError, match="await"):
        aio.await_(3)  # type: ignore[arg-type]  # that is the point


def test_green_code_gets_what_a_coroutine_raises() -> None:
    error = ValueError("why")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(ValueError, match="why") as caught:
        aio.await_(fail())
    assert caught.value is error


def test_all_green_threads_share_one_loop_in_which_tasks_go_on() -> None:
    ended: greenserve.Event[None] = greenserve.Event()

    async def begin() -> asyncio.Task[int]:
        task = asyncio.get_running_loop().create_task(double(21))
        task.add_done_callback(lambda _: ended.send())
        return task

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    task = aio.await_(begin())
    ended.wait(10)  # nobody awaits anything
    assert task.result() == 42
    loops = [greenserve.spawn(aio.await_, loop()).wait() for _ in range(3)]
    assert {id(one) for one in [*loops, aio.await_(loop())]} == {id(loops[0])}


def test_many_wait_at_once() -> None:
    threads = [greenserve.spawn(aio.await_, double(number)) for number in range(200)]
    assert [thread.wait(10) for thread in threads] == [2 * number for number in range(200)]


def test_a_coroutine_runs_in_a_copy_of_the_callers_context() -> None:
    async def rename() -> str:
        before = NAME.get()
        NAME.set("coroutine")
        await asyncio.sleep(0)
        return before

    def call(name: str) -> tuple[str, str]:
        NAME.set(name)
        return aio.await_(rename()), NAME.get()

    threads = [greenserve.spawn(call, name) for name in ("one", "two")]
    assert [thread.wait(10) for thread in threads] == [("one", "one"), ("two", "two")]


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (lambda thread: thread.kill(), greenserve.GreenletExit),
        (lambda thread: thread.kill(ValueError("enough")), ValueError),
    ],
    ids=["kill", "kill with an exception"],
)
def test_a_killed_green_threads_awaitable_is_cancelled(
    stop: Callable[[greenserve.GreenThread[None]], None], expected: type[BaseException]
) -> None:
    seen = Seen()
    thread = greenserve.spawn(aio.await_, seen.wait())
    seen.began.wait(10)
    stop(thread)
    with pytest.raises(expected):
        thread.wait(10)
    assert seen.ended.wait(10) == "cancelled"


def test_a_timeout_cancels_the_awaitable() -> None:
    seen = Seen()
    with pytest.raises(greenserve.Timeout), greenserve.Timeout(0.01):
        aio.await_(seen.wait())
    assert seen.ended.wait(10) == "cancelled"


def test_an_awaitable_that_somebody_else_cancels_raises_so() -> None:
    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        aio.await_(cancel_itself())
    assert aio.await_(double(1)) == 2


def test_a_coroutine_of_the_shared_loop_must_not_wait_for_its_own_loop() -> None:
    async def wrong() -> None:
        inner = double(1)
        try:
            aio.await_(inner)
        finally:
            inner.close()

    with pytest.raises(HubError, match="await"):
        aio.await_(wrong())


def test_code_called_by_a_coroutine_of_the_shared_loop_waits_in_a_green_thread() -> None:
    def blocking() -> int:
        return aio.await_(double(5))

    async def main() -> int:
        return await aio.to_green(blocking)

    assert aio.await_(main()) == 10


@pytest.mark.parametrize("make", [aio.EventLoop, asyncio.SelectorEventLoop])
def test_a_coroutine_of_another_loop_can_wait_for_the_shared_one(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> list[bool]:
        loop = asyncio.get_running_loop()
        same = []
        for number in range(3):
            assert aio.await_(double(number)) == 2 * number
            same.append(asyncio.get_running_loop() is loop)
            await asyncio.sleep(0)
            greenserve.sleep(0.001)  # the shared loop runs meanwhile
            same.append(asyncio.get_running_loop() is loop)
        return same

    loop = make()
    try:
        assert loop.run_until_complete(main()) == [True] * 6
    finally:
        loop.close()


def test_stopping_the_shared_loop_does_not_stop_it() -> None:
    async def stop() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.001)

    aio.await_(stop())
    assert aio.await_(double(1)) == 2


def test_an_exit_in_a_coroutine_is_raised_where_it_is_awaited_and_nowhere_else() -> None:
    async def leave() -> None:
        await asyncio.sleep(0)
        raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        aio.await_(leave())
    assert caught.value.code == 3
    wait_until_parked()  # it would be raised here
    assert aio.await_(double(1)) == 2


def test_an_exit_that_nobody_awaits_reaches_the_main_greenlet() -> None:
    async def leave() -> None:
        await asyncio.sleep(0.001)
        raise SystemExit(4)

    async def begin() -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(leave())

    task = aio.await_(begin())
    with pytest.raises(SystemExit) as caught:
        greenserve.sleep(10)
    assert caught.value.code == 4
    assert task.exception() is caught.value
    assert aio.await_(double(1)) == 2


def test_a_green_timeout_in_a_coroutine_does_not_end_the_loop_and_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def slow() -> int:
        with greenserve.Timeout(0.001):
            await asyncio.sleep(0.02)
        return 1

    assert aio.await_(slow()) == 1
    assert "asyncio.timeout()" in caplog.text
    assert aio.await_(double(1)) == 2


def test_several_os_threads_wait_for_coroutines_at_once() -> None:
    totals: greenserve.Queue[int] = greenserve.Queue()

    def work() -> None:
        threads = [greenserve.spawn(aio.await_, double(number)) for number in range(50)]
        totals.put(sum(thread.wait() for thread in threads))

    natives = [threading.Thread(target=work) for _ in range(4)]
    for native in natives:
        native.start()
    assert [totals.get(timeout=20) for _ in natives] == [2450] * 4
    for native in natives:
        greenserve.execute(native.join)


@pytest.mark.parametrize("seed", range(3))
def test_calls_either_way_that_end_in_any_way_leave_nothing_behind(seed: int) -> None:
    choose = random.Random(seed)
    running = 0

    async def asynchronous(depth: int) -> int:
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(choose.choice([0, 0.0005, 0.002]))
            return depth and await aio.to_green(green, depth - 1)
        finally:
            running -= 1

    def green(depth: int) -> int:
        nonlocal running
        running += 1
        try:
            greenserve.sleep(choose.choice([0, 0.0005, 0.002]))
            return depth and aio.await_(asynchronous(depth - 1))
        finally:
            running -= 1

    def call() -> None:
        with greenserve.Timeout(choose.choice([0.0005, 0.002, 0.01, None]), False):
            aio.await_(asynchronous(choose.randrange(5)))

    async def others() -> int:
        return len(asyncio.all_tasks()) - 1

    threads = [greenserve.spawn(call) for _ in range(200)]
    for thread in threads:
        if choose.random() < 0.2:
            thread.kill()
        if choose.random() < 0.2:
            greenserve.sleep(0.0005)
    for thread in threads:
        with suppress(greenserve.GreenletExit):
            thread.wait(20)
    with greenserve.Timeout(20):
        while aio.await_(others()) or running:  # those that were cancelled are not waited for
            greenserve.sleep(0)
    assert running == 0


def test_each_os_thread_has_a_shared_loop_which_ends_with_it() -> None:
    done: list[object] = []

    async def linger() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")

    async def begin() -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        kept.append(loop.create_task(linger()))
        await asyncio.sleep(0)
        return loop

    def work() -> None:
        done.append(aio.await_(begin()))

    kept: list[asyncio.Task[None]] = []
    here = aio.await_(begin())
    thread = threading.Thread(target=work)
    thread.start()
    greenserve.execute(thread.join, 10)
    loop, text = done
    assert isinstance(loop, aio.EventLoop)
    assert loop is not here
    assert loop.is_closed()
    assert text == "cleaned up"
    assert kept[1].cancelled()


def test_an_os_thread_ends_though_a_coroutine_waits_in_green_code() -> None:
    done: list[str] = []

    async def block() -> None:
        began.send()
        try:
            greenserve.sleep(60)
        finally:
            done.append("ended")

    began: greenserve.Event[None] = greenserve.Event()

    def work() -> None:
        greenserve.spawn(aio.await_, block())
        began.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    greenserve.execute(thread.join, 10)
    assert not thread.is_alive()
    assert done == ["ended"]


# spawn_for_awaitable --------------------------------------------------------------------------------------------------


def test_a_green_thread_stands_for_an_awaitable() -> None:
    thread = aio.spawn_for_awaitable(double(4))
    assert isinstance(thread, greenserve.GreenThread)
    assert thread.wait(10) == 8


def test_a_green_thread_for_an_awaitable_raises_what_that_raises() -> None:
    async def fail() -> None:
        raise ValueError("why")

    thread = aio.spawn_for_awaitable(fail())
    with pytest.raises(ValueError, match="why"):
        thread.wait(10)


def test_the_awaitable_begins_in_the_context_of_whoever_spawned() -> None:
    async def name() -> str:
        return NAME.get()

    def call() -> greenserve.GreenThread[str]:
        NAME.set("spawner")
        return aio.spawn_for_awaitable(name())

    assert greenserve.spawn(call).wait(10).wait(10) == "spawner"


def test_killing_the_green_thread_cancels_the_awaitable() -> None:
    seen = Seen()
    thread = aio.spawn_for_awaitable(seen.wait())
    seen.began.wait(10)
    thread.kill()
    assert seen.ended.wait(10) == "cancelled"


def test_killing_the_green_thread_before_its_start_cancels_the_awaitable() -> None:
    async def never() -> None:
        began.append(True)

    began: list[bool] = []
    thread = aio.spawn_for_awaitable(never())
    thread.kill()
    with pytest.raises(greenserve.GreenletExit):
        thread.wait(10)
    assert aio.await_(double(1)) == 2  # the loop has had its turn
    assert began == []


# to_green -------------------------------------------------------------------------------------------------------------


def test_a_coroutine_gets_what_a_green_thread_returns_while_both_sides_go_on() -> None:
    def add(one: int, other: int = 0) -> int:
        greenserve.sleep(0.01)
        return one + other

    async def main() -> list[int]:
        return await asyncio.gather(*(aio.to_green(add, number, other=1) for number in range(50)), double(4))

    assert aio.await_(main()) == [*range(1, 51), 8]


def test_a_coroutine_gets_what_a_green_thread_raises_and_the_log_does_not(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise error

    error = ValueError("why")

    async def main() -> BaseException | None:
        try:
            await aio.to_green(fail)
        except ValueError as exc:
            return exc
        return None

    assert aio.await_(main()) is error
    assert caplog.records == []


def test_the_end_of_an_iteration_can_not_leave_a_coroutine() -> None:
    async def main() -> None:
        await aio.to_green(next, iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        aio.await_(main())


def test_a_function_runs_in_a_copy_of_the_coroutines_context() -> None:
    def rename() -> str:
        before = NAME.get()
        NAME.set("function")
        return before

    async def main() -> tuple[str, str]:
        NAME.set("coroutine")
        return await aio.to_green(rename), NAME.get()

    assert aio.await_(main()) == ("coroutine", "coroutine")


def test_cancelling_the_coroutine_kills_the_green_thread() -> None:
    began: greenserve.Event[None] = greenserve.Event()
    done: list[str] = []

    def block() -> None:
        began.send()
        try:
            greenserve.sleep(60)
        finally:
            done.append("cleaned up")

    async def main() -> list[str]:
        task = asyncio.ensure_future(aio.to_green(block))
        while not began.ready():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return list(done)

    assert aio.await_(main()) == ["cleaned up"]


def test_cancelling_the_coroutine_when_the_function_has_just_returned_loses_nothing_else() -> None:
    async def main() -> int:
        task = asyncio.ensure_future(aio.to_green(len, b"abc"))
        await asyncio.sleep(0)  # it has begun
        wait_until_parked()  # the function returns, and the loop has not seen it yet
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await aio.to_green(len, b"ab")

    assert aio.await_(main()) == 2


def test_a_function_whose_loop_has_ended_goes_on_alone() -> None:
    go_on: greenserve.Event[None] = greenserve.Event()
    ended: greenserve.Event[str] = greenserve.Event()

    def work() -> None:
        go_on.wait(10)
        ended.send("done")

    async def main() -> None:
        tasks.append(asyncio.ensure_future(aio.to_green(work)))
        await asyncio.sleep(0)  # it has begun

    tasks: list[asyncio.Future[None]] = []
    loop = aio.EventLoop()
    loop.run_until_complete(main())
    loop.close()
    go_on.send()
    assert ended.wait(10) == "done"
    assert not tasks[0].done()
    tasks[0]._log_destroy_pending = False  # type: ignore[attr-defined]  # left on purpose


def test_a_loop_that_does_not_wait_in_the_hub_is_told_so() -> None:
    async def main() -> None:
        with pytest.raises(HubError, match="does not wait in the hub"):
            await aio.to_green(len, b"")

    asyncio.run(main())


def test_green_and_asynchronous_calls_nest() -> None:
    def green(depth: int) -> int:
        return aio.await_(asynchronous(depth - 1)) if depth else 1

    async def asynchronous(depth: int) -> int:
        return 1 + await aio.to_green(green, depth) if depth else 1

    assert green(20) == 20
    assert run(asynchronous(20)) == 21
