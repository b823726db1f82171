"""``python -m greenserve``: the same as the command ``greenserve``."""

from __future__ import annotations

import sys

from greenserve.cli import main

if __name__ == "__main__":
    sys.exit(main())
