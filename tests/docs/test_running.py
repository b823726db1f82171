"""The runner of pages, on pages made for it: what passes, and what must be reported."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.docs.markdown import parse
from tests.docs.running import PageRun, check_excerpt, check_output, reserve_port, split_commands

SERVER = """
import socket
with socket.create_server(("127.0.0.1", 8000)) as listener:
    print("serving at http://127.0.0.1:8000/", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nhello")
        connection.close()
"""

SERVED = f"<!-- test: serve -->\n```python\n{SERVER}```\n"
SERVED_BY_COMMAND = f"""<!-- test: file app.py -->
```python
{SERVER}```

<!-- test: serve -->
```console
$ python app.py
serving at http://127.0.0.1:8000/
```
"""
EXCERPT = "<!-- test: excerpt tests/docs/test_running.py -->\n```python\n{}\n```\n"


def run(text: str, folder: Path) -> None:
    PageRun(parse(text, Path("page.md")), folder).run()


@pytest.mark.parametrize(
    "text",
    [
        "```python\nassert 1\n```\n",
        "```python\na = 1\n```\n<!-- test: continue -->\n```python\nassert a == 1\n```\n",
        "```python\nprint('x')\n```\n<!-- test: output -->\n```text\nx\n```\n",
        "```pycon\n>>> 1 + 1\n2\n```\n",
        "```console\n$ echo one two\none ...\n$ true\n```\n",
        "```bash\nset -o | grep pipefail | grep on\n```\n",
        "<!-- test: file hello.py -->\n```python\nx = 5\n```\n```python\nimport hello\nassert hello.x == 5\n```\n",
        "<!-- test: skip it can't work -->\n```python\nraise SystemExit(1)\n```\n",
        "<!-- test: ci tests -->\n```bash\nfalse\n```\n",
        "```text\nprose\n```\n",
        SERVED,
        SERVED_BY_COMMAND,
        EXCERPT.format("def run(text: str, folder: Path) -> None:"),
    ],
)
def test_a_page_that_tells_the_truth_passes(text: str, tmp_path: Path) -> None:
    run(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n```python\nraise KeyError(5)\n```\n", "page.md:2: exit code 1\n.*KeyError: 5"),
        ("```python\na = 1\n```\n```python\na\n```\n", "page.md:4: exit code 1\n.*NameError"),
        ("```python\nprint('x')\n```\n<!-- test: output -->\n```text\ny\n```\n", "page.md:5: shows\ny\n"),
        ("```pycon\n>>> 1 + 1\n3\n```\n", "page.md:1: exit code 1\n.*Expected:\n +3"),
        ("```console\n$ echo one\ntwo\n```\n", "page.md:1: shows\ntwo\n"),
        ("```console\n$ exit 3\n```\n", "page.md:1: exit code 3"),
        ("```console\nls\n```\n", "page.md:1: a console block begins with"),
        ("```bash\nfalse\ntrue\n```\n", "page.md:1: exit code 1"),
        ("<!-- test: file a.py -->\n```python\n```\n", "page.md: saved, but never used: a.py"),
        ("<!-- test: serve -->\n```python\nprint('no')\n```\n", "page.md:2: ended with 0 before it served\nno"),
        (
            SERVED_BY_COMMAND.replace("$ python app.py\nserving", "$ python app.py\nwaiting"),
            "page.md:14: shows\n...\nwaiting at",
        ),
        (EXCERPT.format("def is_not_there():"[::-1]), "page.md:2: not in the source"),
    ],
)
def test_a_page_that_does_not_is_reported_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        run(text, tmp_path)


def test_a_served_path_is_asked_for(tmp_path: Path) -> None:
    page = SERVED.replace("serve", "serve /x", 1)
    run(page, tmp_path)
    with pytest.raises(AssertionError, match="GET /x answered 404"):
        run(page.replace("200 OK", "404 Not Found"), tmp_path)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("a\n", "a\n"),
        ("a\n", "a"),
        ("a ... c\n", "a b c\n"),
        ("...\n", "a\nb\n"),
        ("a\n...\nb\n", "a\nb\n"),
        ("a\n...\nb\n", "a\nx\ny\nb\n"),
        ("a.c(\n", "a.c(\n"),
    ],
)
def test_an_output_matches(expected: str, actual: str) -> None:
    check_output(expected, actual)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [("a\n", "b\n"), ("a\n", "a\nb\n"), ("a ... c\n", "a\nc\n"), ("a.c\n", "abc\n"), ("a\n", "")],
)
def test_an_output_does_not_match(expected: str, actual: str) -> None:
    with pytest.raises(AssertionError):
        check_output(expected, actual)


@pytest.mark.parametrize("excerpt", ["a\nb\n", "  b\n  c\n", "a\n...\nd\n", "b\n\nc\n", "...\nd\n"])
def test_an_excerpt_is_found(excerpt: str) -> None:
    check_excerpt(excerpt, "a\n  b\n\n  c\nd\n")


@pytest.mark.parametrize("excerpt", ["x\n", "a\nc\n", "b\na\n", "d\n...\na\n"])
def test_an_excerpt_is_not_found(excerpt: str) -> None:
    with pytest.raises(AssertionError):
        check_excerpt(excerpt, "a\n  b\n\n  c\nd\n")


def test_commands_are_split_with_their_outputs() -> None:
    text = "$ one\n1\n2\n$ two \\\n> more\n3\n"
    assert split_commands(text) == [("one", "1\n2\n"), ("two \\\nmore", "3\n")]


def test_a_reserved_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", reserve_port())) as listener:
        assert listener.getsockname()[1] > 0
