from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from greenserve import sleep, spawn
from greenserve.sync.dagpool import Collision, DAGPool, PropagateError


def add_up(key: str, results: Iterator[tuple[str, int]], own: int = 0) -> int:
    return own + sum(value for _, value in results)


def fail(key: str, results: Iterator[Any]) -> None:
    raise ValueError("why")


def wait_for_ever(key: str, results: Iterator[Any]) -> None:
    sleep(60)


def test_a_function_gets_the_values_of_the_keys_that_it_depends_on() -> None:
    pool = DAGPool({"a": 1})
    pool.spawn("c", ["a", "b"], add_up, 10)
    pool.spawn("b", ["a"], add_up, 100)
    assert pool.wait() == {"a": 1, "b": 101, "c": 112}


def test_results_come_in_the_order_in_which_they_are_there() -> None:
    pool = DAGPool()
    seen: list[str] = []

    def note(key: str, results: Iterator[tuple[str, int]]) -> None:
        seen.extend(name for name, _ in results)

    pool.spawn("end", "xy", note)
    sleep(0)
    pool.post("y", 1)
    sleep(0)
    pool.post("x", 2)
    pool.wait(["end"])
    assert seen == ["y", "x"]


def test_a_value_that_comes_from_outside_lets_those_go_on_who_wait_for_it() -> None:
    pool = DAGPool()
    waiting = spawn(pool.wait, ["a"])
    sleep(0)
    pool.post("a", 5)
    assert waiting.wait() == {"a": 5}


def test_what_a_function_raises_reaches_all_who_depend_on_it() -> None:
    pool = DAGPool()
    pool.spawn("a", (), fail)
    pool.spawn("b", "a", add_up)
    with pytest.raises(PropagateError) as raised:
        pool["b"]
    assert (raised.value.key, raised.value.exc.key) == ("b", "a")  # type: ignore[attr-defined]
    assert repr(raised.value.exc.exc) == "ValueError('why')"  # type: ignore[attr-defined]


def test_successes_and_failures_can_be_had_apart() -> None:
    pool = DAGPool({"a": 1})
    pool.spawn("b", (), fail)
    assert dict(pool.wait_each_success()) == {"a": 1}
    assert [key for key, _ in pool.wait_each_exception()] == ["b"]


@pytest.mark.parametrize("what", ["spawn", "post"])
def test_a_key_is_used_once(what: str) -> None:
    pool = DAGPool({"a": 1})
    with pytest.raises(Collision):
        pool.spawn("a", (), add_up) if what == "spawn" else pool.post("a", 2)
    assert pool.get("a") == 1


def test_a_value_can_be_replaced_when_that_is_said() -> None:
    pool = DAGPool({"a": 1})
    pool.post("a", 2, replace=True)
    assert pool.items() == (("a", 2),)


def test_a_function_that_runs_may_post_its_own_value_and_no_other_may() -> None:
    pool = DAGPool()

    def early(key: str, results: Iterator[Any]) -> None:
        pool.post(key, "early")

    pool.spawn("a", (), early)
    with pytest.raises(Collision):
        pool.post("a", "mine")
    assert pool.wait() == {"a": "early"}


def test_a_key_that_is_killed_is_forgotten_and_can_be_spawned_again() -> None:
    pool = DAGPool()
    pool.spawn("a", (), wait_for_ever)
    sleep(0)
    pool.kill("a")
    assert (pool.running(), pool.get("a", "none")) == (0, "none")
    pool.spawn("a", (), add_up, 7)
    assert pool["a"] == 7
    with pytest.raises(KeyError):
        pool.kill("a")


def test_it_tells_who_runs_and_who_waits_for_what() -> None:
    pool = DAGPool({"a": 1})
    pool.spawn_many({"b": "ax", "c": "y"}, add_up)
    sleep(0)
    assert (pool.running_keys(), pool.running(), pool.waiting()) == (("b", "c"), 2, 2)
    assert (pool.waiting_for("b"), pool.waiting_for("a"), pool.waiting_for()) == (
        {"x"},
        set(),
        {"b": {"x"}, "c": {"y"}},
    )
    with pytest.raises(KeyError):
        pool.waiting_for("nobody")
    pool.post("x", 1)
    pool.post("y", 1)
    pool.waitall()
    assert (pool.running(), sorted(pool.keys())) == (0, ["a", "b", "c", "x", "y"])


def test_an_error_that_is_passed_on_can_be_pickled() -> None:
    copy = pickle.loads(pickle.dumps(PropagateError("a", ValueError("why"))))
    assert (copy.key, repr(copy.exc)) == ("a", "ValueError('why')")
