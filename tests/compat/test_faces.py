"""Those of eventlet's modules that need more than themselves: TLS, WebSockets, asyncio, ZeroMQ, databases, consoles."""

from __future__ import annotations

import pickle
import sqlite3
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from greenlet import GreenletExit

from greenserve import websocket as native_websocket
from greenserve.compat.eventlet import _face as eventlet
from greenserve.compat.eventlet._face import (
    backdoor,
    db_pool,
    debug,
    hubs,
    queue,
    tpool,
    websocket,
    wsgi,
)
from greenserve.compat.eventlet._face.support import greendns
from tests.compat.peers import run_under_greenserve


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    return str(tmp_path / "own.pem"), str(tmp_path / "authority.pem")


def test_wrap_ssl_takes_what_ssl_wrap_socket_took(certificate: tuple[str, str]) -> None:
    own, authority = certificate
    listener = eventlet.wrap_ssl(eventlet.listen(("127.0.0.1", 0)), certfile=own, keyfile=own, server_side=True)

    def echo() -> None:
        for _ in range(2):
            conn, _ = listener.accept()
            conn.sendall(conn.recv(10))
            conn.close()

    server = eventlet.spawn(echo)
    context = ssl.create_default_context(cafile=authority)
    for keywords in ({}, {"ssl_context": context, "server_hostname": "localhost"}):  # everybody is believed; or nobody
        with eventlet.wrap_ssl(eventlet.connect(listener.getsockname()), **keywords) as client:
            client.sendall(b"secret")
            assert client.recv(10) == b"secret"
    server.wait()
    listener.close()


@pytest.fixture
def chat() -> Iterator[str]:
    """The URL of a server whose handler answers in capitals, until it is told to leave."""

    @websocket.WebSocketWSGI.configured(supported_protocols=["chat"], origin_checker=lambda origin: origin != "evil")
    def handler(ws: Any) -> None:
        while (message := ws.wait()) is not None:
            if message == "leave":
                ws.close((1001, "as told"))
                return
            ws.send(message.upper())

    listener = eventlet.listen(("127.0.0.1", 0))
    server = eventlet.spawn(wsgi.server, listener, handler, log_output=False)
    yield f"ws://127.0.0.1:{listener.getsockname()[1]}/"
    server.kill()
    with pytest.raises(GreenletExit):
        server.wait()


def test_a_websocket_handler_gets_messages_and_says_how_it_closes(chat: str) -> None:
    with native_websocket.connect(chat, subprotocols=["chat"]) as ws:
        ws.send("text")
        ws.send(b"bytes")
        assert (ws.receive(5), ws.receive(5), ws.protocol) == ("TEXT", b"BYTES", "chat")
        ws.send("leave")
        assert ws.wait() is None
        assert (ws.close_code, ws.close_reason) == (1001, "as told")


def test_an_origin_is_checked(chat: str) -> None:
    with pytest.raises(native_websocket.HandshakeError):
        native_websocket.connect(chat, origin="evil")


def test_the_drafts_of_the_protocol_are_refused() -> None:
    with pytest.raises(ValueError, match="75 and 76"):
        websocket.WebSocketWSGI.configured(print, support_legacy_versions=True)


def test_a_coroutine_is_a_green_thread_that_can_be_killed_and_a_green_thread_can_be_awaited() -> None:
    script = """
    import asyncio, eventlet
    from eventlet.asyncio import spawn_for_awaitable

    async def double(number):
        await asyncio.sleep(0)
        return number * 2

    async def ask():
        return await eventlet.spawn(lambda: 21)

    print(spawn_for_awaitable(double(4)).wait(), spawn_for_awaitable(ask()).wait())
    began = eventlet.Event()

    async def wait():
        try:
            began.send()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("cancelled")
            raise

    thread = spawn_for_awaitable(wait())
    began.wait()
    thread.kill()
    spawn_for_awaitable(asyncio.sleep(0)).wait()
    """
    assert run_under_greenserve(script) == "8 21\ncancelled\n"


def test_a_negative_time_to_wait_for_a_queue_has_run_out() -> None:
    items = queue.Queue(1)
    with pytest.raises(queue.Empty):
        items.get(timeout=-1)
    items.put(1)
    with pytest.raises(queue.Full):
        items.put(2, timeout=-1)


def test_connections_come_from_a_pool(tmp_path: Path) -> None:
    pool = db_pool.ConnectionPool(
        sqlite3, 0, 2, 10, 30, 5, db_pool.cleanup_rollback, str(tmp_path / "a.db"), check_same_thread=False
    )
    with pool.item() as connection:
        assert connection.cursor().execute("select 1").fetchall() == [(1,)]
    assert (pool.free(), pool.max_size) == (2, 2)
    pool.clear()


def test_a_console_answers_on_a_socket() -> None:
    listener = eventlet.listen(("127.0.0.1", 0))
    server = eventlet.spawn(backdoor.backdoor_server, listener, {"answer": 42})
    with eventlet.connect(listener.getsockname()) as client:
        client.sendall(b"print(answer + 1)\nexit()\n")
        said = b""
        while block := client.recv(1000):
            said += block
    assert b"43" in said
    listener.close()
    server.wait()


