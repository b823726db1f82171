"""Threads under the patch: who they are, how they end, and that nothing of them stays."""

from __future__ import annotations

import pytest

from tests.patched.running import run_script


def test_a_thread_is_itself_and_nobody_else() -> None:
    assert (
        run_script(
            """
        import threading, time
        own = threading.local()
        seen = set()

        def work(number):
            own.number = number
            time.sleep(0.01)
            assert own.number == number
            assert threading.current_thread().ident == threading.get_ident()
            seen.add(threading.get_ident())

        threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(len(seen), hasattr(own, "number"), threading.enumerate() == [threading.main_thread()])
        print(threading.main_thread().ident == threading.get_ident())
        """
        )
        == "20 False True\nTrue\n"
    )


def test_many_may_join_one_thread_and_the_main_one_too() -> None:
    """Whoever has been let in lets the next one in, and takes the thread for ended, which must be true by then."""
    assert (
        run_script(
            """
        import threading, time
        from greenserve import execute
        native = monkey.original("threading")
        ended = []

        def join(thread):
            thread.join()
            ended.append(thread.is_alive())

        slow = threading.Thread(target=time.sleep, args=(0.1,))
        slow.start()
        joining = [threading.Thread(target=join, args=(slow,)) for _ in range(5)]
        outside = [native.Thread(target=join, args=(slow,)) for _ in range(3)]
        for thread in joining + outside:
            thread.start()
        slow.join()
        for thread in joining:
            thread.join()
        for thread in outside:
            execute(thread.join)
        print(ended == [False] * 8)
        for _ in range(3):
            threading.Thread(target=threading.main_thread().join).start()
        """
        )
        == "True\n"
    )


def test_a_join_that_is_interrupted_leaves_its_thread_alive() -> None:
    assert (
        run_script(
            """
        import threading, time
        import greenserve
        go_on = threading.Event()
        thread = threading.Thread(target=go_on.wait)
        thread.start()
        with greenserve.Timeout(0.01, False):
            thread.join()
        print(thread.is_alive())
        go_on.set()
        thread.join()
        print(thread.is_alive())
        """
        )
        == "True\nFalse\n"
    )


def test_a_green_threads_stand_in_goes_with_it() -> None:
    assert (
        run_script(
            """
        import gc, threading, greenserve
        names = []
        for _ in range(50):
            greenserve.spawn(lambda: names.append(threading.current_thread().name)).wait()
        gc.collect()
        print(len(set(names)), threading.active_count())
        """
        )
        == "50 1\n"
    )


def test_at_exit_threads_are_waited_for_and_daemons_are_not() -> None:
    assert (
        run_script(
            """
        import threading, time
        threading.Thread(target=lambda: (time.sleep(0.1), print("waited for"))).start()
        threading.Thread(target=lambda: (time.sleep(5), print("not waited for")), daemon=True).start()
        """
        )
        == "waited for\n"
    )


def test_what_a_thread_raises_goes_where_the_standard_library_sends_it() -> None:
    assert (
        run_script(
            """
        import _thread, sys, threading, time
        def report(args):
            if args.exc_type is not SystemExit:
                print("thread", args.exc_type.__name__, args.thread.name)

        threading.excepthook = report
        sys.unraisablehook = lambda args: print("bare", args.exc_type.__name__, args.err_msg.partition(" <")[0])
        thread = threading.Thread(target=lambda: 1 / 0, name="it")
        thread.start()
        thread.join()
        threading.Thread(target=sys.exit).start()
        _thread.start_new_thread(lambda: 1 / 0, ())
        _thread.start_new_thread(_thread.exit, ())
        while _thread._count():
            time.sleep(0)
        print(_thread._count())
        """
        )
        == "thread ZeroDivisionError it\nbare ZeroDivisionError Exception ignored in thread started by\n0\n"
    )


def test_locks_and_queues_work_between_green_and_native_threads() -> None:
    assert (
        run_script(
            """
        import queue, threading
        native = monkey.original("threading")
        lock, there, back = threading.Lock(), queue.Queue(3), queue.SimpleQueue()
        count = [0]

        def add():
            for _ in range(300):
                with lock:
                    count[0] += 1
                back.put(there.get() + 1)

        threads = [kind.Thread(target=add) for kind in (native, threading) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(1800):
            there.put(number)
        print(sum(back.get() for _ in range(1800)) == sum(range(1801)))
        for thread in threads:
            thread.join()
        print(count)
        """
        )
        == "True\n[1800]\n"
    )


@pytest.mark.parametrize(
    ("setup", "again"),
    [
        ("lock = threading.Lock()", "with lock: pass"),
        ("loop = mock.Mock()", "loop.selector.select()"),
    ],
)
def test_whoever_takes_a_free_lock_or_asks_a_mock_again_and_again_lets_others_run(setup: str, again: str) -> None:
    assert (
        run_script(
            f"""
        import threading
        from unittest import mock
        ran = threading.Event()
        {setup}
        threading.Thread(target=ran.set).start()
        while not ran.is_set():
            {again}
        print("ran")
        """
        )
        == "ran\n"
    )


def test_locks_and_stand_ins_pass_for_those_of_the_standard_library() -> None:
    assert run_script(
        """
        import io, pickle, signal, threading, warnings
        import greenserve
        try:
            type("Mine", (type(threading.Lock()),), {})
        except TypeError as exc:
            print(exc)
        warnings.simplefilter("ignore")
        with threading.RLock(1):
            print(greenserve.spawn(lambda: repr(threading.current_thread()).partition("(")[0]).wait())
        print(pickle.loads(pickle.dumps(signal.signal)) is signal.signal)
        print(type("Mine", (), {"open": io.open})().open.__module__)
        """
    ).splitlines() == [
        "type '_thread.lock' is not an acceptable base type: let your class have a lock",
        "<_DummyThread",
        "True",
        "io",
    ]
