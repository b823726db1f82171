"""Kinds of values: how each is written, and what is allowed. Knows no setting by name.

A kind reads text (``parse``) and values that are objects already (``check``). Both raise ValueError or TypeError
without a message: ``allowed`` says what is right, and the setting adds its name and where the value came from.
"""

from __future__ import annotations

import re
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from abc import ABC, abstractmethod

from greenserve._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Addresses",
    "Choice",
    "Count",
    "Duration",
    "Flag",
    "Identity",
    "InheritedFd",
    "Kind",
    "Mode",
    "Network",
    "Networks",
    "Numbered",
    "OrOff",
    "Prefix",
    "Receiver",
    "Several",
    "Size",
    "Switched",
    "TcpAddress",
    "Text",
    "TextOrDictionary",
    "UnixAddress",
    "Variables",
    "normal_address",
    "parse_address",
]


class TcpAddress:
    """``HOST:PORT``. An empty host is every IPv4 interface, port 0 is one that the system picks."""

    __slots__ = ("host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixAddress:
    """``unix:PATH``."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __str__(self) -> str:
        return f"unix:{self.path}"


class InheritedFd:
    """``fd://N``: a listening socket that the parent process opened and left to us under this number."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __str__(self) -> str:
        return f"fd://{self.fd}"


_DEFAULT_PORT = 8000
# A name or IPv4 address, or an IPv6 address in brackets; without the brackets nobody can tell where the port begins.
_TCP = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]*))(?::(?P<port>[0-9]{1,5}))?")


def parse_address(text: str) -> TcpAddress | UnixAddress | InheritedFd:
    """Raises ValueError."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = path.removeprefix("//")  # unix:///run/app.sock is a common spelling of unix:/run/app.sock
        if not path or "\0" in path:
            raise ValueError
        return UnixAddress(path)
    if text.startswith("fd://"):
        return InheritedFd(_parse_digits(text.removeprefix("fd://")))
    match = _TCP.fullmatch(text)
    # "8000" alone: a host to some servers, a port to others.
    if not match or not text or text.isdigit():
        raise ValueError
    port = int(match["port"]) if match["port"] else _DEFAULT_PORT
    if port > 65535:
        raise ValueError
    return TcpAddress(match["v6"] or match["host"], port)


def _parse_digits(text: str) -> int:
    # int() also takes "+5", "0_5" and digits of other scripts: somebody who writes those meant something else.
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError
    return int(text)


def normal_address(text: str) -> str:
    """Return an IP address in its shortest spelling. An IPv4 address inside of an IPv6 one is that IPv4 address.

    Raises ValueError.
    """
    packed = _pack(text)
    return inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)


_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291 section 2.5.5.2


def _pack(text: str) -> bytes:
    try:
        packed = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, UnicodeEncodeError):
        raise ValueError(text) from None
    return packed[12:] if packed.startswith(_MAPPED) and len(packed) == 16 else packed


class Network:
    """An IP address, or all that begin with the same bits: ``10.0.0.0/8``.

    Raises ValueError.
    """

    __slots__ = ("_first", "_is_v4", "_shift")

    def __init__(self, text: str) -> None:
        address, slash, digits = text.partition("/")
        packed = _pack(address)
        self._is_v4 = len(packed) == 4
        bits = length = 8 * len(packed)
        if slash:
            bits = _parse_digits(digits)
            if self._is_v4 and ":" in address:
                bits -= 96
            if not 0 <= bits <= length:
                raise ValueError(text)
        self._shift = length - bits
        self._first = int.from_bytes(packed, "big") >> self._shift

    def includes(self, address: str) -> bool:
        """Whether ``address``, an IP address, is in it. Raises ValueError."""
        packed = _pack(address)
        return (len(packed) == 4) == self._is_v4 and int.from_bytes(packed, "big") >> self._shift == self._first


class Kind(ABC):
    """A type of value.

    Attributes:
        metavar: What stands for the value in a usage line. Empty for a flag, which takes none there.
        allowed: What may be given, for a person.
    """

    __slots__ = ("allowed", "metavar")

    def __init__(self, metavar: str, allowed: str) -> None:
        self.metavar = metavar
        self.allowed = allowed

    @abstractmethod
    def parse(self, text: str) -> Any:
        """Return the value that ``text`` means."""

    def check(self, value: object) -> Any:
        """Take a value that came as an object. Kinds that are text by nature take none."""
        raise TypeError

    def show(self, value: Any) -> str:
        """Return ``value`` as text for a person, which ``parse`` reads back."""
        return str(value)

    def literal(self, value: Any) -> str:
        """Return ``value`` as a Python literal, which ``check`` or ``parse`` reads back."""
        return repr(value)


class Text(Kind):
    """Any text but the empty one."""

    __slots__ = ()

    def __init__(self, metavar: str, allowed: str = "any text") -> None:
        super().__init__(metavar, allowed)

    def parse(self, text: str) -> str:
        if not text:
            raise ValueError
        return text


class Prefix(Text):
    """What names begin with. Empty where that is nothing."""

    __slots__ = ()

    def parse(self, text: str) -> str:
        return text


class Identity(Text):
    """A user or a group as text: its name, or its number, which ``os.getuid()`` in a file gives as one."""

    __slots__ = ()

    def check(self, value: object) -> str:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise TypeError
        return str(value)


class TextOrDictionary(Text):
    """Text, or a dictionary, which only a file in Python can hold."""

    __slots__ = ()

    def check(self, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise TypeError
        return value


class Receiver(Kind):
    """Where datagrams are sent: ``HOST:PORT``, or ``unix:PATH``."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("ADDRESS", "HOST:PORT, [IPV6]:PORT or unix:PATH")

    def parse(self, text: str) -> TcpAddress | UnixAddress:
        address = parse_address(text)
        if isinstance(address, InheritedFd) or (isinstance(address, TcpAddress) and not address.port):
            raise ValueError
        return address

    def literal(self, value: object) -> str:
        return repr(str(value))


