"""The configurations in the guides, and their commands, with free ports in place of those that they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.docs.markdown import ROOT, Block, parse
from tests.docs.running import reserve_port
from tests.supervisor.running import APP, Master

HOWTO = ROOT / "docs" / "howto"

# Of a proxy, behind the last colon of an address; and of greenserve.
_PUBLIC = "80"
_PORTS = re.compile(r"(?<=[: ])(?:80|8000|8001|8080|7000)(?!\w)")


def blocks(page: str, language: str) -> list[Block]:
    """Return the blocks of a how-to page in one language."""
    path = HOWTO / page
    return [block for block in parse(path.read_text(), path).blocks if block.language == language]


def saved(page: str, name: str) -> str:
    """Return the file that a page tells to save under this name."""
    (block,) = [block for block in blocks(page, "python") if block.markers.get("file") == name]
    return block.text


def commands(page: str) -> list[list[str]]:
    """Return the arguments of each ``$ greenserve`` in the order of the page."""
    lines = [line for block in blocks(page, "console") for line in block.text.splitlines()]
    return [line.split()[2:] for line in lines if line.startswith("$ greenserve ")]


class Ports:
    """Free ports, each in place of one that a page names."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}

    @property
    def public(self) -> int:
        """Where the proxy listens."""
        return self.of(_PUBLIC)

    def of(self, written: str) -> int:
        if written not in self._ports:
            self._ports[written] = reserve_port()
        return self._ports[written]

    def replace(self, text: str) -> str:
        """Return the text with the ports replaced; a proxy listens on the loopback alone."""
        text = text.replace(f"bind :{_PUBLIC}", f"bind 127.0.0.1:{_PUBLIC}")
        return _PORTS.sub(lambda match: str(self.of(match[0])), text)


@contextmanager
def serving(folder: Path, *args: str, app: str = APP, **master: Any) -> Iterator[Master]:
    """Run greenserve with a guide's arguments, for the application ``shop.wsgi:app``."""
    (folder / "shop").mkdir()
    (folder / "shop" / "wsgi.py").write_text(app + "\napplication = app\n")
    running = Master(folder, *args, **master)
    try:
        yield running
    finally:
        running.close()
