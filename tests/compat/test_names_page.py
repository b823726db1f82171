"""docs/reference/eventlet-names.md is what the table says; ``python -m tests.compat.test_names_page`` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from greenserve.compat.table import KEYWORDS, NAMES, NOTES, Note, Verdict, find_note

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "eventlet-names.md"

HEAD = """\
# Names of eventlet and gevent

What becomes of each public name of eventlet 0.41 under `greenserve.compat.eventlet`, and what to write for gevent's,
made from the table in `greenserve/compat/table.py`. `greenserve-migrate PATH` reports the same for each use in a code
base. [Move from eventlet](../howto/move-from-eventlet.md) and [Move from gevent](../howto/move-from-gevent.md) say how.
"""


def render() -> str:
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    eventlet = {name: note for name, note in NOTES.items() if name.startswith("eventlet")}
    gevent = {name: note for name, note in NOTES.items() if name.startswith("gevent")}
    changed = {name: note for name, note in eventlet.items() if note.verdict is Verdict.CHANGE}
    changed |= {f"{call}({keyword}={value!r})": note for (call, keyword, value), note in KEYWORDS.items()}
    yield "## Not carried over\n"
    yield _table("Name", "Reason, and what to use", changed)
    yield "## With a difference\n"
    differing = {name: note for name, note in eventlet.items() if note.verdict is Verdict.DIFFERENCE}
    yield _table("Name", "Difference", differing)
    yield "## As they are\n"
    yield "Everything else that eventlet has:\n"
    for module, names in NAMES.items():
        same = [name for name in names if find_note(f"{module}.{name}").verdict is Verdict.AS_IS]
        if module.startswith("eventlet") and same:
            yield f"- `{module}`: {', '.join(f'`{name}`' for name in same)}"
    green = [module for module in NAMES if module.startswith("eventlet.green.") and module not in NOTES]
    yield f"- modules below `eventlet.green`: {', '.join(f'`{name[15:]}`' for name in green)}\n"
    yield "## gevent\n"
    yield "gevent's names are not put under greenserve: gevent may stay installed, and each use is changed by hand.\n"
    yield _table("Name", "What to write", gevent)


def _table(first: str, second: str, notes: dict[str, Note]) -> str:
    rows = [f"| {first} | {second} |", "| --- | --- |"]
    rows += [f"| `{name}` | {note.text} |" for name, note in sorted(notes.items())]
    return "\n".join(rows) + "\n"


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text() == render(), "run: python -m tests.compat.test_names_page"


if __name__ == "__main__":
    PAGE.write_text(render())
