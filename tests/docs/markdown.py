"""A page of documentation as values: its fenced blocks with their markers, its headings, its links. Runs nothing.

A marker is a comment on a line before a block, ``<!-- test: NAME ARGUMENT -->``; docs/howto/contribute.md tells what
each does. ``python -m tests.docs.markdown PAGE NAME`` prints the block that is marked ``ci NAME``: so .ci/run takes
its commands from the README. Needs nothing but the standard library for that.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent

MARKERS = frozenset({"calls", "ci", "continue", "excerpt", "file", "output", "serve", "skip"})

# CommonMark 0.31 section 4.5: a fence is three or more backticks or tildes; it ends with at least as many.
_FENCE = re.compile(r"(?P<indent>\s*)(?P<fence>`{3,}|~{3,})\s*(?P<language>[^\s`]*)[^`]*")
_MARKER = re.compile(r"\s*<!-- test: (?P<name>\S+)(?: (?P<argument>.*\S))? -->\s*")
_HEADING = re.compile(r"#{1,6} +(.+?)(?: +#+)?")
_LINK = re.compile(
    r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE
)
_CODE_SPAN = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """One fenced block."""

    line: int  # of its opening fence, from 1
    language: str
    text: str
    markers: dict[str, str]  # a marker's name: its argument, "" for none


class Page(NamedTuple):
    """One file of documentation."""

    path: Path
    blocks: list[Block]
    stray_markers: list[int]  # lines of markers that no block follows
    anchors: frozenset[str]
    links: list[tuple[int, str]]  # line, target as written
    code_spans: list[tuple[int, str]]

    def __str__(self) -> str:
        return self.path.relative_to(ROOT).as_posix() if self.path.is_relative_to(ROOT) else self.path.name


def find_pages() -> list[Page]:
    """Return README.md and everything under docs/."""
    return [parse(path.read_text(), path) for path in [*ROOT.glob("README.md"), *sorted((ROOT / "docs").rglob("*.md"))]]


def parse(text: str, path: Path) -> Page:
    blocks: list[Block] = []
    stray: list[int] = []
    pending: dict[str, str] = {}
    pending_line = 0
    prose: list[str] = []  # the lines outside blocks, "" for those inside
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if match := _MARKER.fullmatch(line):
            pending[match["name"]] = match["argument"] or ""
            pending_line = number
            prose.append("")
        elif match := _FENCE.fullmatch(line):
            prose.append("")
            body = []
            for _, inner in lines:
                prose.append("")
                if inner.strip().startswith(match["fence"]) and not inner.strip(" `~"):
                    break
                body.append(inner)
            blocks.append(Block(number, match["language"], textwrap.dedent("\n".join(body)) + "\n", pending))
            pending = {}
        else:
            if line.strip() and pending:
                stray.append(pending_line)
                pending = {}
            prose.append(line)
    if pending:
        stray.append(pending_line)
    return Page(path, blocks, stray, _anchors(prose), _links(prose), _spans(prose))


def _anchors(prose: list[str]) -> frozenset[str]:
    """Return the headings' anchors as the common hosts make them: lower case, no punctuation, - for a space."""
    headings = [match[1] for line in prose if (match := _HEADING.fullmatch(line))]
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def _links(prose: list[str]) -> list[tuple[int, str]]:
    found = []
    for number, line in enumerate(prose, 1):
        without_code = _CODE_SPAN.sub(lambda match: "`" * len(match[0]), line)
        found += [(number, inline or defined) for inline, defined in _LINK.findall(without_code)]
    return found


def _spans(prose: list[str]) -> list[tuple[int, str]]:
    return [(number, span) for number, line in enumerate(prose, 1) for span in _CODE_SPAN.findall(line)]


def find_ci_block(page: Page, name: str) -> str:
    """Return the text of the one block marked ``ci NAME``.

    Raises:
        LookupError: There is none, or more than one.
    """
    found = [block.text for block in page.blocks if block.markers.get("ci") == name]
    if len(found) != 1:
        raise LookupError(f"{page} has {len(found)} blocks marked <!-- test: ci {name} -->, where one is wanted")
    return found[0]


if __name__ == "__main__":
    page_path = Path(sys.argv[1]).resolve()
    sys.stdout.write(find_ci_block(parse(page_path.read_text(), page_path), sys.argv[2]))
