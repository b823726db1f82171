"""What joins greenserve to other packages: each module is wholly about one of them, and nobody here imports it."""

from __future__ import annotations

__all__: list[str] = []
