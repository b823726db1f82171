"""docs/reference/settings.md is what the settings say. ``python -m tests.cli.test_settings_page`` writes it anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from greenserve._kinds import Flag
from greenserve.settings import SETTINGS, Setting

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "settings.md"

HEAD = """\
# Settings

Every setting of the `greenserve` command, made from the declarations in `greenserve/settings.py`. A value comes from
the first of these that has one:

1. a flag on the command line;
2. the environment, in a variable of the setting's own, `GREENSERVE_` and its name. An empty one counts as absent;
3. the configuration file, `--config FILE`, or `greenserve.conf.py` where there is one in the current directory;
4. the environment, in a variable that platforms set, such as `PORT`;
5. the default.

A configuration file assigns settings under the names below, or under their aliases: in Python (`workers = 4`), or in
TOML if its name ends in `.toml`. In Python it may also define the [server hooks](server-hooks.md).

`greenserve --print-config` shows the value of each and what set it, and `greenserve --check-config MODULE:APP` tells
whether they are right and the application loads. A wrong value is told with its name, where it came from and what is
allowed, and the exit code is 1.

Times are seconds, or have a unit: `500ms`, `30s`, `5m`, `2h`, `1d`. Sizes are bytes, or have a unit that is a power of
1024: `64K` or `64KiB`, `16M`, `1G`.
"""

TAKERS = {"server": "`greenserve.wsgi.server` and `greenserve.wsgi.Server`", "listen": "`greenserve.listen`"}


def render() -> str:
    return "\n".join([HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for group in dict.fromkeys(setting.group for setting in SETTINGS.values()):
        yield f"## {group}\n"
        for setting in SETTINGS.values():
            if setting.group == group:
                yield f"### {setting.name}\n\n{setting.text}\n"
                yield "\n".join(f"- {fact}" for fact in _facts(setting)) + "\n"


def _facts(setting: Setting) -> Iterator[str]:
    flags = [f"`--{name.replace('_', '-')}`" for name in (setting.name, *setting.aliases)]
    if setting.flag:
        flags.insert(0, f"`{setting.flag}`")
    if isinstance(setting.kind, Flag):
        flags.append(f"`--no-{setting.name.replace('_', '-')}`")
    yield "Argument: `MODULE:APP`" if setting.name == "wsgi_app" else f"Flag: {', '.join(flags)}"
    also = f", else `{setting.variable}`" if setting.variable else ""
    if setting.variable_format != "{}":
        also += f", which makes `{setting.variable_format.format(f'${setting.variable}')}` of it"
    yield f"Environment: `{setting.environment_name}`{also}"
    default = f"Default: `{setting.kind.show(setting.command_default)}`"
    if setting.keyword_of and setting.default != setting.command_default:
        default += f"; of the keyword `{setting.default!r}`"
    yield default
    yield f"Allowed: {setting.kind.allowed}"
    if setting.keyword_of:
        yield f"Also a keyword of {TAKERS[setting.keyword_of]}"


def test_the_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text() == render(), "run python -m tests.cli.test_settings_page"


if __name__ == "__main__":
    PAGE.write_text(render())
