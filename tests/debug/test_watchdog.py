from __future__ import annotations

import logging
import re
import time

import pytest

from greenserve import get_hub, sleep, spawn
from greenserve.debug import Watchdog, hub_blocking_detection
from tests.core.scripts import output
from tests.sync.threads import HubThread, spin_until, until

LIMIT = 0.05


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "greenserve.debug")


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "greenserve.debug" and record.levelno == level
    ]


def block_until_told(dog: Watchdog) -> None:
    before = dog.count
    spin_until(lambda: dog.count > before)


def match_for_long() -> None:
    re.match("(a+)+$", "a" * 21 + "b")


def run_for(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_green_thread_that_blocks_is_told_once_with_its_stack_and_in_the_end_its_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Watchdog(LIMIT) as dog:
        spawn(block_until_told, dog).wait()
        until(lambda: messages(caplog, logging.INFO))
    (warning,) = messages(caplog, logging.WARNING)
    milliseconds = re.search(r"the hub of MainThread has not run for (\d+) ms \(the limit is 50 ms\)", warning)
    assert milliseconds
    assert int(milliseconds[1]) >= 50
    line = block_until_told.__code__.co_firstlineno + 2
    assert f'  File "{__file__}", line {line}, in block_until_told\n    spin_until(' in warning
    assert "core/" not in warning
    (end,) = messages(caplog, logging.INFO)
    took = re.fullmatch(r"the hub of MainThread runs again, after (\d+) ms", end)
    assert took
    assert int(took[1]) >= int(milliseconds[1])
    assert dog.count == 1
    assert dog.longest >= LIMIT


def test_each_block_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with Watchdog(LIMIT) as dog:
        for _ in range(3):
            spawn(block_until_told, dog).wait()
    assert len(messages(caplog, logging.WARNING)) == 3


def test_a_callback_of_the_hub_and_the_main_greenlet_are_told_as_well(caplog: pytest.LogCaptureFixture) -> None:
    ticker = spawn(sleep, 60)
    sleep(0)
    with Watchdog(LIMIT) as dog:
        get_hub().call_soon(block_until_told, dog)
        sleep(0)
        block_until_told(dog)
    ticker.kill()
    first, second = messages(caplog, logging.WARNING)
    assert "in block_until_told" in first
    assert "in test_a_callback_of_the_hub_and" in second


def test_a_call_that_holds_the_gil_is_told_with_its_line_when_it_lets_go(caplog: pytest.LogCaptureFixture) -> None:
    with Watchdog(LIMIT) as dog:
        spawn(block_until_told, dog).wait()  # so that its thread has begun
        for _ in range(10):
            if dog.count == 1:  # when the call lets go, another one than the watchdog may come first
                spawn(match_for_long).wait()
                sleep(0.01)
    warning = messages(caplog, logging.WARNING)[1]
    assert 're.match("(a+)+$"' in warning


def test_a_hub_that_is_parked_in_its_poll_is_not_blocked(caplog: pytest.LogCaptureFixture) -> None:
    with Watchdog(0.2):
        sleep(0.5)
    assert messages(caplog, logging.WARNING) == []


def test_many_short_turns_in_one_round_are_no_block(caplog: pytest.LogCaptureFixture) -> None:
    with Watchdog(0.5):
        for thread in [spawn(run_for, 0.02) for _ in range(30)]:
            thread.wait()
    assert messages(caplog, logging.WARNING) == []


def test_who_keeps_nobody_from_running_is_not_told_of() -> None:
    assert (
        output("""
        import logging, time
        from greenserve import sleep
        from greenserve.debug import Watchdog
        logging.basicConfig()
        sleep(0)
        with Watchdog(0.02):
            time.sleep(0.2)
    """)
        == []
    )


def test_the_hubs_of_all_os_threads_are_watched(caplog: pytest.LogCaptureFixture) -> None:
    with Watchdog(LIMIT) as dog:
        HubThread(lambda: block_until_told(dog)).wait()
    (warning,) = messages(caplog, logging.WARNING)
    assert "the hub of Thread-" in warning
    assert "in block_until_told" in warning


def test_it_watches_until_it_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    dog = Watchdog(LIMIT)
    assert not dog.running
    dog.start()
    dog.start()
    assert dog.running
    spawn(block_until_told, dog).wait()
    dog.stop()
    dog.stop()
    assert not dog.running
    spawn(run_for, 3 * LIMIT).wait()
    dog.start()
    spawn(block_until_told, dog).wait()
    dog.stop()
    assert dog.count == 2
    assert len(messages(caplog, logging.WARNING)) == 2


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_limit_that_is_not_positive_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="a number of seconds, more than 0"):
        Watchdog(seconds)


def test_eventlets_name_switches_one_on_and_off(caplog: pytest.LogCaptureFixture) -> None:
    hub_blocking_detection(True, 10)
    hub_blocking_detection(True, LIMIT)
    spawn(spin_until, lambda: messages(caplog, logging.WARNING)).wait()
    hub_blocking_detection(False)
    spawn(run_for, 3 * LIMIT).wait()
    assert len(messages(caplog, logging.WARNING)) == 1
    with pytest.raises(ValueError, match="more than 0"):
        hub_blocking_detection(True, 0)


def test_it_goes_on_watching_in_a_forked_child() -> None:
    assert output("""
        import logging, os, sys, time, warnings
        from greenserve import sleep, spawn
        from greenserve.debug import Watchdog

        warnings.simplefilter("ignore")  # of forks with more than one thread
        logging.basicConfig(stream=sys.stdout, format="%(levelname)s")
        dog = Watchdog(0.05)
        dog.start()

        def block():
            end = time.monotonic() + 10
            while not dog.count and time.monotonic() < end:
                pass

        sleep(0)
        pid = os.fork()
        if not pid:
            spawn(block).wait()
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        print(dog.count)
    """) == ["WARNING", "0"]


def test_a_deadlock_is_one_in_spite_of_it() -> None:
    assert output("""
        from greenserve import DeadlockError, Event, sleep
        from greenserve.debug import Watchdog

        with Watchdog(0.05):
            sleep(0.1)
            try:
                Event().wait()
            except DeadlockError:
                print("deadlock")
    """) == ["deadlock"]
