"""``MODULE:APP`` to a callable, and what is said when that fails."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import flask
import pytest
from django.core.handlers.wsgi import WSGIHandler

from greenserve.apps import AppError, load_app

WRITE = Callable[[str, str], None]

APPS = """
def hello(environ, start_response):
    return [b"hello"]

class Holder:
    inner = staticmethod(hello)

holder = Holder()
text = "not an app"

def create_app(name="plain", *, debug=False):
    def made(environ, start_response):
        return [name.encode()]
    made.debug = debug
    return made

def no_app():
    return None

def broken():
    return 1 / 0

async def coroutine(scope, receive, send):
    pass

class Asgi:
    async def __call__(self, scope, receive, send):
        pass

asgi = Asgi()

import os
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WRITE]:
    """Write a module that can be imported, and forget it afterwards."""
    names: list[str] = []

    def write_module(name: str, text: str) -> None:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        names.append(name)
        importlib.invalidate_caches()

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield write_module
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("application = lambda e, s: [b'1']\napp = lambda e, s: [b'2']", b"1"),
        ("app = lambda e, s: [b'2']", b"2"),
    ],
)
def test_a_module_alone_gives_its_application_and_else_its_app(write: WRITE, text: str, body: bytes) -> None:
    write("shop_one", text)
    assert load_app("shop_one")({}, None) == [body]


@pytest.mark.parametrize("target", ["shop_two:hello", "shop_two:holder.inner", "shop_two: hello"])
def test_a_name_gives_what_it_names(write: WRITE, target: str) -> None:
    write("shop_two", APPS)
    assert load_app(target)({}, None) == [b"hello"]


def test_a_module_in_a_package_is_named_with_dots(write: WRITE) -> None:
    write("shop_pack.web", APPS)
    assert load_app("shop_pack.web:hello")({}, None) == [b"hello"]


@pytest.mark.parametrize(
    ("expression", "body", "debug"),
    [
        ("create_app()", b"plain", False),
        ("create_app('test')", b"test", False),
        ("create_app(name='x', debug=True)", b"x", True),
    ],
)
def test_a_call_gives_what_it_returns(write: WRITE, expression: str, body: bytes, debug: bool) -> None:
    write("shop_three", APPS)
    app = load_app(f"shop_three:{expression}")
    assert app({}, None) == [body]
    assert app.debug is debug  # type: ignore[attr-defined]  # the application above has it


@pytest.mark.parametrize("target", ["shop_four:create_app", "shop_four"])
def test_a_factory_is_called(write: WRITE, target: str) -> None:
    write("shop_four", APPS)
    assert load_app(target, factory=True)({}, None) == [b"plain"]


@pytest.mark.parametrize(
    ("target", "factory", "message"),
    [
        ("shop_five:helo", False, "'shop_five' has no 'helo'; did you mean hello?"),
        ("shop_five:holder.iner", False, "'shop_five.holder' has no 'iner'; did you mean inner?"),
        ("shop_five", False, "module 'shop_five' has no 'application' and no 'app'. It has 'create_app'"),
        ("shop_five:text", False, "'shop_five:text' is of type str and can't be called"),
        ("shop_five:no_app", True, "what 'shop_five:no_app' returned is of type NoneType and can't be called"),
        ("shop_five:text", True, "'shop_five:text' is of type str and can't be called"),
        ("shop_five:create_app()", True, "is a call already"),
        ("shop_five:create_app(hello)", False, "call with literals"),
        ("shop_five:create_app(**{})", False, "call with literals"),
        ("shop_five:create_app", False, "If it makes one, add --factory or write shop_five:create_app()"),
        ("shop_five:Asgi.__call__", False, "'shop_five:Asgi.__call__' is async"),
        ("shop_five:Holder", False, "can't be called with environ and start_response, so it is no WSGI application."),
        ("shop_five:os", False, "'shop_five:os' is a module, and no WSGI application; did you mean os:app?"),
        ("shop_five:1 + 1", False, "comes a name"),
        ("shop_five:hello[0]", False, "comes a name"),
        ("shop_five:import os", False, "comes a name"),
        ("shop_five:coroutine", False, "'shop_five:coroutine' is async, as ASGI applications are"),
        ("shop_five:asgi", False, "'shop_five:asgi' is async, as ASGI applications are"),
        ("shop_five:Asgi", True, "what 'shop_five:Asgi' returned is async, as ASGI applications are"),
        ("shop_five.hello", False, "Did you mean shop_five:hello?"),
        ("shop_five.helo:app", False, "Is the module in this directory"),
        ("shop_five.py:hello", False, "names no module: write MODULE:APP with dots, such as shop_five:hello,"),
        ("shop_five.py", False, "names no module: write MODULE:APP with dots, such as shop_five:app,"),
        ("./web/shop_five:hello", False, "names no module: write MODULE:APP with dots, such as web.shop_five:hello,"),
        ("../shop_five.py:hello", False, "names no module: write MODULE:APP with dots, such as shop.web:app,"),
        (":hello", False, "names no module: write MODULE:APP with dots, such as shop.web:app,"),
        ("", False, "names no module: write MODULE:APP with dots, such as shop.web:app,"),
    ],
)
def test_a_wrong_target_is_explained(write: WRITE, target: str, factory: bool, message: str) -> None:
    write("shop_five", APPS)
    with pytest.raises(AppError) as caught:
        load_app(target, factory)
    assert message in str(caught.value)


