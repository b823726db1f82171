"""``MODULE:APP`` to the WSGI callable it names, and what to tell somebody whose application doesn't load.

Knows no settings and no server.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from types import FunctionType, MethodType, ModuleType, TracebackType
from typing import Any

from greenserve._suggest import suggestion
from greenserve.errors import GreenserveError

__all__ = ["AppError", "load_app"]

_NAMES = ("application", "app")
_FACTORY_NAME = "create_app"

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class AppError(GreenserveError):
    """The application could not be loaded. The message is for the user: a traceback of their code, then a hint."""


def load_app(target: str, factory: bool = False) -> Callable[..., Any]:
    """Import the module of ``target`` and return the WSGI application in it.

    Args:
        target: ``MODULE`` (its ``application``, else its ``app``), ``MODULE:NAME``, where the name may have dots, or
            ``MODULE:NAME(...)``: what that call returns, with literals as its arguments.
        factory: The name is a function that returns the application when called without arguments; ``create_app``
            where ``target`` has none.

    Raises:
        AppError: The module or the name is missing, the user's code raised, or what is there can't be called.
    """
    module_name, _, expression = target.partition(":")
    if module_name.endswith(".py") or not all(part.isidentifier() for part in module_name.split(".")):
        raise AppError(
            f"{target!r} names no module: write MODULE:APP with dots, such as {_example(target)}, and no path"
        )
    module = _import(module_name)
    if not expression:
        name = _find_name(module, (_FACTORY_NAME,) if factory else _NAMES)
        target, found = f"{module_name}:{name}", getattr(module, name)
        return _call(target, found) if factory else _application(target, found)
    names, call = _parse_expression(target, expression)
    value: Any = module
    for depth, name in enumerate(names):
        value = _get(value, name, ".".join([module_name, *names[:depth]]))
    if call is None:
        return _call(target, value) if factory else _application(target, value)
    if factory:
        raise AppError(f"{target!r} is a call already: leave out either the parentheses or --factory")
    args, keywords = call
    return _call(target, value, *args, **keywords)


def _example(target: str) -> str:
    """``target`` as it may have been meant, if it is a path."""
    path, _, expression = target.partition(":")
    module_name = os.path.normpath(path).removesuffix(".py").replace(os.sep, ".")
    if not all(part.isidentifier() for part in module_name.split(".")):
        return "shop.web:app"
    return f"{module_name}:{expression or 'app'}"


def _parse_expression(target: str, expression: str) -> tuple[list[str], tuple[list[Any], dict[str, Any]] | None]:
    """Return the dotted name's parts, and the arguments where it is called."""
    wrong = AppError(f"{target!r}: after the colon comes a name, or a call with literals such as create_app('test')")
    call = None
    try:
        node = ast.parse(expression.strip(), mode="eval").body
        if isinstance(node, ast.Call):
            keywords = {str(item.arg): ast.literal_eval(item.value) for item in node.keywords if item.arg}
            if len(keywords) != len(node.keywords):
                raise wrong  # **something
            call = ([ast.literal_eval(item) for item in node.args], keywords)
            node = node.func
    except (SyntaxError, TypeError, ValueError):
        raise wrong from None
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise wrong
    return [node.id, *names], call


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        # Missing is the module itself or a package it is in, unless it imports something else that is missing.
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise _failure(exc) from exc
        package, _, last = name.rpartition(".")
        if hasattr(sys.modules.get(package), last):
            hint = f"Did you mean {package}:{last}?"
        else:
            hint = f"Is the module in this directory, {os.getcwd()}, or in one that --chdir or --pythonpath names?"
        raise AppError(f"{type(exc).__name__}: {exc}\n{hint}") from exc
    except (Exception, SystemExit) as exc:
        raise _failure(exc) from exc


def _find_name(module: ModuleType, names: tuple[str, ...]) -> str:
    for name in names:
        if hasattr(module, name):
            return name
    hint = f"Say which name it is: {module.__name__}:NAME"
    if hasattr(module, _FACTORY_NAME):
        hint = f"It has {_FACTORY_NAME!r}: if that makes the application, add --factory"
    raise AppError(f"module {module.__name__!r} has no {' and no '.join(map(repr, names))}. {hint}")


def _get(value: Any, name: str, of: str) -> Any:
    try:
        return getattr(value, name)
    except AttributeError:
        hint = suggestion(name, dir(value))
        if isinstance(value, ModuleType) and hasattr(value, "__path__") and importlib.util.find_spec(f"{of}.{name}"):
            hint = f", but there is a module of that name; did you mean {of}.{name}:{_NAMES[-1]}?"
        raise AppError(f"{of!r} has no {name!r}{hint}") from None


def _call(target: str, function: Any, *args: Any, **keywords: Any) -> Callable[..., Any]:
    _callable(target, function)
    try:
        value = function(*args, **keywords)
    except (Exception, SystemExit) as exc:
        raise _failure(exc) from exc
    return _callable(f"what {target!r} returned", value, quote=False)


def _callable(target: str, value: Any, *, quote: bool = True) -> Callable[..., Any]:
    what = repr(target) if quote else target
    if isinstance(value, ModuleType):
        name = next((name for name in _NAMES if hasattr(value, name)), _NAMES[-1])
        raise AppError(f"{what} is a module, and no WSGI application; did you mean {value.__name__}:{name}?")
    if not callable(value):
        raise AppError(f"{what} is of type {type(value).__name__} and can't be called, so it is no WSGI application")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(type(value).__call__):
        raise AppError(f"{what} is async, as ASGI applications are, and greenserve serves WSGI applications")
    return value  # type: ignore[no-any-return]  # callable() narrows Any to Any


def _application(target: str, value: Any) -> Callable[..., Any]:
    app = _callable(target, value)
    if not _may_take_a_request(value):
        raise AppError(
            f"{target!r} can't be called with environ and start_response, so it is no WSGI application. "
            f"If it makes one, add --factory or write {target}()"
        )
    return app


def _may_take_a_request(app: Any) -> bool:
    """Whether it can be called as PEP 3333 says. True wherever that can't be told for sure.

    Only a function that is written in Python says for sure which arguments it takes.
    """
    function: Any
    kind: Any = type(app)
    if issubclass(kind, type):
        if app.__new__ is not object.__new__ or kind.__call__ is not type.__call__:
            return True
        function, count = inspect.getattr_static(app, "__init__"), 3
        if function is object.__init__:
            return False
    elif kind is FunctionType:
        function, count = app, 2
    elif kind is MethodType:
        function, count = app.__func__, 3
    else:
        function, count = inspect.getattr_static(kind, "__call__"), 3
    if type(function) is not FunctionType or hasattr(function, "__signature__"):
        return True
    try:
        # Its own, and not that of what it wraps: a decorator may well make a WSGI application of something else.
        inspect.signature(function, follow_wrapped=False).bind(*[None] * count)
    except TypeError:
        return False
    return True


def _failure(exc: BaseException) -> AppError:
    """Return the error with the traceback of ``exc``, cut off above the user's code."""
    tb = exc.__traceback__
    while tb is not None and _is_machinery(tb):
        tb = tb.tb_next
    text = "".join(traceback.format_exception(type(exc), exc, tb)).rstrip()
    hint = "\nIt left the program while it was loaded." if isinstance(exc, SystemExit) else ""
    return AppError(text + hint)


def _is_machinery(tb: TracebackType) -> bool:
    file = tb.tb_frame.f_code.co_filename
    return file.startswith((_HERE, "<frozen importlib")) or file == importlib.__file__
