"""What becomes of the memory of large bodies when it is free again."""

from __future__ import annotations

__all__ = ["keep_freed_memory"]

_SIZE = 16 << 20


def keep_freed_memory() -> None:
    """Let the C library keep the memory of bodies for the next ones, as far as it is a few tens of megabytes.

    glibc gives back what lies free at the end of its heap as soon as that is more than twice the largest block that was
    ever mapped by itself and freed (mallopt(3), M_TRIM_THRESHOLD and the dynamic M_MMAP_THRESHOLD). With bodies of some
    megabytes that is at nearly every request, and the system has to find and clear each page again for the next one: a
    fifth of the time that an upload costs. So one such block is mapped here and freed; nothing is ever written to it.
    Other C libraries notice nothing.
    """
    bytes(_SIZE)
