from __future__ import annotations

import pytest

from greenserve.compat.table import GONE, NAMES, NOTES, Verdict, find_note
from tests.compat.peers import HAS_EVENTLET, INSTALL, run_source, run_under_greenserve

_NEEDS_OTHERS = {"eventlet.green.zmq", "eventlet.green.MySQLdb", "eventlet.green.asynchat", "eventlet.green.asyncore"}

# Where our parameters are others than eventlet's, as the table says, or since a name is none of its users' to call.
_OTHER_PARAMETERS = {
    "eventlet.TimeoutError",
    "eventlet.greenthread.TimeoutError",
    "eventlet.dagpool.DAGPool",
    "eventlet.greenio.GreenSocket",
    "eventlet.greenio.base.GreenSocket",
    "eventlet.greenio.py3.GreenFileIO",
    "eventlet.hubs.hub.BaseHub",
    "eventlet.hubs.hub.DebugListener",
    "eventlet.hubs.timer.LocalTimer",
    "eventlet.patcher.slurp_properties",
    "eventlet.pools.Pool",
    "eventlet.pools.TokenPool",
    "eventlet.wsgi.HttpProtocol",
    "eventlet.wsgi.Input",
    "eventlet.wsgi.Server",
    "eventlet.wsgi.server",
}
_OTHER_MODULES = ("eventlet.db_pool.", "eventlet.hubs.epolls.", "eventlet.hubs.kqueue.", "eventlet.hubs.poll.")
_OTHER_MODULES += ("eventlet.hubs.selects.", "eventlet.hubs.asyncio.", "eventlet.websocket.", "eventlet.asyncio.")
_OTHER_MODULES += ("eventlet.support.",)


def test_every_name_that_needs_no_change_is_there() -> None:
    wanted = {
        module: [name for name in names if find_note(f"{module}.{name}").verdict is not Verdict.CHANGE]
        for module, names in NAMES.items()
        if module.startswith("eventlet") and module not in _NEEDS_OTHERS
    }
    script = f"""
    import importlib
    for module, names in {wanted!r}.items():
        there = importlib.import_module(module)
        for name in names:
            if not hasattr(there, name):
                print(f"{{module}}.{{name}}")
    """
    assert run_under_greenserve(script) == ""


@pytest.mark.parametrize("name", sorted(GONE))
def test_a_module_that_is_gone_says_why(name: str) -> None:
    script = f"""
    try:
        import {name}
    except ModuleNotFoundError as exc:
        print(exc)
    """
    assert run_under_greenserve(script) == f"{name} has no counterpart in greenserve: {GONE[name]}\n"


@pytest.mark.parametrize("name", sorted(NOTES))
def test_every_note_says_something(name: str) -> None:
    assert NOTES[name].verdict is not Verdict.AS_IS
    assert NOTES[name].text
    assert not NOTES[name].text.endswith(".")


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("eventlet.spawn", Verdict.AS_IS),
        ("eventlet", Verdict.AS_IS),
        ("eventlet.event.Event.send", Verdict.AS_IS),
        ("eventlet.green.urllib.request.urlopen", Verdict.AS_IS),
        ("eventlet.monkey_patch", Verdict.DIFFERENCE),
        ("eventlet.wsgi.HttpProtocol.handle", Verdict.DIFFERENCE),
        ("eventlet.wsgi.HttpProtocol.reject_bad_requests", Verdict.CHANGE),
        ("eventlet.zipkin.patcher.enable_trace_patch", Verdict.CHANGE),
        ("eventlet.no_such_name", Verdict.CHANGE),
        ("gevent.pool.Pool", Verdict.CHANGE),
        ("gevent.pool", Verdict.CHANGE),
    ],
)
def test_a_name_is_found_by_the_nearest_that_is_noted(name: str, verdict: Verdict) -> None:
    assert find_note(name).verdict is verdict


@pytest.mark.skipif(not HAS_EVENTLET, reason="compares with eventlet itself, which is not installed")
def test_callables_take_what_eventlets_take() -> None:
    names = {
        module: names
        for module, names in NAMES.items()
        if module.startswith("eventlet")
        and names
        and not module.startswith(_OTHER_MODULES)
        # It imports psycopg2.
        and module != "eventlet.support.psycopg2_patcher"
    }
    theirs, ours = (run_source("signatures.py", before, names) for before in ("", INSTALL))
    compared = {
        name: methods
        for name, methods in theirs.items()
        if name in ours and name not in _OTHER_PARAMETERS and not name.startswith(_OTHER_MODULES)
    }
    assert len(compared) > 100
    assert {
        name: {method: ours[name].get(method) for method in methods} for name, methods in compared.items()
    } == compared
