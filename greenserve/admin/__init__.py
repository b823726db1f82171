"""What a person looks at to see what a server does: a page, live, and the same in a terminal. Changes nothing in it.

``history`` makes rates and percentiles of a board's figures, ``app`` is the page, ``top`` the terminal, and ``watch``
puts together what the settings ask for, with metrics and probes, in whichever process it belongs.
"""

from __future__ import annotations

from greenserve.admin.watch import Watch, check_admin

__all__ = ["Watch", "check_admin"]
