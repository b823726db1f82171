"""The table of layers on the page about the architecture, against the one that the layer test holds."""

from __future__ import annotations

import re

from tests.docs.markdown import ROOT
from tests.layers import EVERYWHERE, LAYERS, PACKAGE

PAGE = ROOT / "docs" / "explanation" / "architecture.md"

# They only pass on to the command, or only gather names.
NOT_TOLD = {"__init__", "__main__"}

_ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \|", re.MULTILINE)


def test_the_page_has_each_layer_of_the_package_in_order_with_what_it_may_import() -> None:
    told: dict[str, frozenset[str]] = {}
    for name, imports in _ROW.findall(PAGE.read_text()):
        told[name] = frozenset(told if imports == "all above" else re.findall(r"\w+", imports))
    expected = {name: allowed & told.keys() for name, allowed in LAYERS.items() if name in told}
    assert told == expected
    assert list(told) == list(expected)
    rows = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rows - EVERYWHERE - NOT_TOLD <= told.keys()
