from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from greenserve import Timeout, spawn
from greenserve.net import execute, resolver, set_num_threads
from tests.net.worlds import outcome
from tests.sync.threads import until


@pytest.mark.parametrize(
    ("host", "numeric"),
    [
        ("127.0.0.1", True),
        ("0.0.0.0", True),
        ("255.255.255.255", True),
        ("::1", True),
        ("::", True),
        ("::ffff:192.0.2.1", True),
        ("fe80::1%eth0", True),
        ("fe80::1%2", True),
        ("localhost", False),
        ("127.1", False),
        ("127.0.0.256", False),
        ("0x7f.0.0.1", False),
        (":", False),
        ("[::1]", False),
        ("1:2:3", False),
        ("", False),
        ("127.0.0.1\0", False),
        ("grün.example", False),
        ("%", False),
    ],
)
def test_a_host_is_numeric_if_it_is_an_address(host: str, numeric: bool) -> None:
    assert resolver.is_numeric(host) is numeric


CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("getaddrinfo", ("localhost", 80)),
    ("getaddrinfo", ("localhost", "http", socket.AF_INET, socket.SOCK_STREAM)),
    ("getaddrinfo", ("127.0.0.1", 80)),
    ("getaddrinfo", ("127.0.0.1", "80", 0, socket.SOCK_DGRAM)),
    ("getaddrinfo", ("::1", None, 0, 0, socket.IPPROTO_TCP)),
    ("getaddrinfo", (None, 80, 0, 0, 0, socket.AI_PASSIVE)),
    ("getaddrinfo", (b"localhost", b"80", socket.AF_INET)),
    ("getaddrinfo", ("::1", 80, socket.AF_INET)),
    ("getaddrinfo", ("no such name.invalid", 80)),
    ("getaddrinfo", ("127.0.0.1", "no such service")),
    ("getaddrinfo", (None, None)),
    ("getaddrinfo", (5, 80)),
    ("gethostbyname", ("localhost",)),
    ("gethostbyname", ("127.0.0.1",)),
    ("gethostbyname", ("::1",)),
    ("gethostbyname", ("no such name.invalid",)),
    ("gethostbyname_ex", ("localhost",)),
    ("gethostbyaddr", ("127.0.0.1",)),
    ("getnameinfo", (("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)),
    ("getnameinfo", (("127.0.0.1", 80), 0)),
    ("getnameinfo", (("::1", 80, 0, 0), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)),
    ("getnameinfo", (("127.0.0.1",), 0)),
]


@pytest.mark.parametrize(("name", "args"), CALLS)
def test_an_answer_is_that_of_the_standard_library(name: str, args: tuple[Any, ...]) -> None:
    assert outcome(getattr(resolver, name), *args) == outcome(getattr(socket, name), *args)


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_UNIX, "/path"),
        (socket.AF_UNIX, b"\0abstract"),
        (socket.AF_INET, ("127.0.0.1", 80)),
        (socket.AF_INET, ("", 80)),
        (socket.AF_INET, ("<broadcast>", 80)),
        (socket.AF_INET6, ("fe80::1%lo", 80, 0, 0)),
        (socket.AF_INET, "no tuple"),
        (socket.AF_INET, ()),
        (socket.AF_INET, (5, 80)),
        (socket.AF_INET, None),
    ],
)
def test_an_address_without_a_name_stays_as_it_is(family: int, address: Any) -> None:
    assert resolver.resolve_address(family, address) is address


def test_a_name_in_an_address_becomes_a_number_and_the_rest_stays() -> None:
    assert resolver.resolve_address(socket.AF_INET, ("localhost", 80)) == ("127.0.0.1", 80)
    assert resolver.resolve_address(socket.AF_INET, (b"localhost", 80)) == ("127.0.0.1", 80)
    assert resolver.resolve_address(socket.AF_INET, ("localhost", "no port", 3)) == ("127.0.0.1", "no port", 3)


@pytest.fixture
def busy_pool() -> Any:
    """A pool whose only thread is taken, so that nothing is looked up until it is let go."""
    set_num_threads(1)
    held, free = threading.Event(), threading.Event()
    holder = spawn(execute, lambda: (held.set(), free.wait(10)))
    until(held.is_set)
    yield free
    free.set()
    holder.wait()
    set_num_threads(20)


def test_what_needs_no_lookup_needs_no_thread(busy_pool: threading.Event) -> None:
    with Timeout(5):
        assert resolver.getaddrinfo("127.0.0.1", 80)[0][4] == ("127.0.0.1", 80)
        assert resolver.getaddrinfo("::1", "443", type=socket.SOCK_STREAM)[0][4][:2] == ("::1", 443)
        assert resolver.getaddrinfo(None, 80, socket.AF_INET)[0][4] == ("127.0.0.1", 80)
        assert resolver.gethostbyname("192.0.2.1") == "192.0.2.1"
        assert resolver.getnameinfo(("192.0.2.1", 80), resolver._NUMERIC_ANSWER) == ("192.0.2.1", "80")


def test_a_lookup_lets_others_run_and_can_be_abandoned(busy_pool: threading.Event) -> None:
    lookups = [spawn(resolver.gethostbyname, "localhost") for _ in range(3)]
    with pytest.raises(Timeout), Timeout(0.001):
        resolver.gethostbyname("localhost")
    assert not any(lookup.ended for lookup in lookups)
    busy_pool.set()
    assert [lookup.wait() for lookup in lookups] == ["127.0.0.1"] * 3