@pytest.mark.parametrize("is_imported", [False, True])
def test_a_module_where_an_application_is_meant_is_told(write: WRITE, is_imported: bool) -> None:
    write("shop_parts.__init__", "from shop_parts import web" if is_imported else "")
    write("shop_parts.web", "application = print")
    write("shop_parts", "")
    with pytest.raises(AppError) as caught:
        load_app("shop_parts:web")
    if is_imported:
        assert str(caught.value).endswith(
            "is a module, and no WSGI application; did you mean shop_parts.web:application?"
        )
    else:
        assert str(caught.value).endswith("but there is a module of that name; did you mean shop_parts.web:app?")


def make_app() -> object:
    return object()


def call(self: object, environ: object, start_response: object) -> list[bytes]:
    return []


def wrapped(function: Callable[..., object]) -> Callable[..., object]:
    return functools.wraps(function)(lambda environ, start_response: function())


class Strange(type):
    def __call__(cls, *args: object) -> object:
        return cls


class Pretends:
    """As proxies do."""

    __class__ = property(lambda self: type(make_app))
    __code__ = make_app.__code__

    @property
    def __signature__(self) -> inspect.Signature:
        raise RuntimeError("not now")

    def __call__(self, *args: object) -> object:
        return args


def with_signature() -> Callable[..., object]:
    app = lambda *args: args  # noqa: E731 - its signature is about to be another one
    app.__signature__ = inspect.Signature()  # type: ignore[attr-defined]
    return app


@pytest.mark.parametrize(
    "app",
    [
        make_app,
        lambda request: request,
        lambda environ: environ,
        lambda environ, start_response, third: None,
        lambda environ, *, start_response: None,
        type("NoArguments", (), {}),
        type("NoArguments", (), {"__init__": lambda self: None}),
        type("Method", (), {"method": lambda self: None})().method,
        type("Instance", (), {"__call__": lambda self, request: None})(),
    ],
)
def test_what_can_not_take_a_request_is_no_application(write: WRITE, app: object) -> None:
    write("shop_args", "")
    importlib.import_module("shop_args").app = app  # type: ignore[attr-defined]  # a module may have any
    for target in ("shop_args", "shop_args:app"):
        with pytest.raises(AppError, match=r"add --factory or write shop_args:app\(\)$"):
            load_app(target)


@pytest.mark.parametrize(
    "app",
    [
        lambda *args: None,
        lambda environ, start_response, third=None: None,
        lambda environ, start_response, **more: None,
        wrapped(make_app),
        with_signature(),
        functools.partial(call, None),
        functools.partial(make_app),  # nobody can tell: a partial passes on what it likes
        print,
        dict,
        type,
        Mock(),
        Pretends(),
        Strange("Metaclass", (), {}),
        type("New", (), {"__new__": lambda cls, *args: [b""], "__init__": lambda self: None}),
        type("Answer", (), {"__init__": call}),
        type("Instance", (), {"__call__": call})(),
        type("Method", (), {"method": call})().method,
        type("Static", (), {"__call__": staticmethod(lambda environ, start_response: None)})(),
        type("Partial", (), {"__call__": functools.partial(call, None)})(),
        type("Class", (), {"__call__": classmethod(call)})(),
        flask.Flask("shop"),
        WSGIHandler.__new__(WSGIHandler),
    ],
)
def test_whatever_may_take_a_request_is_served(write: WRITE, app: object) -> None:
    write("shop_args", "")
    importlib.import_module("shop_args").app = app  # type: ignore[attr-defined]  # a module may have any
    assert load_app("shop_args:app") is app


def test_a_module_without_any_likely_name_asks_for_one(write: WRITE) -> None:
    write("shop_six", "site = print\n")
    with pytest.raises(AppError, match="Say which name it is: shop_six:NAME"):
        load_app("shop_six")


@pytest.mark.parametrize("target", ["shop_nowhere:app", "shop_nowhere.web:app"])
def test_a_missing_module_is_told_without_a_traceback_and_with_a_hint(tmp_path: Path, target: str) -> None:
    with pytest.raises(AppError) as caught:
        load_app(target)
    first, hint = str(caught.value).splitlines()
    assert first == "ModuleNotFoundError: No module named 'shop_nowhere'"
    assert "--chdir" in hint


def test_a_module_that_the_application_misses_is_told_with_the_line_that_imports_it(write: WRITE) -> None:
    write("shop_seven", "import shop_nowhere_else\napp = None\n")
    with pytest.raises(AppError) as caught:
        load_app("shop_seven")
    lines = str(caught.value).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith('shop_seven.py", line 1, in <module>')
    assert lines[-1] == "ModuleNotFoundError: No module named 'shop_nowhere_else'"


@pytest.mark.parametrize("target", ["shop_eight:broken()", "shop_eight:broken"])
def test_the_traceback_begins_in_the_users_code(write: WRITE, target: str) -> None:
    write("shop_eight", APPS)
    with pytest.raises(AppError) as caught:
        load_app(target, factory="(" not in target)
    text = str(caught.value)
    assert text.splitlines()[1].endswith('shop_eight.py", line 21, in broken')
    assert "greenserve" not in text
    assert "importlib" not in text
    assert text.endswith("ZeroDivisionError: division by zero")


def test_a_syntax_error_shows_its_place(write: WRITE) -> None:
    write("shop_nine", "def app(:\n")
    with pytest.raises(AppError) as caught:
        load_app("shop_nine")
    text = str(caught.value)
    assert 'shop_nine.py", line 1' in text
    assert "SyntaxError" in text
    assert "importlib" not in text


def test_a_module_that_exits_is_an_error_and_no_exit(write: WRITE) -> None:
    write("shop_ten", "import sys\nsys.exit(0)\n")
    with pytest.raises(AppError, match="It left the program while it was loaded"):
        load_app("shop_ten")
