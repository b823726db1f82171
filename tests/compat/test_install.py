from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenserve.compat.eventlet._names import VERSION
from tests.compat.peers import HAS_EVENTLET, ROOT, run_under_greenserve

PROGRAM = """\
import sys
import eventlet
from eventlet.green import socket
print(eventlet.__version__, eventlet.spawn(lambda: 5).wait(), "greenserve" in socket.__file__, sys.argv[1:])
"""

PRINTED = f"{VERSION} 5 True"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def run(*arguments: str, cwd: Path | None = None, code: int = 0) -> tuple[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=50, env=environment, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_a_module_is_one_object_under_both_names() -> None:
    script = """
    import eventlet.queue, eventlet.green.socket
    from greenserve.compat.eventlet._face import queue
    from greenserve.compat.eventlet._face.green import socket
    print(eventlet.queue is queue, eventlet.green.socket is socket, socket.__spec__.name, queue.Queue.__module__)
    import sys
    from eventlet.green import urllib
    import eventlet.green.urllib.request
    print(sys.modules["eventlet.green.urllib"] is urllib, urllib.request is eventlet.green.urllib.request)
    """
    printed = "True True eventlet.green.socket eventlet.queue\nTrue True\n"
    assert run_under_greenserve(script) == printed


def test_installing_twice_is_as_once_and_patches_nothing() -> None:
    script = """
    import socket, sys, time
    before = socket.socket, time.sleep, len(sys.meta_path)
    install()
    from greenserve import monkey
    after = socket.socket, time.sleep, len(sys.meta_path)
    print(before == after, monkey.is_patched("socket"), "eventlet" in sys.modules)
    """
    assert run_under_greenserve(script) == "True False True\n"


def test_it_may_come_after_other_imports() -> None:
    script = """
    import socket, ssl, threading, logging, concurrent.futures, greenserve
    from greenserve.compat.eventlet import install, is_installed
    print(is_installed())
    install()
    import eventlet
    print(is_installed(), eventlet.spawn(lambda: 1).wait())
    """
    assert run_under_greenserve(script, install=False) == "False\nTrue 1\n"


@pytest.mark.skipif(not HAS_EVENTLET, reason="imports eventlet itself, which is not installed")
def test_it_refuses_once_eventlet_itself_was_imported() -> None:
    script = """
    import eventlet
    from greenserve.compat.eventlet import InstalledTooLate, install
    try:
        install()
    except InstalledTooLate as exc:
        print(eventlet.__file__ in str(exc), "before anything imports it" in str(exc))
    """
    assert run_under_greenserve(script, install=False, EVENTLET_TESTS="1") == "True True\n"


def test_those_who_ask_for_the_version_of_the_package_are_told() -> None:
    script = """
    from importlib import metadata
    print(metadata.version("eventlet"), metadata.metadata("Eventlet")["Name"])
    """
    assert run_under_greenserve(script) == f"{VERSION} eventlet\n"


def test_what_eventlet_does_not_have_is_not_found() -> None:
    script = """
    try:
        import eventlet.nothing
    except ModuleNotFoundError as exc:
        print(exc.name)
    """
    assert run_under_greenserve(script) == "eventlet.nothing\n"


def test_a_process_that_greenserve_has_patched_is_patched_to_eventlets_users_too() -> None:
    script = """
    from greenserve import monkey
    monkey.patch_all()
    import eventlet, socket
    from eventlet.patcher import is_monkey_patched
    print(is_monkey_patched("socket"), is_monkey_patched(socket), is_monkey_patched("thread"), is_monkey_patched("x"))
    """
    assert run_under_greenserve(script) == "True True True False\n"


def test_a_script_runs_unmodified(program: Path) -> None:
    assert run("-m", "greenserve.compat.eventlet", str(program), "a", "-b") == (f"{PRINTED} ['a', '-b']\n", "")


def test_a_module_runs_unmodified(program: Path) -> None:
    arguments = ("-m", "greenserve.compat.eventlet", "-m", "program", "a")
    assert run(*arguments, cwd=program.parent) == (f"{PRINTED} ['a']\n", "")


@pytest.mark.parametrize(("arguments", "code"), [(("--help",), 0), ((), 2), (("-m",), 2)])
def test_the_launcher_says_how_it_is_used(arguments: tuple[str, ...], code: int) -> None:
    output, errors = run("-m", "greenserve.compat.eventlet", *arguments, code=code)
    assert (errors if code else output).startswith("usage: python -m greenserve.compat.eventlet [--inherit] SCRIPT")


def test_processes_that_a_program_starts_inherit_it_when_that_is_asked_for(program: Path) -> None:
    (program.parent / "parent.py").write_text(
        "import subprocess, sys\nprint(subprocess.check_output([sys.executable, 'program.py'], text=True), end='')\n"
    )
    output, _ = run("-m", "greenserve.compat.eventlet", "--inherit", "parent.py", cwd=program.parent)
    assert output == f"{PRINTED} []\n"


def test_a_process_that_inherits_runs_the_sitecustomize_that_was_there_before(program: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sitecustomize.py").write_text("print('the other one')\n")
    script = f"""
    import os, subprocess, sys
    os.environ["PYTHONPATH"] = {str(tmp_path / "other")!r} + os.pathsep + os.environ["PYTHONPATH"]
    from greenserve.compat.eventlet._install import inherit
    inherit()
    inherit()
    print(subprocess.check_output([sys.executable, {str(program)!r}], text=True), end="")
    """
    assert run_under_greenserve(script, install=False) == f"the other one\n{PRINTED} []\n"
