"""The patch is real: what blocks one thread lets the others run, in one native thread."""

from __future__ import annotations

import json

import pytest

from tests.patched.running import run_script

WAIT = 0.5

# How one thread waits for WAIT seconds, given what is set up before the clock starts.
WAYS = {
    "time.sleep": ("", "time.sleep(WAIT)"),
    "socket.recv": (
        "pairs = [socket.socketpair() for _ in range(20)]",
        "pairs[i][0].settimeout(WAIT); recv(pairs[i][0])",
    ),
    "Queue.get": ("queues = [queue.Queue() for _ in range(20)]", "get(queues[i])"),
    "SimpleQueue.get": ("queues = [queue.SimpleQueue() for _ in range(20)]", "get(queues[i])"),
    "Lock.acquire": ("lock = threading.Lock(); lock.acquire()", "lock.acquire(timeout=WAIT)"),
    "Event.wait": ("event = threading.Event()", "event.wait(WAIT)"),
    "Popen.wait": ("", "subprocess.Popen(['sleep', str(WAIT)]).wait()"),
    "Popen.wait with a timeout": ("", "subprocess.Popen(['sleep', str(WAIT)]).wait(30)"),
    "Popen.communicate": ("", "subprocess.run(['sleep', str(WAIT)], capture_output=True, check=True)"),
    "os.read": (
        "",
        "p = subprocess.Popen(['sleep', str(WAIT)], stdout=-1); os.read(p.stdout.fileno(), 1); p.communicate()",
    ),
    "os.system": ("", "os.system(f'sleep {WAIT}')"),
    "select": ("r, w = os.pipe()", "select.select([r], [], [], WAIT)"),
    "poll": ("r, w = os.pipe()", "p = select.poll(); p.register(r, 1); p.poll(WAIT * 1000)"),
    "epoll": ("r, w = os.pipe()", "e = select.epoll(); e.register(r, 1); e.poll(WAIT); e.close()"),
    "selectors": ("r, w = os.pipe()", "s = selectors.DefaultSelector(); s.register(r, 1); s.select(WAIT); s.close()"),
    "Thread.join": ("", "t = threading.Thread(target=time.sleep, args=(WAIT,)); t.start(); t.join()"),
    "concurrent.futures": ("", "list(pool.map(time.sleep, [WAIT]))"),
}

SCRIPT = """
import concurrent.futures, json, os, queue, select, selectors, socket, subprocess, threading, time
WAIT = {wait}

def recv(sock):
    try:
        sock.recv(1)
    except TimeoutError:
        pass

def get(items):
    try:
        items.get(timeout=WAIT)
    except queue.Empty:
        pass

began, ended = [], []

def one(i):
    began.append(time.monotonic())
    {body}
    ended.append(time.monotonic())

pool = concurrent.futures.ThreadPoolExecutor(20)
{setup}
threads = [threading.Thread(target=one, args=(i,)) for i in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps([began, ended, len(os.listdir("/proc/self/task"))]))
"""


@pytest.mark.parametrize("way", WAYS)
def test_twenty_threads_wait_together(way: str) -> None:
    setup, body = WAYS[way]
    began, ended, native = json.loads(run_script(SCRIPT.format(wait=WAIT, setup=setup, body=body)))
    assert len(began) == len(ended) == 20
    assert min(ended) - min(began) >= WAIT * 0.99
    assert max(began) < min(ended)  # the last one has begun before the first one is done
    # What has no way to wait in the hub does so in the thread pool.
    assert native == (21 if way == "os.system" else 1)