class Choice(Kind):
    """One of a few words, in any case."""

    __slots__ = ("words",)

    def __init__(self, metavar: str, *words: str) -> None:
        super().__init__(metavar, " or ".join(filter(None, [", ".join(words[:-1]), words[-1]])))
        self.words = words

    def parse(self, text: str) -> str:
        if text.lower() not in self.words:
            raise ValueError
        return text.lower()


class Numbered(Choice):
    """One of a few words, or its number, counted from 0."""

    __slots__ = ()

    def parse(self, text: str) -> str:
        return self.check(_parse_digits(text)) if text.isdigit() else super().parse(text)

    def check(self, value: object) -> str:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < len(self.words):
            raise ValueError
        return self.words[value]


class Flag(Kind):
    """On or off."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("", "yes or no (also true/false, on/off, 1/0)")

    def parse(self, text: str) -> bool:
        word = text.lower()
        if word in {"1", "true", "yes", "on"}:
            return True
        if word in {"0", "false", "no", "off"}:
            return False
        raise ValueError

    def show(self, value: bool) -> str:
        return "yes" if value else "no"

    def check(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise TypeError
        return value


class Switched(Choice):
    """One of a few words, or yes and no, which stand for the last and the first of them."""

    __slots__ = ()

    def __init__(self, metavar: str, *words: str) -> None:
        super().__init__(metavar, *words)
        self.allowed += f"; yes is {words[-1]}"

    def parse(self, text: str) -> str:
        return super().parse(text) if text.lower() in self.words else self.check(Flag().parse(text))

    def check(self, value: object) -> str:
        return self.words[-1 if Flag().check(value) else 0]


class Number(Kind):
    """A number of something, between two bounds. The base of every kind that is a number with a unit."""

    __slots__ = ("maximum", "minimum")

    def __init__(self, metavar: str, written: str, minimum: int, maximum: int | None) -> None:
        bounds = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"
        super().__init__(metavar, f"{written}, {bounds}")
        self.minimum = minimum
        self.maximum = maximum

    def parse(self, text: str) -> int | float:
        return self.check(self.count(text))

    def check(self, value: object) -> int | float:
        # True is an int to Python, and nan lies between no bounds.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= self.minimum:
            raise ValueError
        if value == float("inf") or (self.maximum is not None and value > self.maximum):
            raise ValueError
        return value

    def count(self, text: str) -> int | float:
        return _parse_digits(text)


class Count(Number):
    """A whole number of things."""

    __slots__ = ()

    def __init__(self, minimum: int = 0, maximum: int | None = None) -> None:
        super().__init__("N", "a whole number", minimum, maximum)

    def check(self, value: object) -> int:
        if not isinstance(value, int):
            raise TypeError
        return int(super().check(value))


# KB and MB are 1000 to some and 1024 to others, so they are refused.
_SIZE = re.compile(r"([0-9]+) ?(?:([kmg])(?:ib)?|b)?", re.IGNORECASE)
_BYTES = {None: 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Size(Number):
    """A whole number of bytes."""

    __slots__ = ()

    def __init__(self, minimum: int = 0, maximum: int | None = None) -> None:
        super().__init__("BYTES", "bytes, such as 8190, 64K or 16MiB (K, M and G are powers of 1024)", minimum, maximum)

    def count(self, text: str) -> int:
        match = _SIZE.fullmatch(text)
        if not match:
            raise ValueError
        return int(match[1]) * _BYTES[match[2] and match[2].lower()]

    def show(self, value: int) -> str:
        for unit, letter in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
            if value and value % unit == 0:
                return f"{value // unit}{letter}iB"
        return str(value)

    def check(self, value: object) -> int:
        if not isinstance(value, int):
            raise TypeError
        return int(super().check(value))


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)?")
_SECONDS = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(Number):
    """Seconds, as a float."""

    __slots__ = ()

    def __init__(self, minimum: int = 0, maximum: int | None = None) -> None:
        super().__init__("TIME", "seconds, or a time such as 500ms, 30s, 5m or 2h", minimum, maximum)

    def count(self, text: str) -> float:
        match = _DURATION.fullmatch(text)
        if not match:
            raise ValueError
        return float(match[1]) * _SECONDS[match[2]]

    def show(self, value: float) -> str:
        return f"{value:g}s"

    def check(self, value: object) -> float:
        return float(super().check(value))


class Mode(Kind):
    """Permission bits, written in octal as ``chmod`` takes them."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("MODE", "permissions in octal, such as 660, 000 to 777")

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"(?:0o|0)?[0-7]{3}", text):
            raise ValueError
        return int(text.removeprefix("0o"), 8)

    def check(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 0o777:
            raise ValueError
        return value

    def show(self, value: int) -> str:
        return f"{value:03o}"

    def literal(self, value: int) -> str:
        return f"0o{value:03o}"


class OrOff(Kind):
    """Another kind, or None: written ``off``, ``none`` or another word, and 0 where the other kind is a number."""

    __slots__ = ("kind", "word")

    def __init__(self, kind: Kind, word: str = "off") -> None:
        super().__init__(kind.metavar, f"{kind.allowed}; or {word}")
        self.kind = kind
        self.word = word

    def parse(self, text: str) -> Any:
        if text.lower() in {"off", "none", self.word} or (not text and isinstance(self.kind, Several)):
            return None
        return self._value_or_none(self.kind.parse(text))

    def check(self, value: object) -> Any:
        # A flag that may be given several times makes a list, of the word too.
        is_none = value is None or (isinstance(value, list) and value in ([], ["off"], ["none"], [self.word]))
        return None if is_none else self._value_or_none(self.kind.check(value))

    def show(self, value: Any) -> str:
        return self.word if value is None else self.kind.show(value)

    def literal(self, value: Any) -> str:
        return "None" if value is None else self.kind.literal(value)

    def _value_or_none(self, value: Any) -> Any:
        # "No limit" has one value inside, so that nobody asks for None and for 0; "no prefix" likewise.
        return None if value == "" or (isinstance(self.kind, Number) and value == 0) else value


class Several(Kind):
    """A tuple of items: written with commas between them, or given as a list."""

    __slots__ = ("parse_item",)

    def __init__(self, metavar: str, allowed: str, parse_item: Callable[[str], object]) -> None:
        super().__init__(metavar, allowed)
        self.parse_item = parse_item

    def parse(self, text: str) -> tuple[Any, ...]:
        return self.check(text.split(","))

    def check(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError
        items: list[object] = []
        for item in value:
            if not isinstance(item, str):
                raise TypeError
            items += [self.parse_item(part.strip()) for part in item.split(",")]
        return tuple(items)

    def show(self, value: tuple[Any, ...]) -> str:
        return ",".join(map(str, value))

    def literal(self, value: tuple[Any, ...]) -> str:
        return repr([str(item) for item in value])


class Variables(Several):
    """Variables, each as ``NAME=VALUE``. A value may have commas: in one text it goes on to the next ``NAME=``."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("NAME=VALUE", "NAME=VALUE, several with commas between them", _parse_variable)

    def parse(self, text: str) -> tuple[Any, ...]:
        return self.check(re.split(r",\s*(?=[A-Za-z_][A-Za-z0-9_]*=)", text))

    def check(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError
        return tuple(map(_parse_variable, value))


def _parse_variable(text: object) -> str:
    """Raises ValueError or TypeError."""
    if not isinstance(text, str):
        raise TypeError
    name, equals, _ = text.partition("=")
    if not name or not equals or "\0" in text:
        raise ValueError
    return text


class Addresses(Several):
    """Where to listen: a tuple of what `parse_address` returns."""

    __slots__ = ()

    def __init__(self) -> None:
        allowed = "HOST:PORT, [IPV6]:PORT, unix:PATH or fd://NUMBER, several with commas between them"
        super().__init__("ADDRESS", allowed, parse_address)


class Networks(Kind):
    """Addresses and networks as one text, ``*`` for everybody, ``unix`` for Unix sockets. Empty for nobody."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(
            "ADDRESSES",
            "IP addresses and networks with commas between them, unix for Unix sockets, * for all, or nothing",
        )

    def parse(self, text: str) -> str:
        return self.check(text.split(",") if text.strip() else [])

    def check(self, value: object) -> str:
        if not isinstance(value, (list, tuple)):
            raise TypeError
        items = []
        for item in value:
            if not isinstance(item, str):
                raise TypeError
            items.append(item.strip())
            if items[-1] not in ("*", "unix"):
                Network(items[-1])
        return ",".join(items)
