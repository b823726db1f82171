from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import Block, Page, find_ci_block, parse


def page(text: str) -> Page:
    return parse(text, Path("page.md"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```python\na = 1\n```\n", [Block(1, "python", "a = 1\n", {})]),
        ("~~~ console\n$ ls\n~~~\n", [Block(1, "console", "$ ls\n", {})]),
        ("````text\n```\n````\n", [Block(1, "text", "```\n", {})]),
        ("1. first\n\n   ```python\n   if a:\n       b\n   ```\n", [Block(3, "python", "if a:\n    b\n", {})]),
        ("```\nno language\n```\n", [Block(1, "", "no language\n", {})]),
        ("```python title=x\na\n```\n", [Block(1, "python", "a\n", {})]),
        ("```python\nnever closed\n", [Block(1, "python", "never closed\n", {})]),
        ("text with ```code``` in it\n", []),
        ("<!-- test: serve -->\n```python\na\n```\n", [Block(2, "python", "a\n", {"serve": ""})]),
        (
            "<!-- test: file a.py -->\n<!-- test: serve /x -->\n\n```python\na\n```\n\n```python\nb\n```\n",
            [Block(4, "python", "a\n", {"file": "a.py", "serve": "/x"}), Block(8, "python", "b\n", {})],
        ),
    ],
)
def test_blocks_are_found_with_their_markers(text: str, expected: list[Block]) -> None:
    assert page(text).blocks == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<!-- test: skip no block -->\n", [1]),
        ("\n<!-- test: serve -->\nprose\n```python\na\n```\n", [2]),
        ("<!-- a comment -->\n", []),
    ],
)
def test_a_marker_without_a_block_is_stray(text: str, expected: list[int]) -> None:
    assert page(text).stray_markers == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see [a](b.md) and [c](d/e.md#f)\n", [(1, "b.md"), (1, "d/e.md#f")]),
        ("\n[`code`](x.py)\n", [(2, "x.py")]),
        ('[a](b.md "title")\n', [(1, "b.md")]),
        ("[ref]: target.md\n", [(1, "target.md")]),
        ("`[not](a-link)`\n", []),
        ("```text\n[not](a-link)\n```\n", []),
        ("a[0](1)\n", [(1, "1")]),
    ],
)
def test_links_are_found_outside_code(text: str, expected: list[tuple[int, str]]) -> None:
    assert page(text).links == expected


def test_headings_become_anchors() -> None:
    found = page("# A tour\n## `wsgi.server`, and *why*\n```text\n# no heading\n```\n").anchors
    assert found == {"a-tour", "wsgiserver-and-why"}


def test_code_spans_come_with_their_lines() -> None:
    assert page("a `b.py`\n\n`c()` `d`\n").code_spans == [(1, "b.py"), (3, "c()"), (3, "d")]


def test_a_block_for_ci_is_found_by_its_name() -> None:
    text = "<!-- test: ci run -->\n```bash\na\n```\n<!-- test: ci tests -->\n```bash\nb\n```\n"
    assert find_ci_block(page(text), "tests") == "b\n"
    with pytest.raises(LookupError, match="has 0 blocks marked <!-- test: ci other -->"):
        find_ci_block(page(text), "other")
