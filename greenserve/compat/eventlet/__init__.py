"""eventlet's names, on greenserve: `install()`, and what was written for eventlet goes on running.

``import eventlet`` and everything below it then finds `greenserve.compat.eventlet._face`, a package whose modules have
the names of eventlet's. Old spellings, private names that others touch and historical quirks live there alone.
`greenserve.compat.table` says of each name what differs.

``python -m greenserve.compat.eventlet SCRIPT`` runs an unmodified program.
"""

from __future__ import annotations

from greenserve.compat.eventlet._install import INHERIT, InstalledTooLate, install, is_installed

__all__ = ["INHERIT", "InstalledTooLate", "install", "is_installed"]
