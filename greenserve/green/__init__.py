"""The standard library's modules, cooperative: each module here has what differs in the one of the same name.

They work whether or not the process is patched, and know nothing of that: `greenserve.monkey` is what writes them into
the standard library. What they don't have is the same there. ``ssl`` is loaded by whoever asks for it.
"""

from __future__ import annotations
