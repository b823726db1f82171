"""What a declaration of a setting is. The declarations are in ``settings`` and in modules beside it."""

from __future__ import annotations

from greenserve._kinds import Kind
from greenserve._typing import Any
from greenserve.errors import SettingError

__all__ = ["Setting"]


class Setting:
    """One setting.

    Attributes:
        name: A Python identifier: the keyword, the name in a file, ``--the-name``, ``GREENSERVE_THE_NAME``.
        kind: How it is written and what is allowed.
        default: What holds for the library: ``wsgi.server``, ``listen``.
        command_default: What holds for the command. The same, unless the declaration says otherwise.
        group: The heading in the help and in the reference.
        text: What it does, in one or two sentences.
        aliases: Other names that mean the same setting, as flags and in files.
        flag: A short flag such as ``-b``, or None.
        variable: An environment variable that platforms set, or None, with the text to make of it (``0.0.0.0:{}``).
        keyword_of: Who takes it as a keyword: ``server`` (``wsgi.Server``), ``listen``, or None: the command alone.
    """

    __slots__ = (
        "aliases",
        "command_default",
        "default",
        "flag",
        "group",
        "keyword_of",
        "kind",
        "name",
        "text",
        "variable",
        "variable_format",
    )

    def __init__(
        self,
        name: str,
        kind: Kind,
        default: object,
        text: str,
        *,
        group: str,
        aliases: tuple[str, ...] = (),
        command_default: object = None,
        flag: str | None = None,
        keyword_of: str | None = None,
        variable: str | None = None,
        variable_format: str = "{}",
    ) -> None:
        self.name = name
        self.kind = kind
        self.text = text
        self.group = group
        self.aliases = aliases
        self.flag = flag
        self.keyword_of = keyword_of
        self.variable = variable
        self.variable_format = variable_format
        # Defaults go through the same door as everything else, so that a wrong one is noticed on import.
        self.default: Any = self.parse(default, "the default")
        self.command_default: Any = self.default if command_default is None else self.parse(command_default, "default")

    @property
    def environment_name(self) -> str:
        return f"GREENSERVE_{self.name.upper()}"

    def parse(self, value: object, where: str = "a keyword") -> Any:
        """Return the value that ``value`` means, which is text or already an object of the right type.

        Raises:
            SettingError: With this setting's name, ``where`` the value came from, and what is allowed.
        """
        try:
            return self.kind.parse(value) if isinstance(value, str) else self.kind.check(value)
        except (TypeError, ValueError):
            message = f"{self.name} = {value!r} ({where}) is not right; allowed: {self.kind.allowed}"
            raise SettingError(message) from None
