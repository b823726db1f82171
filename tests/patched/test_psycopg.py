"""psycopg 2 and 3 wait in the hub. The server here never answers; tests/system/test_clients.py has real ones."""

from __future__ import annotations

import pytest

from tests.patched.running import run_script

STATE = """
def state():
    return (psycopg.waiting.wait is psycopg.waiting.wait_selector, psycopg2.extensions.get_wait_callback() is not None)
"""

SILENT_SERVER = """
import socket
from greenserve import Timeout, sleep, spawn

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
ticks = []

def tick():
    while True:
        sleep(0.005)
        ticks.append(1)

spawn(tick)
"""


def test_the_patch_imports_neither() -> None:
    assert run_script("import sys; print(sorted(name for name in sys.modules if name.startswith('psycopg')))") == "[]\n"


@pytest.mark.parametrize("call", ["patch_all()", "patch_psycopg()"])
def test_it_holds_for_what_is_imported_later_and_for_what_was_imported_before(call: str) -> None:
    imports = "import psycopg, psycopg2\n"
    patch = f"from greenserve import monkey\nimport warnings\nwarnings.simplefilter('ignore')\nmonkey.{call}\n"
    show = "print(state(), monkey.is_patched('psycopg'))"
    for script in (patch + imports, imports + patch):
        assert run_script(script + STATE + show, patch=False) == "(True, True) True\n"


def test_it_can_be_left_out() -> None:
    script = "from greenserve import monkey\nmonkey.patch_all(psycopg=False)\nimport psycopg, psycopg2\n"
    assert run_script(script + STATE + "print(state())", patch=False) == "(False, False)\n"


def test_a_module_that_was_adapted_can_be_looked_into_as_any_other() -> None:
    assert (
        run_script(
            """
        import importlib.util, inspect, psycopg.waiting, psycopg2.extensions
        for module in (psycopg.waiting, psycopg2.extensions):
            loader = module.__spec__.loader
            print(type(loader).__name__, loader is module.__loader__, "import" in inspect.getsource(module))
        print(importlib.util.find_spec("psycopg.nothing"))
        """
        )
        == "SourceFileLoader True True\nSourceFileLoader True True\nNone\n"
    )


@pytest.mark.parametrize("name", ["psycopg", "psycopg2"])
def test_a_missing_package_is_missing_as_without_the_patch(name: str) -> None:
    assert (
        run_script(
            f"""
        import sys
        sys.path[:] = [path for path in sys.path if not path.endswith("site-packages")]
        try:
            import {name}
        except ModuleNotFoundError as exc:
            print(exc)
        """
        )
        == f"No module named '{name}'\n"
    )


@pytest.mark.parametrize("name", ["psycopg", "psycopg2"])
def test_connecting_to_a_server_that_never_answers_lets_others_run_and_can_be_given_up(name: str) -> None:
    script = f"""
import {name}
try:
    with Timeout(0.1):
        {name}.connect(host="127.0.0.1", port=port, user="nobody", dbname="nothing")
except Timeout:
    print("given up", len(ticks) >= 5)
"""
    assert run_script(SILENT_SERVER + script) == "given up True\n"


@pytest.mark.parametrize("name", ["psycopg", "psycopg2"])
def test_a_native_thread_waits_by_itself(name: str) -> None:
    # A thread of the pool has no hub to wait in: it must not stop the one that the program has.
    script = f"""
from greenserve import execute
import {name}

def ask():
    try:
        {name}.connect(host="127.0.0.1", port=port, user="nobody", dbname="nothing", sslmode="disable")
    except {name}.OperationalError:
        return "refused"

def refuse():
    connection, _ = listener.accept()
    connection.recv(1000)
    enough = len(ticks) + 5
    while len(ticks) < enough:
        sleep(0.005)
    connection.close()

spawn(refuse)
print(execute(ask), len(ticks) >= 5)
"""
    assert run_script(SILENT_SERVER + script) == "refused True\n"