def test_names_are_looked_up_without_dnspython() -> None:
    assert greendns.gethostbyname("127.0.0.1") == "127.0.0.1"
    assert greendns.getaddrinfo("127.0.0.1", 80)[0][4] == ("127.0.0.1", 80)
    assert (greendns.is_ipv4_addr("1.2.3.4"), greendns.is_ipv4_addr("::1"), greendns.is_ipv6_addr(b"::1%lo")) == (
        True,
        False,
        True,
    )


def test_zeromq_waits_in_the_hub() -> None:
    pytest.importorskip("zmq")
    script = """
    import eventlet
    from eventlet.green import zmq
    context = zmq.Context()
    one, two = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    two.connect(f"tcp://127.0.0.1:{one.bind_to_random_port('tcp://127.0.0.1')}")
    def echo():
        for _ in range(100):
            one.send_multipart([part.upper() for part in one.recv_multipart()])
    server = eventlet.spawn(echo)
    answers = []
    for number in range(100):
        two.send_multipart([b"part", b"%d" % number])
        answers.append(two.recv_multipart())
    server.wait()
    print(answers == [[b"PART", b"%d" % number] for number in range(100)])
    two.setsockopt(zmq.RCVTIMEO, 10)
    try:
        two.recv()
    except zmq.Again as exc:
        print(eventlet.is_timeout(exc))
    waiting = eventlet.spawn(one.recv)
    eventlet.sleep(0)
    waiting.kill()
    for each in (one, two):
        each.close(linger=0)
    context.term()
    """
    assert run_under_greenserve(script) == "True\nTrue\n"


@pytest.mark.parametrize(("size", "raised"), [("-1", "AssertionError"), ("x", "ValueError")])
def test_a_size_of_the_thread_pool_that_makes_no_sense_is_refused(size: str, raised: str) -> None:
    script = """
    try:
        from eventlet import tpool
        tpool.execute(len, "")
    except (AssertionError, ValueError) as exc:
        print(type(exc).__name__)
    """
    assert run_under_greenserve(script, EVENTLET_THREADPOOL_SIZE=size) == f"{raised}\n"


def test_the_size_of_the_thread_pool_is_eventlets_variable() -> None:
    script = """
    import threading, warnings
    from eventlet import tpool
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        print(tpool.execute(threading.get_ident) == threading.get_ident(), [str(each.category) for each in caught])
    """
    printed = "True [\"<class 'RuntimeWarning'>\"]\n"
    assert run_under_greenserve(script, EVENTLET_THREADPOOL_SIZE="0") == printed


@pytest.mark.parametrize("hub", ["poll", "selects", "eventlet.hubs.poll", "eventlet.hubs.selects:Hub", "asyncio"])
def test_a_hub_is_chosen_by_its_name(hub: str) -> None:
    script = """
    import os
    from eventlet import hubs
    hubs.use_hub(os.environ["WANTED"])
    import eventlet
    print(type(hubs.get_hub()).__module__, eventlet.spawn(lambda: 1).wait())
    """
    module = f"eventlet.hubs.{hub.removeprefix('eventlet.hubs.').partition(':')[0]}"
    assert run_under_greenserve(script, WANTED=hub) == f"{module} 1\n"


def test_a_hub_is_chosen_by_eventlets_variable() -> None:
    script = (
        "from eventlet import hubs; print(type(hubs.get_hub()).__module__, hubs.get_hub().core.poller.backend.name)"
    )
    assert run_under_greenserve(script, EVENTLET_HUB="selects") == "eventlet.hubs.selects select\n"


@pytest.mark.parametrize(
    ("wanted", "error"), [(" ", RuntimeError), ("nothing", ImportError), ("kqueue", hubs.HubError)]
)
def test_a_hub_that_is_not_there_is_refused(wanted: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        hubs.use_hub(wanted)


def test_whoever_waits_on_an_fd_that_was_given_out_anew_is_told() -> None:
    closed: list[bool] = []
    listener = eventlet.listen(("127.0.0.1", 0))

    def wait() -> None:
        hubs.trampoline(listener, read=True, mark_as_closed=lambda: closed.append(True))

    debug.hub_exceptions(False)
    thread = eventlet.spawn(wait)
    eventlet.sleep(0)
    hubs.notify_opened(listener.fileno())
    with pytest.raises(hubs.IOClosed):
        thread.wait()
    debug.hub_exceptions(True)
    assert closed == [True]
    listener.close()


def test_calls_in_native_threads_may_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    debug.tpool_exceptions(True)
    try:
        with pytest.raises(ZeroDivisionError):
            tpool.execute(divmod, 1, 0)
    finally:
        debug.tpool_exceptions(False)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_what_is_pickled_under_eventlets_names_is_found_by_them() -> None:
    script = """
    import pickle, eventlet, eventlet.dagpool
    error = pickle.loads(pickle.dumps(eventlet.Timeout(None)))
    print(type(error) is eventlet.Timeout, type(error).__module__)
    """
    assert run_under_greenserve(script) == "True eventlet.timeout\n"
    assert isinstance(pickle.loads(pickle.dumps(eventlet.Timeout(None))), eventlet.Timeout)
