"""The names of typing that the modules write which every program loads: importing typing would double their cost.

A checker reads typing's own. What runs gets stand-ins: annotations are never evaluated here, so that all they need is
to be there, and a generic class needs no more than its square brackets. Other modules import typing itself.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's: checkers take it for true
if TYPE_CHECKING:
    from typing import Any, ClassVar, Generic, NoReturn, ParamSpec, Protocol, TypeVar, cast
else:
    from types import GenericAlias

    Any = ClassVar = NoReturn = object

    def _named(name: str, **_limits: object) -> str:
        return name

    TypeVar = ParamSpec = _named

    def cast(_kind: object, value: object) -> object:
        return value

    class Generic:
        """What gives a class and its subclasses ``Class[int]``."""

        __slots__ = ()

        def __class_getitem__(cls, parameters: object) -> object:
            return cls if cls is Generic else GenericAlias(cls, parameters)

    class Protocol:
        """A shape that only checkers look at."""


__all__ = ["TYPE_CHECKING", "Any", "ClassVar", "Generic", "NoReturn", "ParamSpec", "Protocol", "TypeVar", "cast"]
