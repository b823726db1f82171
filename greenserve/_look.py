"""How the pages of greenserve look: the stylesheet that they begin with. Knows none of them."""

from __future__ import annotations

from importlib import resources

__all__ = ["LOOK"]

LOOK = resources.files("greenserve").joinpath("_look.css").read_text("utf-8")
