"""The documentation tells the truth: its blocks run, its links lead somewhere, the files and names in it exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from greenserve.configfile import DEFAULT_FILE
from tests.docs.markdown import MARKERS, ROOT, Page, find_ci_block, find_pages
from tests.docs.members import find_members
from tests.docs.running import PORTS, PageRun

PAGES = find_pages()
TEXTS = {page.path: page for page in PAGES}
MEMBERS = find_members()

# What a reader runs, and what a reader only looks at.
RUN = frozenset({"bash", "console", "pycon", "python"})
SHOWN = frozenset({"dockerfile", "haproxy", "html", "http", "ini", "json", "nginx", "text", "toml", "yaml"})

_FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|md|toml)")
_MEMBER = re.compile(r"([A-Z]\w*)\.(\w+)(?:\(.*\))?")
_CALL = re.compile(r"(greenserve(?:\.\w+)+)\(.*\)")


@pytest.fixture(params=PAGES, ids=str)
def page(request: pytest.FixtureRequest) -> Page:
    found: Page = request.param
    return found


@pytest.mark.timeout(180)
def test_every_block_of_a_page_does_what_the_page_says(page: Page, tmp_path: Path) -> None:
    PageRun(page, tmp_path).run()


def test_every_block_says_what_it_is(page: Page) -> None:
    assert [block.line for block in page.blocks if block.language not in RUN | SHOWN] == []


def test_every_marker_is_known_and_stands_before_a_block(page: Page) -> None:
    assert [(block.line, name) for block in page.blocks for name in block.markers.keys() - MARKERS] == []
    assert page.stray_markers == []
    assert [block.line for block in page.blocks if block.markers.get("skip") == ""] == [], "a skip needs its reason"


def test_examples_use_only_ports_that_the_tests_can_replace(page: Page) -> None:
    addresses = r"(?:127\.0\.0\.1|0\.0\.0\.0|localhost|\[::1?\]|)[\"']?(?::|, )(\d{4,5})\b"
    used = {port for block in page.blocks if block.language in RUN for port in re.findall(addresses, block.text)}
    assert used <= set(PORTS)


def test_a_proxy_in_an_example_leaves_no_field_to_the_client_that_the_server_believes(page: Page) -> None:
    believed = {"Forwarded", *(f"X-Forwarded-{name}" for name in ("For", "Proto", "Host", "Port"))}
    missing = [
        (block.line, believed - set(re.findall(r"proxy_set_header (\S+)", block.text)))
        for block in page.blocks
        if block.language == "nginx" and "proxy_pass" in block.text
    ]
    assert [(line, names) for line, names in missing if names] == []


def test_every_link_leads_to_something_that_exists(page: Page) -> None:
    dead = []
    for line, target in page.links:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.path.parent / name).resolve() if name else page.path
        if not path.exists():
            dead.append(f"{page}:{line}: {target}: no such file")
        elif anchor and path.suffix == ".md" and anchor not in TEXTS[path].anchors:
            dead.append(f"{page}:{line}: {target}: no such heading")
        elif anchor and path.suffix != ".md":
            dead.append(f"{page}:{line}: {target}: line numbers move; link to the file")
    assert dead == []


def test_every_file_that_a_page_names_exists(page: Page) -> None:
    examples = {block.markers["file"] for block in page.blocks if "file" in block.markers} | {DEFAULT_FILE}
    missing = [
        f"{page}:{line}: {span}"
        for line, span in page.code_spans
        if _FILE.fullmatch(span) and span not in examples and not is_file_of_ours(span, page.path.parent)
    ]
    assert missing == []


def is_file_of_ours(name: str, folder: Path) -> bool:
    """Whether the name is a path from the page, the project or the package, or the end of a path in the package."""
    return any((base / name).is_file() for base in (folder, ROOT, ROOT / "greenserve")) or any(
        (ROOT / "greenserve").rglob(name)
    )


def test_every_function_that_a_page_calls_by_its_full_name_exists(page: Page) -> None:
    missing = [
        f"{page}:{line}: {span}"
        for line, span in page.code_spans
        if (match := _CALL.fullmatch(span)) and not can_be_called(match[1])
    ]
    assert missing == []


def can_be_called(dotted: str) -> bool:
    """Whether the dotted name is something callable, under the longest part of it that is a module."""
    parts = dotted.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return callable(found)
    return False


def test_every_member_that_a_page_names_exists(page: Page) -> None:
    missing = [
        f"{page}:{line}: {span}"
        for line, span in page.code_spans
        if (match := _MEMBER.fullmatch(span)) and match[2] not in MEMBERS.get(match[1], ())
    ]
    assert missing == []


def test_the_readme_holds_the_two_commands() -> None:
    readme = next(page for page in PAGES if page.path.name == "README.md")
    assert find_ci_block(readme, "run").count("\n") == 1
    assert find_ci_block(readme, "tests").count("\n") == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("greenserve.errors.BadRequest", True),
        ("greenserve.errors.Missing", False),
        ("greenserve.nothing.at_all", False),
    ],
)
def test_names_are_looked_up_as_a_reader_would(name: str, expected: bool) -> None:
    assert can_be_called(name) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("greenserve/errors.py", True), ("errors.py", True), ("pyproject.toml", True), ("nothing.py", False)],
)
def test_files_are_looked_up_as_a_reader_would(name: str, expected: bool) -> None:
    assert is_file_of_ours(name, ROOT / "docs") is expected


def test_the_map_leads_to_every_page() -> None:
    map_page = next(page for page in PAGES if page.path == ROOT / "docs" / "index.md")
    linked = {(map_page.path.parent / target.partition("#")[0]).resolve() for _, target in map_page.links}
    pages = {page.path for page in PAGES if page.path.is_relative_to(ROOT / "docs")}
    assert pages - linked - {map_page.path} == set()
