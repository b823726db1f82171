"""Running a program as Python itself would, in a process to which something was done first. Knows not what that is.

Facts this rests on (CPython's ``runpy`` and ``Modules/main.c``):

- ``runpy`` puts a module called ``__main__`` in place for as long as the program's own code runs, and no longer. Python
  itself keeps it: threads, ``atexit`` functions and whoever pickles find the program's classes there.
- A script's ``__file__`` is absolute since Python 3.9; its ``sys.argv[0]`` is what the user wrote.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import pkgutil
import runpy
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

__all__ = ["run_program"]


def run_program(argv: list[str], usage: str, prepare: Callable[[], object]) -> None:
    """Call ``prepare()``, then run the program that ``argv`` names: ``SCRIPT [ARGS]`` or ``-m MODULE [ARGS]``.

    Raises:
        SystemExit: ``argv`` asks for help, and ``usage`` is printed; or names no program, and it is an error.
    """
    if not argv or argv[0] in {"-h", "--help"} or (argv[0] == "-m" and len(argv) < 2):
        stream = sys.stdout if argv[:1] in (["-h"], ["--help"]) else sys.stderr
        stream.write(usage)
        raise SystemExit(0 if stream is sys.stdout else 2)
    prepare()
    if argv[0] == "-m":
        sys.argv = argv[1:]
        _run_module(argv[1])
    else:
        sys.argv = argv
        _run_script(os.path.abspath(argv[0]))


def _run_module(name: str) -> None:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise  # a package on the way to it misses something
        spec = None
    loader: Any = None if spec is None else spec.loader
    code = None if spec is None or loader is None else loader.get_code(spec.name)
    if spec is None or code is None:
        raise SystemExit(f"{sys.executable}: No module named {name}, or none that can be run")
    sys.argv[0] = spec.origin or name
    _run(code, __file__=spec.origin, __cached__=spec.cached, __loader__=loader, __package__=spec.parent, __spec__=spec)


def _run_script(path: str) -> None:
    # The current directory is where Python looks first for `-m`; a script's own directory takes its place.
    sys.path[0] = os.path.dirname(path)
    if path.endswith(".pyc") or pkgutil.get_importer(path) is not None:  # compiled, a directory, or an archive
        runpy.run_path(sys.argv[0], run_name="__main__")
        return
    loader = SourceFileLoader("__main__", path)
    try:
        source = loader.get_data(path)
    except OSError as exc:
        sys.stderr.write(f"{sys.executable}: can't open file {path!r}: {exc.strerror}\n")
        raise SystemExit(2) from None
    code = loader.source_to_code(source, path)
    _run(code, __file__=path, __cached__=None, __loader__=loader, __package__=None, __spec__=None)


def _run(code: CodeType, **facts: Any) -> None:
    main = ModuleType("__main__")
    vars(main).update(facts, __builtins__=builtins)
    sys.modules["__main__"] = main
    exec(code, vars(main))
