"""A message bus between the processes of one machine, over Unix sockets in a folder. Knows nothing of what is said.

The way through it: `place` says which bus a worker is on, `members` is who else is, `frames` is how a message looks on
the way, `peers` is what is on its way to one member, and `bus` is what a program holds.
"""

from __future__ import annotations
