"""Signal handlers under the patch: where they run, that they may block, and where what they raise goes."""

from __future__ import annotations

import pytest

from tests.patched.running import run_script


def test_a_handler_that_interrupts_the_hub_may_block_and_is_the_main_thread() -> None:
    assert (
        run_script(
            """
        import os, signal, threading, time
        seen = []
        lock = threading.Lock()
        done = threading.Event()

        def handler(signum, frame):
            time.sleep(0.05)
            with lock:
                seen.append((signum == signal.SIGUSR1, threading.current_thread() is threading.main_thread()))
            done.set()

        signal.signal(signal.SIGUSR1, handler)
        print(signal.getsignal(signal.SIGUSR1) is handler)
        with lock:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            time.sleep(0.2)
        done.wait(10)
        print(seen)
        """
        )
        == "True\n[(True, True)]\n"
    )


def test_what_a_handler_raises_reaches_the_main_greenlet_wherever_it_ran() -> None:
    assert (
        run_script(
            """
        import os, signal, threading, time

        class Mine(Exception):
            pass

        def handler(signum, frame):
            raise Mine

        signal.signal(signal.SIGUSR1, handler)
        ended = []

        def other():
            os.kill(os.getpid(), signal.SIGUSR1)
            ended.append(sum(range(1000)))

        for interrupt in (lambda: os.kill(os.getpid(), signal.SIGUSR1), other):
            timer = threading.Timer(0.05, interrupt)
            timer.start()
            try:
                time.sleep(10)
            except Mine:
                print("raised in", threading.current_thread().name)
            timer.join(10)
        print(ended)
        """
        )
        == "raised in MainThread\nraised in MainThread\n[499500]\n"
    )


@pytest.mark.parametrize("set_again", ["", "signal.signal(signal.SIGINT, signal.default_int_handler)"])
def test_an_interrupt_in_a_thread_that_runs_stops_the_main_thread_and_not_this_one(set_again: str) -> None:
    assert (
        run_script(
            f"""
        import signal, threading, time
        {set_again}
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        ended = threading.Event()

        def interrupt():
            signal.raise_signal(signal.SIGINT)
            ended.set()

        thread = threading.Thread(target=interrupt)
        try:
            thread.start()
            time.sleep(10)
        except KeyboardInterrupt:
            print("raised in", threading.current_thread().name)
        print(ended.wait(10))
        """
        )
        == "True\nraised in MainThread\nTrue\n"
    )


def test_an_interrupt_comes_before_the_end_of_the_wait_that_it_interrupts() -> None:
    assert (
        run_script(
            """
        import _thread, threading

        thread = threading.Thread(target=_thread.interrupt_main)
        try:
            thread.start()
            thread.join()
        except KeyboardInterrupt:
            print("interrupted")
        thread.join()
        """
        )
        == "interrupted\n"
    )


def test_pause_and_sigwait_let_others_run() -> None:
    assert (
        run_script(
            """
        import os, signal, threading
        signal.signal(signal.SIGUSR1, lambda signum, frame: print("handled"))
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        signal.pause()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2)).start()
        print(signal.sigwait([signal.SIGUSR2]) is signal.SIGUSR2, signal.sigtimedwait([signal.SIGUSR2], 0.05))
        """
        )
        == "handled\nTrue None\n"
    )


def test_logging_from_handlers_and_finalizers_never_deadlocks() -> None:
    """Thousands of records, from threads, from a handler that interrupts them, and from finalizers in between."""
    assert (
        run_script(
            """
        import gc, io, logging, os, signal, threading, time
        stream = io.StringIO()


        logging.basicConfig(stream=stream, format="%(threadName)s %(message)s")
        log = logging.getLogger("test")

        class Finalized:
            def __init__(self):
                self.me = self  # so that it is the collector that finds it

            def __del__(self):
                log.warning("finalized")

        handled = []

        def handler(signum, frame):
            log.warning("handled")
            handled.append(signum)

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)

        def work():
            for i in range(500):
                Finalized()
                log.warning("worked")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.collect()
        while stream.getvalue().count("MainThread handled") < len(handled):
            time.sleep(0.01)
        print(stream.getvalue().count("worked"), stream.getvalue().count("finalized"), len(handled) > 10)
        """
        )
        == "4000 4000 True\n"
    )


def test_a_child_that_is_patched_by_itself_knows_its_main_thread_in_a_handler() -> None:
    printed = run_script(
        """
        import os, signal, threading
        import greenserve
        from greenserve import monkey
        from greenserve.green import _thread  # loaded before the fork, in use after it

        if os.fork():
            os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
        monkey.patch_all()
        signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(threading.current_thread().name))
        seen = []
        greenserve.spawn(signal.raise_signal, signal.SIGUSR1).wait()
        print(*seen, flush=True)
        os._exit(0)
        """,
        patch=False,
    )
    assert printed == "MainThread\n"


def test_threads_that_only_set_handlers_and_send_themselves_signals_let_each_other_run() -> None:
    assert (
        run_script(
            """
        import signal, threading
        sent, caught, done = [], [], []

        def send():
            while not done:
                signal.raise_signal(signal.SIGUSR1)
                sent.append(1)

        def handler(signum, frame):
            caught.append(1)

        def ignore(signum, frame):
            pass

        signal.signal(signal.SIGUSR1, handler)
        thread = threading.Thread(target=send)
        thread.start()
        while len(sent) < 100 or not caught:
            signal.signal(signal.SIGUSR1, ignore)
            signal.signal(signal.SIGUSR1, handler)
        done.append(True)
        thread.join()
        print(len(sent) >= 100)
        """
        )
        == "True\n"
    )


def test_a_thread_that_blocks_signals_for_itself_leaves_them_to_the_main_one() -> None:
    assert (
        run_script(
            """
        import signal, threading
        thread = threading.Thread(target=signal.pthread_sigmask, args=(signal.SIG_BLOCK, signal.valid_signals()))
        thread.start()
        thread.join()
        print(signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]))
        print(signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1]) == {signal.SIGUSR1})
        """
        )
        == "set()\nTrue\n"
    )


def test_a_handler_that_parks_loses_no_wake_up_of_the_wait_that_it_interrupts() -> None:
    """It comes where the wait has looked for the last time, but has not parked yet. A profiler makes room for that."""
    assert (
        run_script(
            """
        import os, signal, sys, threading, time
        lock = threading.Lock()
        lock.acquire()

        def on_signal(signum, frame):
            lock.release()
            time.sleep(0.01)

        def profile(frame, event, argument):
            if event == "c_call" and argument.__name__ == "switch" and threading.current_thread() is thread:
                sys.setprofile(None)
                os.kill(os.getpid(), signal.SIGUSR1)

        def work():
            sys.setprofile(profile)
            lock.acquire()

        signal.signal(signal.SIGUSR1, on_signal)
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(5)
        print(thread.is_alive())
        """
        )
        == "False\n"
    )
