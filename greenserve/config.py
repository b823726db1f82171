"""Where values of settings come from, which source wins, and which one it was. Reads no command line and no file.

Whoever has values makes a `Source` of them: ``cli`` from the command line, ``configfile`` from a file, this module from
the environment. `load` takes them with the strongest first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from greenserve._suggest import suggestion
from greenserve.errors import SettingError
from greenserve.settings import ALIASES, SETTINGS

__all__ = ["Config", "Source", "load", "misspelt_variables", "read_environment"]

_PREFIX = "GREENSERVE_"


class Source:
    """Values from one place, not checked yet.

    Attributes:
        place: Ends a sentence about a value: ``on the command line``, ``in the environment``, ``in app.conf.py``.
        values: Names of settings, or aliases, to text or objects.
        spelling: What the user wrote for a name in ``values``, where that is something else: ``--bind``, ``PORT``.
    """

    __slots__ = ("place", "spelling", "values")

    def __init__(self, place: str, values: Mapping[str, object], spelling: Mapping[str, str] | None = None) -> None:
        self.place = place
        self.values = values
        self.spelling = spelling or {}

    def where(self, name: str) -> str:
        return f"{self.spelling.get(name, name)} {self.place}"


class Config:
    """The value of each setting, as attributes under their names, and where it came from.

    The names are those of `SETTINGS` and no others, so that they are declared once.
    """

    __slots__ = ("_origins", "_values")

    def __init__(self, values: dict[str, Any], origins: dict[str, str]) -> None:
        self._values = values
        self._origins = origins

    def __getattr__(self, name: str) -> Any:
        if name not in SETTINGS:
            raise AttributeError(f"there is no setting {name!r}")
        return self._values[name]

    def origin(self, name: str) -> str:
        """Return what set ``name``, such as ``PORT in the environment``, or ``default``."""
        return self._origins.get(name, "default")

    def is_set(self, name: str) -> bool:
        """Tell whether any source gave ``name`` a value."""
        return name in self._origins

    def keywords_of(self, taker: str) -> dict[str, Any]:
        """Return the settings that ``taker`` (``server``, ``listen``) takes as keywords, with their values."""
        return {name: self._values[name] for name, setting in SETTINGS.items() if setting.keyword_of == taker}

    def lines(self) -> Iterator[str]:
        """Yield ``name = value  # origin`` for each setting. Without its comment, each is a line of Python."""
        for name, setting in SETTINGS.items():
            yield f"{name} = {setting.kind.literal(self._values[name])}  # {self.origin(name)}"


def load(*sources: Source) -> Config:
    """Return what the sources say, the first one that names a setting, and the command's default where none does.

    Raises:
        SettingError: A value that counts is wrong, or a source names what is no setting, or one setting twice.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in sources:
        here: dict[str, str] = {}
        for given, raw in source.values.items():
            name = ALIASES.get(given, given)
            where = source.where(given)
            if name not in SETTINGS:
                raise SettingError(f"there is no setting {given!r} ({where}){suggestion(given, [*SETTINGS, *ALIASES])}")
            if name in here:
                raise SettingError(f"{name} is set twice: {here[name]} and {where}")
            here[name] = where
            # What a stronger source hides is not even read: a platform's odd PORT must not stop who says --bind.
            if name not in values:
                values[name] = SETTINGS[name].parse(raw, where)
                origins[name] = where
    for name, setting in SETTINGS.items():
        values.setdefault(name, setting.command_default)
    return Config(values, origins)


def read_environment(environ: Mapping[str, str]) -> list[Source]:
    """Return what the environment sets: ``GREENSERVE_*``, and after them the variables that platforms set.

    An empty variable counts as one that is not there, since a compose file or a shell can hardly unset one.
    """
    ours: dict[str, str] = {}
    platform: dict[str, str] = {}
    spelling: dict[str, str] = {}
    for setting in SETTINGS.values():
        if text := environ.get(setting.environment_name):
            ours[setting.name] = text
        if setting.variable and (text := environ.get(setting.variable)):
            platform[setting.name] = setting.variable_format.format(text)
            spelling[setting.name] = setting.variable
    place = "in the environment"
    return [
        Source(place, ours, {name: SETTINGS[name].environment_name for name in ours}),
        Source(place, platform, spelling),
    ]


def misspelt_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each ``GREENSERVE_*`` variable that looks like a setting's, misspelt.

    Not an error, and nothing about names that look like no setting's: Kubernetes gives each container
    ``GREENSERVE_SERVICE_HOST`` and others where a service is called greenserve.
    """
    known = [setting.environment_name for setting in SETTINGS.values()]
    return [
        f"{name} in the environment is not a setting{meant}"
        for name in sorted(environ)
        if name.startswith(_PREFIX) and name not in known and (meant := suggestion(name, known, cutoff=0.9))
    ]
