"""docs/reference/server-hooks.md is what the hooks say.

``python -m tests.supervisor.test_hooks_page`` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

from greenserve.supervisor import HOOKS

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "server-hooks.md"

HEAD = """\
# Server hooks

Functions with these names in a configuration file in Python are called at these moments. They are gunicorn's, and made
from `greenserve/supervisor/hooks.py`. Where there is one, a master runs, even for one worker.

`server` is the master: `server.pid`, `server.num_workers`, `server.workers`, `server.cfg` (the settings), `server.log`.
`worker` is the process that serves: `worker.pid`, `worker.age`, `worker.number`, `worker.cfg`, `worker.log`, and
`worker.app` once it has loaded the application. In the master it is what that knows of the process. `req` has `method`,
`path`, `query`, `uri` and `headers`; `resp` has `status`, `headers` and `sent`, in bytes.

What a hook of the start raises ends the process, as an application does that can't be loaded; what others raise is
logged.

| hook | when |
| --- | --- |
"""


def render() -> str:
    rows = [f"| `{name}({', '.join(arguments.split())})` | {text} |\n" for name, (arguments, text) in HOOKS.items()]
    return HEAD + "".join(rows)


def test_the_page_is_what_the_hooks_say() -> None:
    assert PAGE.read_text() == render(), "run python -m tests.supervisor.test_hooks_page"


if __name__ == "__main__":
    PAGE.write_text(render())
