"""Who is parked where, as text for a person. Looks, and changes nothing. Knows greenlets and frames, no hub.

Looking for greenlets through the garbage collector costs nothing until somebody asks, where a registry would cost
every spawn.
"""

from __future__ import annotations

import gc
import os
from itertools import compress
from types import FrameType

from greenlet import greenlet

__all__ = ["all_greenlets", "describe_parked", "describe_place", "is_core", "parked_greenlets"]

# The machinery of waiting itself says nothing about who waits on what.
_CORE = os.path.dirname(os.path.abspath(__file__)) + os.sep

# Nor do locks and queues about whose they are: that stands where they are called.
_OURS = os.path.dirname(os.path.dirname(_CORE)) + os.sep


def all_greenlets() -> list[greenlet]:
    """Every greenlet of the process, of whatever OS thread, in no order."""
    objects = gc.get_objects()
    # No line of Python for each object, since there may be millions. Not isinstance: it asks an object for its
    # __class__, and a lazy one would then come to life.
    kinds = dict(zip(map(id, map(type, objects)), map(type, objects)))
    wanted = {number for number, kind in kinds.items() if issubclass(kind, greenlet)}
    return list(compress(objects, map(wanted.__contains__, map(id, map(type, objects)))))


def parked_greenlets(hub: greenlet) -> list[greenlet]:
    """Every greenlet that is parked in the thread of ``hub``, without ``hub`` itself."""
    root = _root(hub)
    return [
        found for found in all_greenlets() if found is not hub and found.gr_frame is not None and _root(found) is root
    ]


def describe_parked(hub: greenlet) -> str:
    """One line for each parked greenlet: what it is, the innermost line that is not the core's, and who called that.

    The caller is the innermost line of code that is not this package's, where there is one.
    """
    lines = [f"  {found!r} waits at {_describe_wait(found.gr_frame)}" for found in parked_greenlets(hub)]
    return "Parked:\n" + "\n".join(lines) if lines else "No greenlet is parked."


def _describe_wait(frame: FrameType | None) -> str:
    place = describe_place(frame)
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    caller = describe_place(frame)
    return place if frame is None or caller == place else f"{place}, called at {caller}"


def _root(current: greenlet) -> greenlet:
    while current.parent is not None:
        current = current.parent
    return current


def is_core(frame: FrameType) -> bool:
    """Whether a frame is of the machinery of waiting."""
    return frame.f_code.co_filename.startswith(_CORE)


def describe_place(frame: FrameType | None) -> str:
    """File, line and function of the innermost frame that is not the core's."""
    innermost = frame
    while frame is not None and is_core(frame):
        frame = frame.f_back
    frame = frame or innermost
    if frame is None:
        return "an unknown place"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
