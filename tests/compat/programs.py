"""Small programs for eventlet. Each prints the same under eventlet itself and under greenserve's face of it.

Run as a script, with names on standard input, it prints what each of those programs prints, as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import textwrap

from tests.compat.programs_with_sockets import WITH_SOCKETS

__all__ = ["ALONE", "PROGRAMS"]

# Those that patch the process they run in.
ALONE = (
    "the keywords of monkey_patch",
    "patched, everything waits side by side",
    "patched, a green thread looks like a thread",
)

PROGRAMS: dict[str, str] = {
    "what is spawned runs in order, after the spawner has let go": """
        import eventlet
        seen = []
        eventlet.spawn(seen.append, 1)
        eventlet.spawn_n(seen.append, 2)
        eventlet.spawn_after(0, seen.append, 3)
        seen.append(0)
        eventlet.sleep(0)
        print(seen)
        """,
    "wait gives the result, or raises": """
        import eventlet
        print(eventlet.spawn(lambda a, b=1: (a, b), 5, b=6).wait())
        eventlet.debug = __import__("eventlet.debug").debug
        eventlet.debug.hub_exceptions(False)
        def fail():
            raise ValueError("why")
        try:
            eventlet.spawn(fail).wait()
        except ValueError as exc:
            print(repr(exc))
        """,
    "links are called with the green thread, and can be taken back": """
        import eventlet
        seen = []
        def note(thread, *args, **kwargs):
            seen.append((thread.wait(), args, kwargs))
        thread = eventlet.spawn(lambda: 7)
        thread.link(note, 1, a=2)
        thread.link(note, 3)
        print(thread.unlink(note, 3), thread.unlink(note, 4))
        thread.wait()
        thread.link(note, "late")
        print(seen)
        """,
    "kill before the start, and in the middle": """
        import eventlet, greenlet
        seen = []
        def work():
            seen.append("began")
            try:
                eventlet.sleep(10)
            except BaseException as exc:
                seen.append(type(exc).__name__)
                raise
        eventlet.debug = __import__("eventlet.debug").debug
        eventlet.debug.hub_exceptions(False)
        first = eventlet.spawn(work)
        first.kill()
        second = eventlet.spawn(work)
        eventlet.sleep(0)
        second.kill(KeyError("k"))
        for thread in (first, second):
            try:
                print(thread.wait())
            except BaseException as exc:
                print(repr(exc), thread.dead)
        third = eventlet.spawn_after(10, work)
        third.cancel()
        print(seen, third.dead)
        """,
    "a local timer ends with its green thread": """
        import eventlet
        from eventlet import greenthread, hubs
        seen = []
        def make():
            greenthread.spawn_after_local(0.01, seen.append, "local")
            hubs.get_hub().schedule_call_local(0.01, seen.append, "timer")
            hubs.get_hub().schedule_call_global(0.01, seen.append, "global")
        eventlet.spawn(make)
        eventlet.sleep(0.05)
        print(seen)
        """,
    "timers run once, in order, and can be cancelled and copied": """
        import eventlet
        from eventlet import hubs
        hub = hubs.get_hub()
        seen = []
        hub.schedule_call_global(0.02, seen.append, 3)
        hub.schedule_call_global(0.01, seen.append, 1)
        timer = hub.schedule_call_global(0.01, seen.append, 2)
        gone = hub.schedule_call_global(0.01, seen.append, "never")
        print(timer.pending, gone.pending, timer.called)
        copy = timer.copy()
        gone.cancel()
        eventlet.sleep(0.05)
        print(seen, timer.pending, gone.pending, timer.called, copy.pending)
        copy.schedule()
        eventlet.sleep(0.03)
        print(seen)
        """,
    "an event is sent once": """
        import eventlet
        event = eventlet.Event()
        print(event.ready(), event.poll("no"), event.wait(timeout=0.01))
        threads = [eventlet.spawn(event.wait) for _ in range(3)]
        eventlet.spawn_n(event.send, "yes")
        print([thread.wait() for thread in threads], event.has_result(), event.has_exception(), event.poll_result())
        try:
            event.send("again")
        except AssertionError:
            print("asserts")
        event.reset()
        try:
            event.reset()
        except AssertionError:
            print("asserts too")
        event.send_exception(ValueError, ValueError("why"))
        print(event.has_exception(), event.poll_result("none"))
        try:
            event.wait()
        except ValueError as exc:
            print(repr(exc))
        """,
    "a timeout raises itself, or what it was told to, or nothing": """
        import eventlet
        timeout = eventlet.Timeout(0.01)
        try:
            eventlet.sleep(1)
        except eventlet.Timeout as exc:
            print(exc is timeout, str(exc), exc.pending, isinstance(exc, Exception))
        try:
            with eventlet.Timeout(0.01, ValueError("why")):
                eventlet.sleep(1)
        except ValueError as exc:
            print(repr(exc))
        with eventlet.Timeout(0.01, False) as quiet:
            eventlet.sleep(1)
        print(str(quiet), eventlet.with_timeout(0.01, eventlet.sleep, 1, timeout_value="late"))
        print(str(eventlet.Timeout(None)), eventlet.is_timeout(timeout), eventlet.is_timeout(TimeoutError()))
        again = eventlet.Timeout(5)
        try:
            again.start()
        except AssertionError:
            print("is already started")
        again.cancel()
        print(again.pending)
        """,
    "semaphores": """
        import eventlet
        semaphore = eventlet.Semaphore(2)
        print(semaphore.counter, semaphore.balance, semaphore.acquire(), semaphore.acquire(), semaphore.locked())
        print(semaphore.acquire(blocking=False), semaphore.acquire(timeout=0.01))
        waiter = eventlet.spawn(semaphore.acquire)
        eventlet.sleep(0)
        print(semaphore.balance, semaphore.release())
        print(waiter.wait(), semaphore.counter)
        for value in (-1, "x"):
            try:
                eventlet.Semaphore(value)
            except (TypeError, ValueError) as exc:
                print(type(exc).__name__)
        bounded = eventlet.BoundedSemaphore(1)
        try:
            bounded.release()
        except ValueError:
            print("too many")
        capped = eventlet.CappedSemaphore(1, 2)
        print(capped.balance, capped.acquire(), capped.balance, capped.locked(), capped.bounded())
        """,
    "a queue with room, without, and as a channel": """
        import eventlet
        from eventlet import queue
        items = eventlet.Queue(2)
        items.put(1); items.put(2)
        try:
            items.put(3, timeout=0.01)
        except queue.Full:
            print("full", items.full(), items.qsize(), list(items.queue))
        print(items.get(), items.get_nowait(), items.unfinished_tasks)
        try:
            items.get(block=False)
        except queue.Empty:
            print("empty", items.empty())
        items.task_done(); items.task_done(); items.join()
        channel = eventlet.Queue(0)
        seen = []
        def take():
            for _ in range(2):
                seen.append(channel.get())
        eventlet.spawn(take)
        seen.append("sending"); channel.put("a"); seen.append("sent"); channel.put("b"); seen.append("sent")
        print(seen, channel.full(), channel.empty())
        getters = [eventlet.spawn(channel.get) for _ in range(2)]
        eventlet.sleep(0)
        print(channel.getting(), channel.putting())
        channel.put(1); channel.put(2)
        print(sorted(getter.wait() for getter in getters))
        """,
    "priority and last-in queues, and one with a container of its own": """
        from eventlet import queue
        small, last = queue.PriorityQueue(), queue.LifoQueue()
        for item in (3, 1, 2):
            small.put(item); last.put(item)
        print([small.get() for _ in range(3)], [last.get() for _ in range(3)])
        class Unique(queue.LightQueue):
            def _init(self, maxsize):
                self.queue = set()
            def _put(self, item):
                self.queue.add(item)
            def _get(self):
                return self.queue.pop()
        unique = Unique()
        unique.put("a")
        print(unique.get(), unique.qsize())
        """,
    "pools bound what runs at once": """
        import eventlet
        pool = eventlet.GreenPool(2)
        running, most = [0], [0]
        def work(n):
            running[0] += 1
            most[0] = max(most[0], running[0])
            eventlet.sleep(0.001)
            running[0] -= 1
            return n * n
        print(list(pool.imap(work, range(6))), list(pool.starmap(work, [(2,), (3,)])), most)
        for n in range(4):
            pool.spawn_n(work, n)
        print(pool.running(), pool.free(), pool.waiting(), pool.size)
        pool.waitall()
        print(pool.running(), pool.free())
        pool.resize(5)
        print(pool.free())
        pile = eventlet.GreenPile(pool)
        for n in range(4):
            pile.spawn(work, n)
        print(list(pile))
        def inside():
            return pool.spawn(lambda: "inner").wait()
        small = eventlet.GreenPool(1)
        pool = small
        print(small.spawn(inside).wait())
        def forbidden():
            try:
                small.waitall()
            except AssertionError:
                return "asserts"
        print(small.spawn(forbidden).wait())
        """,
    "a result that was an exception comes in its place": """
        import eventlet
        eventlet.debug = __import__("eventlet.debug").debug
        eventlet.debug.hub_exceptions(False)
        def work(n):
            if n == 1:
                raise KeyError(n)
            return n
        results = eventlet.GreenPool().imap(work, range(3))
        seen = []
        while True:
            try:
                seen.append(next(results))
            except StopIteration:
                break
            except KeyError as exc:
                seen.append(repr(exc))
        print(seen)
        """,
    "pools of things": """
        import eventlet
        from eventlet import pools
        made = iter(range(10))
        pool = pools.Pool(min_size=1, max_size=2, create=lambda: next(made))
        first, second = pool.get(), pool.get()
        print(first, second, pool.free(), pool.waiting(), pool.current_size)
        waiter = eventlet.spawn(pool.get)
        eventlet.sleep(0)
        print(pool.waiting())
        pool.put(second)
        print(waiter.wait())
        with pools.TokenPool(max_size=1).item() as token:
            print(type(token).__name__)
        """,
    "native threads": """
        import eventlet, threading
        from eventlet import tpool
        here = threading.get_ident()
        print(tpool.execute(threading.get_ident) != here, tpool.execute(lambda a, b: a + b, 1, b=2))
        def fail():
            raise ValueError("why")
        try:
            tpool.execute(fail)
        except ValueError as exc:
            print(repr(exc))
        proxy = tpool.Proxy([3, 1, 2])
        proxy.sort()
        print(proxy, len(proxy), proxy[0], list(proxy), proxy == [1, 2, 3], bool(proxy))
        print(proxy.index(2, nonblocking=True))
        class Inner:
            pass
        class Outer:
            inner = Inner()
            def make(self):
                return Inner()
        print(type(tpool.Proxy(Outer(), autowrap=(Inner,)).make()).__name__)
        print(type(tpool.Proxy(Outer(), autowrap_names=("inner",)).inner).__name__)
        tpool.set_num_threads(3)
        tpool.killall()
        """,
    "each green thread has its own": """
        import eventlet
        from eventlet import corolocal
        class Local(corolocal.local):
            def __init__(self, start):
                self.seen = [start]
        local = Local("a")
        local.seen.append(1)
        print(local.seen, eventlet.spawn(lambda: local.seen).wait(), eventlet.spawn(corolocal.get_ident).wait() > 0)
        """,
    "the keywords of monkey_patch": """
        import eventlet
        from eventlet import patcher
        eventlet.monkey_patch(socket=True, select=True)
        print([name for name in ("os", "select", "socket", "thread", "time") if patcher.is_monkey_patched(name)])
        import socket, time
        print(patcher.is_monkey_patched(socket), patcher.is_monkey_patched(time), sorted(patcher.already_patched))
        eventlet.monkey_patch(time=True)
        print(patcher.original("time").sleep is time.sleep, patcher.is_monkey_patched("time"))
        try:
            eventlet.monkey_patch(sockets=True)
        except TypeError as exc:
            print(exc)
        """,
    "patched, everything waits side by side": """
        import eventlet
        eventlet.monkey_patch()
        import queue, socket, subprocess, sys, threading, time
        began = time.monotonic()
        threads = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(time.monotonic() - began < 1)
        items = queue.Queue()
        threading.Thread(target=items.put, args=("item",)).start()
        print(items.get(timeout=5))
        print(subprocess.check_output([sys.executable, "-c", "print('child')"]))
        one, two = socket.socketpair()
        threading.Thread(target=two.sendall, args=(b"bytes",)).start()
        print(one.recv(10), "GreenSocket" in repr(socket.socket))
        """,
    "green modules work unpatched": """
        import eventlet
        from eventlet.green import os, select, socket, subprocess, threading, time, urllib
        from eventlet.green.urllib import request
        import eventlet.green.http.client as client
        import socket as native
        seen = []
        eventlet.spawn(seen.append, "other")
        time.sleep(0.01)
        print(seen, socket.socket is not native.socket, request.urlparse("a:b").scheme)
        event = threading.Event()
        threading.Thread(target=event.set).start()
        print(event.wait(5), client.HTTPConnection.__name__)
        read, write = os.pipe()
        eventlet.spawn_after(0.01, os.write, write, b"x")
        print(select.select([read], [], [], 5)[0] == [read], os.read(read, 1))
        import subprocess as stdlib
        try:
            subprocess.check_call(["false"])
        except stdlib.CalledProcessError as exc:
            print(exc.returncode)
        """,
    "a module can be imported with green ones": """
        import eventlet, socket, sys
        ftplib = eventlet.import_patched("ftplib")
        print(ftplib.socket is not socket, sys.modules["socket"] is socket, "GreenSocket" in repr(ftplib.socket.socket))
        from eventlet import patcher
        names = {}
        patcher.inject("quopri", names)
        print("encode" in names, "__name__" in names)
        patcher.slurp_properties(socket, names, srckeys=["AF_INET", "__doc__"])
        print("AF_INET" in names, "__doc__" in names)
        """,
    "old names warn, and work": """
        import eventlet, warnings
        from eventlet import greenthread
        seen = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            eventlet.call_after_global(0, seen.append, 1)
            greenthread.call_after_local(0, seen.append, 2)
            timer = eventlet.exc_after(0.01, KeyError("late"))
            try:
                eventlet.sleep(1)
            except KeyError as exc:
                seen.append(repr(exc))
            print(issubclass(eventlet.TimeoutError, eventlet.Timeout))
        print(seen, {warning.category.__name__ for warning in caught})
        """,
    "work that depends on other work": """
        from eventlet.dagpool import DAGPool, Collision, PropagateError
        pool = DAGPool({"a": 1})
        def add(key, results, own):
            return own + sum(value for _, value in results)
        pool.spawn("c", ("a", "b"), add, 10)
        pool.spawn("b", ("a",), add, 100)
        print(pool.waiting_for("c"), sorted(pool.wait().items()), sorted(pool.keys()), pool.running())
        try:
            pool.post("a", 2)
        except Collision:
            print("collision")
        def fail(key, results):
            raise ValueError("why")
        pool.spawn("d", (), fail)
        try:
            pool["d"]
        except PropagateError as exc:
            print(exc.key, repr(exc.exc))
        """,
    "the hub can be asked and told": """
        import eventlet
        from eventlet import debug, hubs
        hub = hubs.get_hub()
        print(hub is hubs.get_hub(), hub.greenlet is eventlet.getcurrent(), hub.clock() > 0)
        print(debug.format_hub_listeners().split()[0], debug.format_hub_timers().split()[0])
        main = eventlet.getcurrent()
        hub.schedule_call_global(0, main.switch, "value")
        print(hub.switch())
        print(hub.get_timers_count() >= 0, hub.running)
        eventlet.sleep(0)
        print(hub.running, [name for name in ("epolls", "poll", "selects") if name in hubs.builtin_hub_names])
        """,
    "blocking is noticed when that is asked for": """
        import eventlet, time
        from eventlet import debug
        debug.hub_blocking_detection(True, resolution=0.1)
        debug.hub_exceptions(False)
        try:
            eventlet.spawn(time.sleep, 2).wait()
        except RuntimeError as exc:
            print(str(exc)[:25])
        debug.hub_blocking_detection(False)
        """,
    "exceptions that nobody waits for are printed, and end nobody else": """
        import contextlib, io, eventlet
        from eventlet import debug
        def fail():
            raise ValueError("lonely")
        for wanted in (True, False):
            debug.hub_exceptions(wanted)
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                eventlet.spawn(fail); eventlet.spawn_n(fail)
                eventlet.hubs.get_hub().schedule_call_global(0, fail)
                eventlet.sleep(0.01)
            print(errors.getvalue().count("ValueError: lonely"))
        """,
    "SystemExit ends the program": """
        import eventlet, sys
        def leave():
            sys.exit(0)
        eventlet.spawn_after(0.01, leave)
        try:
            eventlet.sleep(10)
        except SystemExit as exc:
            print("exit", exc.code)
        """,
    "patched, a green thread looks like a thread": """
        import eventlet
        eventlet.monkey_patch()
        import threading
        seen = []
        def work():
            thread = threading.current_thread()
            seen.append(thread)
            print(thread.name, thread.ident == id(thread._g) == threading.get_ident(), thread.daemon, repr(thread)[:13])
            thread.name = "mine"
            print(thread.getName(), thread.get_name(), thread.isDaemon(), thread.is_daemon(), thread.isAlive())
            eventlet.sleep(0.01)
            print(threading.currentThread() is thread, thread.name)
            return 7
        eventlet.spawn(work)
        eventlet.sleep(0)
        print(seen[0].is_alive(), seen[0].join(), len(threading._active))
        """,
    "green threads can be profiled": """
        import eventlet
        from eventlet.green import profile
        def work(n):
            eventlet.sleep(0)
            return n
        def run():
            return [each.wait() for each in [eventlet.spawn(work, n) for n in range(3)]]
        found = profile.Profile()
        print(found.runcall(run))
        print(sorted((name, timing[0]) for (_, _, name), timing in found.timings.items() if name == "work"))
        """,
    "green modules raise what the others catch": """
        import eventlet
        from eventlet.green.http import client
        from eventlet.green.urllib import error, request
        print(request.HTTPError is error.HTTPError, request.URLError is error.URLError)
        try:
            request.urlopen("http://127.0.0.1:1")
        except error.URLError as exc:
            print(type(exc.reason).__name__)
        """,
    "pools count what they have made": """
        from unittest import mock
        from eventlet import db_pool
        pool = db_pool.RawConnectionPool(mock.Mock())
        pool.get().close()
        print(pool.current_size, len(pool.free_items), isinstance(pool, db_pool.BaseConnectionPool))
        pool.clear()
        print(pool.current_size, len(pool.free_items))
        """,
    **WITH_SOCKETS,
}


def main() -> None:
    printed = {}
    for name in json.load(sys.stdin):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(textwrap.dedent(PROGRAMS[name]), name, "exec"), {"__name__": "__main__"})
        printed[name] = output.getvalue().splitlines()
    json.dump(printed, sys.stdout)


if __name__ == "__main__":
    main()
