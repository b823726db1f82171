"""What is a whole process's: its end, signals, children. Each script runs unpatched in a process of its own."""

from __future__ import annotations

import pytest

from tests.patched.running import run_script


def run_unpatched(script: str, *options: str, code: int = 0) -> list[str]:
    return run_script(script, *options, patch=False, code=code).splitlines()


def test_the_shared_loop_ends_with_the_process_and_says_nothing() -> None:
    assert run_unpatched(
        """
        import asyncio
        from greenserve import aio, spawn

        async def linger():
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                print("cleaned up")

        async def begin():
            asyncio.current_task().get_loop().kept = asyncio.ensure_future(linger())
            await asyncio.sleep(0)
            return "begun"

        spawn(aio.await_, linger())  # a green thread that still waits is not told
        print(aio.await_(begin()))
        """,
        "-X",
        "dev",
    ) == ["begun", "cleaned up", "cleaned up"]


def test_a_failure_at_the_end_is_reported_to_the_loop() -> None:
    assert run_unpatched(
        """
        import asyncio
        from greenserve import aio

        async def linger():
            try:
                await asyncio.sleep(60)
            finally:
                raise ValueError("at the end")

        async def begin():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: print(context["exception"]))
            loop.kept = asyncio.ensure_future(linger())
            await asyncio.sleep(0)

        aio.await_(begin())
        """
    ) == ["at the end"]


def test_importing_greenserve_loads_no_asyncio_and_aio_resolves() -> None:
    assert run_unpatched(
        """
        import sys
        import greenserve
        import greenserve.green.select
        print("asyncio" in sys.modules, "aio" in greenserve.__all__)
        print(greenserve.aio.await_.__name__, "asyncio" in sys.modules)
        """
    ) == ["False True", "await_ True"]


def test_signals_reach_the_loop_that_asked_for_them_and_then_the_hub_again() -> None:
    assert run_unpatched(
        """
        import asyncio, os, signal
        import greenserve
        from greenserve import aio

        async def wait_for_signal():
            loop = asyncio.get_running_loop()
            got = asyncio.Event()
            loop.add_signal_handler(signal.SIGUSR1, got.set)
            loop.add_signal_handler(signal.SIGUSR2, got.clear)
            greenserve.spawn(os.kill, os.getpid(), signal.SIGUSR1)
            await asyncio.wait_for(got.wait(), 10)
            loop.remove_signal_handler(signal.SIGUSR2)
            loop.remove_signal_handler(signal.SIGUSR1)
            return got.is_set()

        greenserve.sleep(0)
        hub = greenserve.get_hub()
        before = signal.set_wakeup_fd(-1)
        hub.take_wakeup_fd()
        print(aio.await_(wait_for_signal()), signal.set_wakeup_fd(-1) == before != -1)
        """
    ) == ["True True"]


def test_children_are_waited_for_while_green_threads_go_on() -> None:
    assert run_unpatched(
        """
        import asyncio, sys
        import greenserve
        from greenserve import aio

        async def talk():
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "print(input()[::-1])", stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE)
            out, _ = await child.communicate(b"abc\\n")
            return out, child.returncode

        ticks = []

        def tick():
            while True:
                greenserve.sleep(0.001)
                ticks.append(None)

        ticker = greenserve.spawn(tick)
        print(aio.await_(talk()), len(ticks) > 5)
        ticker.kill()
        """
    ) == ["(b'cba\\n', 0) True"]


def test_a_forked_child_has_a_shared_loop_of_its_own() -> None:
    assert run_unpatched(
        """
        import asyncio, os
        from greenserve import aio

        async def loop():
            await asyncio.sleep(0.001)
            return id(asyncio.get_running_loop())

        parents = aio.await_(loop())
        pid = os.fork()
        if not pid:
            print("child", aio.await_(loop()) != parents, flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
        print("parent", aio.await_(loop()) == parents)
        """
    ) == ["child True", "parent True"]


@pytest.mark.parametrize("where", ["aio.await_(sleep())", "spawn(aio.await_, sleep()); sleep_green(10)"])
def test_an_interrupt_comes_out_of_the_main_greenlet(where: str) -> None:
    assert run_unpatched(
        f"""
        import asyncio, os, signal
        from greenserve import aio, sleep as sleep_green, spawn, spawn_after

        async def sleep():
            await asyncio.sleep(10)

        spawn_after(0.05, os.kill, os.getpid(), signal.SIGINT)
        try:
            {where}
        except KeyboardInterrupt:
            print("interrupted")
        """
    ) == ["interrupted"]
