from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

from greenserve.core import getcurrent, local, sleep, spawn
from tests.sync.threads import HubThread, OSThread, frequent_thread_switches


class Thing:
    pass


def test_each_greenlet_sees_its_own_attributes() -> None:
    mine = local()
    mine.name = "main"

    def use(name: str) -> tuple[bool, str]:
        had_it = hasattr(mine, "name")
        mine.name = name
        sleep(0)
        return had_it, mine.name

    threads = [spawn(use, name) for name in "ab"]
    assert [thread.wait() for thread in threads] == [(False, "a"), (False, "b")]
    assert mine.name == "main"


def test_each_os_thread_sees_its_own_attributes() -> None:
    mine = local()
    mine.name = "main"

    def use() -> bool:
        had_it = hasattr(mine, "name")
        mine.name = "other"
        return had_it

    assert [OSThread(use).wait(), HubThread(use).wait()] == [False, False]
    assert mine.name == "main"


def test_os_threads_that_use_it_at_once_never_see_each_others_attributes() -> None:
    mine = local()
    wrong: list[Any] = []
    barrier = threading.Barrier(4)

    def use(number: int) -> None:
        barrier.wait()
        mine.number = number
        for count in range(3000):
            mine.count = count
            if (mine.number, mine.count) != (number, count):
                wrong.append((number, count))
            del mine.count

    with frequent_thread_switches():
        threads = [OSThread(lambda number=number: use(number)) for number in range(4)]
        for thread in threads:
            thread.wait()
    assert wrong == []


def test_two_locals_do_not_mix() -> None:
    one, other = local(), local()
    one.name, other.name = "one", "other"
    assert (one.name, other.name) == ("one", "other")
    del one.name
    assert not hasattr(one, "name")
    assert other.name == "other"


class Counted(local):
    begun: list[tuple[Any, ...]] = []  # noqa: RUF012 - the class's, on purpose
    kind = "class attribute"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.begun.append((args, kwargs))
        self.values = list(args)

    @property
    def total(self) -> int:
        return sum(self.values)

    @total.setter
    def total(self, value: int) -> None:
        self.values = [value]

    def __getattr__(self, name: str) -> str:
        return f"no {name}"


def test_init_of_a_subclass_runs_in_each_greenlet_with_the_same_arguments() -> None:
    Counted.begun.clear()
    mine = Counted(1, 2, key=3)
    mine.values.append(10)
    assert spawn(lambda: (mine.total, mine.values)).wait() == (3, [1, 2])
    assert (mine.total, mine.values) == (13, [1, 2, 10])
    assert Counted.begun == [((1, 2), {"key": 3})] * 2


def test_properties_class_attributes_and_getattr_of_a_subclass_work_as_ever() -> None:
    mine = Counted(1)
    mine.total = 7
    assert (mine.values, mine.total, mine.kind, mine.missing) == ([7], 7, "class attribute", "no missing")
    mine.kind = "mine"
    assert (mine.kind, Counted.kind) == ("mine", "class attribute")
    assert spawn(lambda: mine.kind).wait() == "class attribute"
    del mine.kind
    assert mine.kind == "class attribute"
    with pytest.raises(AttributeError):
        del mine.kind


def test_an_init_that_fails_in_another_greenlet_is_tried_again_there() -> None:
    class Fails(local):
        def __init__(self) -> None:
            if getcurrent() is not main:
                attempts.append(1)
                if len(attempts) < 2:
                    raise ValueError("the first attempt")
            self.value = 5

    def use() -> int:
        with pytest.raises(ValueError, match="the first attempt"):
            mine.value  # noqa: B018 - it is the access
        return mine.value

    main, attempts = getcurrent(), []
    mine = Fails()
    assert spawn(use).wait() == 5


def test_arguments_without_an_init_are_refused() -> None:
    with pytest.raises(TypeError, match="takes no arguments"):
        local(1)


def test_its_dict_is_that_of_the_greenlet_and_can_not_be_replaced() -> None:
    mine = local()
    mine.a = 1
    assert mine.__dict__ == vars(mine) == {"a": 1}
    assert spawn(lambda: mine.__dict__).wait() == {}
    with pytest.raises(AttributeError, match="read-only"):
        mine.__dict__ = {}
    with pytest.raises(AttributeError, match="read-only"):
        del mine.__dict__
    assert "a" in dir(mine)


def test_slots_of_a_subclass_are_shared() -> None:
    class Slotted(local):
        __slots__ = ("shared",)

    mine = Slotted()
    mine.shared = 1
    mine.own = 2
    assert spawn(lambda: (mine.shared, hasattr(mine, "own"))).wait() == (1, False)


def test_a_subclass_may_define_equality() -> None:
    class Equal(local):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # as Python does when there is only __eq__

    one, other = Equal(), Equal()
    one.name = "one"
    assert not hasattr(other, "name")


@pytest.mark.parametrize("refers_to", ["the greenlet", "the local", "nothing"])
def test_what_a_greenlet_kept_goes_with_the_greenlet(refers_to: str) -> None:
    mine = local()

    def keep() -> weakref.ref[Thing]:
        thing = Thing()
        mine.thing = thing
        mine.other = {"the greenlet": getcurrent(), "the local": mine, "nothing": None}[refers_to]
        return weakref.ref(thing)

    thread = spawn(keep)
    thing = thread.wait()
    assert thing() is not None
    del thread
    sleep(0)
    gc.collect()
    assert thing() is None


def test_what_was_kept_goes_with_the_local() -> None:
    mine = local()
    thing = Thing()
    kept = weakref.ref(thing)
    mine.thing = thing
    del thing
    gone = weakref.ref(mine)
    del mine
    assert (gone(), kept()) == (None, None)


def test_locals_by_the_thousand_leave_nothing() -> None:
    def use(count: int) -> int:
        for _ in range(count):
            mine = local()
            mine.value = Thing()
        del mine
        gc.collect()
        return len(gc.get_objects())

    before = use(100)
    assert use(5000) - before < 20
