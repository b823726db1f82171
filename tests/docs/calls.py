"""What a page says about which function calls which, and what a real request says about it.

A block of calls has a function on each line, with the file that defines it, indented below the one that it stands on:

    Run.execute                 wsgi/run.py
      Response.start            wsgi/response.py

Short of ``greenserve/``; a file of another package is named by its path from there, such as ``flask/app.py``.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

from tests.docs.markdown import ROOT, Block

_LINE = re.compile(r"(?P<indent> *)(?P<name>[\w.]+) {2,}(?P<file>[\w/.]+\.py)")


class Line(NamedTuple):
    """One line of a block."""

    name: str  # as ``__qualname__`` has it
    file: str
    caller: int | None  # the index of the line that it stands below, None for the outermost


class Call(NamedTuple):
    """One call as it happened."""

    code: CodeType
    callers: frozenset[CodeType]  # everything that it stood on


def parse_calls(block: Block) -> list[Line]:
    """Return the lines of a block.

    Raises:
        AssertionError: A line is none of a function and its file.
    """
    lines: list[Line] = []
    open_lines: list[tuple[int, int]] = []  # indentation and index of the lines that the next one may stand below
    for text in block.text.splitlines():
        match = _LINE.fullmatch(text)
        assert match, f"not a function with its file: {text!r}"
        indent = len(match["indent"])
        while open_lines and open_lines[-1][0] >= indent:
            open_lines.pop()
        lines.append(Line(match["name"], match["file"], open_lines[-1][1] if open_lines else None))
        open_lines.append((indent, len(lines) - 1))
    return lines


def find_code(line: Line) -> CodeType:
    """Return the code of the function, looked up where the line says that it is defined.

    Raises:
        AssertionError: There is none.
    """
    path = f"greenserve/{line.file}" if (ROOT / "greenserve" / line.file).is_file() else line.file
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    found: Any = module
    for part in line.name.split("."):
        found = vars(found).get(part)
        assert found is not None, f"{line.file} defines no {line.name}"
    found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
    assert isinstance(found, FunctionType), f"{line.name} in {line.file} is no function"
    assert found.__module__ == module.__name__, f"{line.name} is defined in {found.__module__}, not in {line.file}"
    return found.__code__


@contextmanager
def record_calls() -> Iterator[list[Call]]:
    """Record the calls of Python functions in this OS thread, in whatever green thread."""
    calls: list[Call] = []

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            calls.append(Call(frame.f_code, frozenset(_callers(frame))))

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def _callers(frame: FrameType | None) -> Iterator[CodeType]:
    while frame := frame and frame.f_back:
        yield frame.f_code


def check_calls(lines: list[Line], calls: list[Call], find: Callable[[Line], CodeType], often: frozenset[str]) -> None:
    """Hold lines against what happened: each of their functions is called where the lines have it, and nowhere else.

    Functions that no line names may be called at any time; so may those called ``often``, beside where they are named.

    Raises:
        AssertionError: Another function was called than the next line's, or below another one.
    """
    codes = [find(line) for line in lines]
    names = dict(zip(codes, [line.name for line in lines]))
    remaining = iter(calls)
    for number, (line, code) in enumerate(zip(lines, codes)):
        call = next((call for call in remaining if _is_told(call, code, names, often)), None)
        assert call is not None, f"line {number + 1}: {line.name} is not called"
        assert call.code is code, f"line {number + 1}: {names[call.code]} is called, where the page has {line.name}"
        if line.caller is not None:
            caller = lines[line.caller].name
            assert codes[line.caller] in call.callers, f"line {number + 1}: {line.name} does not stand on {caller}"
    late = [names[call.code] for call in remaining if _is_told(call, None, names, often)]
    assert not late, f"called after the page's last line: {late}"


def _is_told(call: Call, wanted: CodeType | None, names: dict[CodeType, str], often: frozenset[str]) -> bool:
    return call.code is wanted or (call.code in names and names[call.code] not in often)
