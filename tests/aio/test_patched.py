"""asyncio as it is, in a patched program. Each script runs patched in a process of its own."""

from __future__ import annotations

import pytest

from tests.patched.running import run_script


def test_asyncio_run_works_in_many_threads_at_once_while_others_go_on() -> None:
    assert (
        run_script(
            """
        import asyncio, threading, time

        ticks = []
        results = []
        done = threading.Event()

        def tick():
            while not done.wait(0.01):
                ticks.append(None)

        async def main(number):
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            for _ in range(4):
                await asyncio.sleep(0.05)
                assert asyncio.get_running_loop() is loop and asyncio.current_task() is task
                time.sleep(0.001)  # green: other threads go on, and must not see this loop
                assert asyncio.get_running_loop() is loop and asyncio.current_task() is task
            results.append(number)

        ticker = threading.Thread(target=tick)
        ticker.start()
        began = time.monotonic()
        threads = [threading.Thread(target=lambda n=n: asyncio.run(main(n))) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        done.set()
        ticker.join()
        print(sorted(results) == list(range(20)), took < 2, len(ticks) > 5)
        """,
            "-X",
            "dev",
        )
        == "True True True\n"
    )


@pytest.mark.parametrize("order", ["before", "after"])
def test_what_a_loop_does_besides_waiting_for_sockets_works(order: str) -> None:
    patch = "from greenserve import monkey; monkey.patch_all()"
    first, second = ("import asyncio", patch) if order == "before" else (patch, "import asyncio")
    assert run_script(
        f"""
        {first}
        {second}
        import contextvars, os, signal, socket, sys, threading, time
        from greenserve import monkey

        name = contextvars.ContextVar("name")

        async def main():
            loop = asyncio.get_running_loop()
            name.set("main")
            print("thread", await asyncio.to_thread(name.get))
            print("executor", await loop.run_in_executor(None, time.sleep, 0.01))
            print("lookup", (await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))[0][4])

            queue = asyncio.Queue()
            native = monkey.original("threading").Thread(
                target=loop.call_soon_threadsafe, args=(queue.put_nowait, "native"))
            native.start()
            green = threading.Timer(0.01, loop.call_soon_threadsafe, (queue.put_nowait, "green"))
            green.start()
            print("threadsafe", sorted([await queue.get(), await queue.get()]))

            got = asyncio.Event()
            loop.add_signal_handler(signal.SIGUSR1, got.set)
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            await asyncio.wait_for(got.wait(), 10)
            print("signal", loop.remove_signal_handler(signal.SIGUSR1))

            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "print(input()[::-1])", stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE)
            print("child", (await child.communicate(b"abc\\n"))[0], child.returncode)

            one, other = socket.socketpair()
            with one, other:
                one.setblocking(False)
                threading.Timer(0.01, other.sendall, (b"hello",)).start()
                print("socket", await loop.sock_recv(one, 100))
            print("policy", asyncio.get_event_loop() is loop)

        asyncio.run(main())
        """,
        patch=False,
    ).splitlines() == [
        "thread main",
        "executor None",
        "lookup ('127.0.0.1', 80)",
        "threadsafe ['green', 'native']",
        "signal True",
        "child b'cba\\n' 0",
        "socket b'hello'",
        "policy True",
    ]


def test_an_interrupt_ends_asyncio_run() -> None:
    assert (
        run_script(
            """
        import asyncio, os, signal

        async def main():
            # From outside of the green threads, as a person's: it would be raised in the one that sends it.
            monkey.original("threading").Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                await asyncio.sleep(10)
            finally:
                print("cleaned up")

        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        """
        )
        == "cleaned up\ninterrupted\n"
    )


def test_both_sides_call_each_other() -> None:
    assert (
        run_script(
            """
        import asyncio, threading, time
        from greenserve import aio

        steps = []

        def blocking(number):
            steps.append("begin")
            time.sleep(0.05)
            result = aio.await_(double(number))
            steps.append("end")
            return result

        async def double(number):
            await asyncio.sleep(0.05)
            return 2 * number

        async def main():
            return await asyncio.gather(*(aio.to_green(blocking, number) for number in range(20)))

        print(asyncio.run(main()) == [2 * number for number in range(20)], steps == ["begin"] * 20 + ["end"] * 20)
        results = []
        threads = [threading.Thread(target=lambda n=n: results.append(aio.await_(double(n)))) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(sorted(results) == [2 * number for number in range(20)])
        """,
            "-X",
            "dev",
        )
        == "True True\nTrue\n"
    )


def test_each_thread_has_a_current_loop_of_its_own_though_asyncio_came_first() -> None:
    assert (
        run_script(
            """
        import asyncio
        from greenserve import monkey
        monkey.patch_all()
        import threading

        mine = asyncio.new_event_loop()
        asyncio.set_event_loop(mine)

        async def main():
            pass

        thread = threading.Thread(target=asyncio.run, args=(main(),))
        thread.start()
        thread.join()
        print(asyncio.get_event_loop() is mine)
        mine.close()
        """,
            patch=False,
        )
        == "True\n"
    )


def test_the_hub_is_woken_by_signals_again_when_asyncio_no_longer_is() -> None:
    assert (
        run_script(
            """
        import _signal, asyncio, signal, socket, time

        def look():
            native = _signal.set_wakeup_fd(-1)
            _signal.set_wakeup_fd(native)
            return native

        time.sleep(0)
        hubs = look()
        one, other = socket.socketpair()
        one.setblocking(False)
        print(hubs != -1, signal.set_wakeup_fd(one.fileno()), signal.set_wakeup_fd(-1) == one.fileno(), look() == hubs)

        async def main():
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGUSR1, print)
            print(look() != hubs)
            loop.remove_signal_handler(signal.SIGUSR1)
            print(look() == hubs)

        asyncio.run(main())
        one.close()
        other.close()
        """
        )
        == "True -1 True True\nTrue\nTrue\n"
    )
