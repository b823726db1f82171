"""Stacks as values, and as text. Knows frames; no green threads, no hubs."""

from __future__ import annotations

import linecache
from collections.abc import Iterable
from types import CodeType, FrameType
from typing import NamedTuple

from greenserve.core.report import is_core

__all__ = ["Place", "Stack", "StackReader", "format_stack"]


class Place(NamedTuple):
    """One line of a stack."""

    file: str
    line: int  # 0: unknown
    function: str


# The outermost place first, as in a traceback.
Stack = tuple[Place, ...]


class StackReader:
    """Reads stacks, and knows those again that it has read: most of 10,000 green threads wait at the same place."""

    def __init__(self) -> None:
        # By the frames' code and instruction. The codes are kept, so that their ids stay theirs.
        self._known: dict[tuple[int, ...], tuple[Stack, list[CodeType]]] = {}

    def read(self, frame: FrameType | None) -> Stack:
        """Return the stack of ``frame`` and what called it, without the machinery of waiting at either end.

        The same tuple for the same places.
        """
        frames = []
        key = []
        while frame is not None:
            frames.append(frame)
            # Not the code itself: its hash is that of all its contents.
            key += [id(frame.f_code), frame.f_lasti]
            frame = frame.f_back
        known = self._known.get(tuple(key))
        if known is None:
            codes = [frame.f_code for frame in frames]
            known = self._known[tuple(key)] = _places(frames), codes
        return known[0]


def _places(frames: list[FrameType]) -> Stack:
    """Return the places of ``frames``, of which the innermost comes first."""
    shown = frames[:]
    while shown and is_core(shown[0]):
        del shown[0]
    while shown and is_core(shown[-1]):
        del shown[-1]
    # If it is nothing but machinery, such as a green thread of `sleep`: all but what every green thread begins with.
    shown = shown or frames[:-1] or frames
    return tuple(Place(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name) for frame in shown[::-1])


def format_stack(stack: Iterable[Place], indent: str = "") -> list[str]:
    """Return the lines that a traceback has for ``stack``."""
    lines = []
    for place in stack:
        lines.append(f'{indent}File "{place.file}", line {place.line}, in {place.function}')
        source = linecache.getline(place.file, place.line).strip()
        if source:
            lines.append(f"{indent}  {source}")
    return lines
