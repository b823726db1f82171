"""A response's head and chunks as bytes, checked before they are made. Knows no sockets and no applications.

Facts, and what they mean here:

- RFC 9110 section 5.5: CR, LF and NUL in a value are dangerous, other control characters invalid. A response with one
  is refused: it would let whoever controls the value write fields, or a second response.
- PEP 3333 takes native strings of latin-1 and forbids hop-by-hop fields to applications.
- RFC 9112 section 4: a status code has three digits. RFC 9110 section 15: its first digit is 1 to 5.
- A subclass of str counts as the string it holds, whatever its methods say.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import NamedTuple

from greenserve.errors import ResponseError
from greenserve.http.framing import tokens
from greenserve.http.head import is_token
from greenserve.http.memo import Memo, Memory
from greenserve.http.names import HOP_BY_HOP, REPEATED_IN_RESPONSES

__all__ = [
    "LAST_CHUNK",
    "ResponseFields",
    "ResponseHead",
    "body_allowed",
    "capitalize",
    "check_fields",
    "check_head",
    "chunk",
    "error_page",
    "is_hop_by_hop",
    "parse_status",
    "serialize_fields",
    "status_line",
]

LAST_CHUNK = b"0\r\n\r\n"
_MAX_REMEMBERED_LINE = 256

_STATUS = re.compile(r"([1-5][0-9]{2})(?: [\t \x21-\x7e\x80-\xff]*)?")  # RFC 9112 section 4: the reason may be empty
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS = re.compile(r"[0-9]{1,19}")


class ResponseFields(NamedTuple):
    """An application's fields, checked and serialised, and what the server must know of them."""

    lines: bytes  # "Name: value" lines, each with its CRLF
    has_length: int | None  # the Content-Length in bytes, if there is one
    has_date: bool
    has_server: bool
    connection_close: bool  # only where hop-by-hop fields are allowed


class _Role(enum.Enum):
    """What a field means to the server; most mean nothing and have no role."""

    LENGTH = enum.auto()
    DATE = enum.auto()
    SERVER = enum.auto()
    CONNECTION = enum.auto()
    HOP_BY_HOP = enum.auto()


# A member looked up on its enum costs several times a global, on the path of every response.
_LENGTH, _DATE, _SERVER, _CONNECTION = _Role.LENGTH, _Role.DATE, _Role.SERVER, _Role.CONNECTION
_ROLES = {
    **dict.fromkeys(HOP_BY_HOP, _Role.HOP_BY_HOP),
    "connection": _CONNECTION,
    "content-length": _LENGTH,
    "date": _DATE,
    "server": _SERVER,
}


def serialize_fields(fields: Iterable[tuple[str, str]], allow_hop_by_hop: bool = False) -> bytes:
    """Return the fields as lines, each with its CRLF; raises as ``check_fields`` does."""
    return check_fields(fields, allow_hop_by_hop).lines


def check_fields(fields: Iterable[tuple[str, str]], allow_hop_by_hop: bool = False) -> ResponseFields:
    """Return the fields serialised, and a summary of them.

    Args:
        fields: Names and values, in the order in which they are sent. Whitespace around a value is dropped.
        allow_hop_by_hop: For a response that hands the connection over, such as 101.

    Raises:
        ResponseError: A name is no token, a value has a control character or is not latin-1, a field is hop-by-hop,
            or Content-Length is not one number. The message names the field.
        TypeError: A name or a value is not a str.
    """
    key = tuple(fields)
    try:
        known = _LISTS.get(key)
    except TypeError:  # some applications give lists of two, which have no hash
        key = tuple(map(_exact_pair, key))
        known = _LISTS.get(key)
    return known or _serialize(key, allow_hop_by_hop)


def _serialize(fields: tuple[tuple[str, str], ...], allow_hop_by_hop: bool) -> ResponseFields:
    lines: list[bytes] = []
    length: int | None = None
    has_date = has_server = closes = False
    is_remembered = True
    for field in fields:
        known = _FIELDS.get(field)
        if known is None:
            known, remember = _check_field(field)
            if remember:
                _FIELDS.remember(field, known)
            else:
                is_remembered = False
        line, role = known
        lines.append(line)
        if role is None:
            continue
        if role is _LENGTH:
            if length is not None:
                raise ResponseError("Content-Length was given twice")
            length = int(field[1])
        elif role is _DATE:
            has_date = True
        elif role is _SERVER:
            has_server = True
        elif not allow_hop_by_hop:
            raise ResponseError(f"{field[0]} is hop-by-hop: it is the server's to set (PEP 3333)")
        elif role is _CONNECTION:
            closes = closes or "close" in tokens(field[1])
    # _make takes half the time of the call with five arguments.
    summary = ResponseFields._make((b"".join(lines), length, has_date, has_server, closes))
    if is_remembered:
        _LISTS.remember(fields, summary)
    return summary


def _check_field(field: tuple[str, str]) -> tuple[tuple[bytes, _Role | None], bool]:
    """Return a field's line and role, and whether they may be remembered."""
    name, value = field if type(field) is tuple and len(field) == 2 else _exact_pair(field)
    if type(name) is not str or type(value) is not str:
        name, value = _exact_pair(field)
    role, is_remembered = _NAMES[name]
    value = value.strip(" \t")
    # No control character is printable; the usual value passes without the regular expression.
    if not value.isprintable() and _CONTROL.search(value):
        raise ResponseError(f"control character in the value of {name}")
    if role is _LENGTH and not _DIGITS.fullmatch(value):
        raise ResponseError(f"Content-Length is not a number: {value!r}")
    try:
        line = f"{name}: {value}\r\n".encode("latin-1")
    except UnicodeEncodeError:
        raise ResponseError(f"the value of {name} is not latin-1") from None
    return (line, role), is_remembered and len(line) <= _MAX_REMEMBERED_LINE


def _exact_pair(field: object) -> tuple[str, str]:
    """Return the name and the value in anything that may pass for a field, as plain str; TypeError for the rest."""
    if not (isinstance(field, (tuple, list)) and len(field) == 2 and all(isinstance(text, str) for text in field)):
        raise TypeError(f"response field {field!r} is not a name and a value in str, such as ('Vary', 'Cookie')")
    return str.__str__(field[0]), str.__str__(field[1])


def _check_name(name: str) -> tuple[_Role | None, bool]:
    if not is_token(name):
        raise ResponseError(f"bad response field name {name!r}")
    folded = name.lower()
    return _ROLES.get(folded), folded in REPEATED_IN_RESPONSES


def is_hop_by_hop(name: str) -> bool:
    """Tell whether a field is about this connection only, and so not an application's to set (PEP 3333)."""
    return name.lower() in HOP_BY_HOP


def capitalize(name: str) -> str:
    """Return a field name with each word of it capitalised, the rest in lower case: ``etag`` as ``Etag``."""
    return "-".join([word.capitalize() for word in name.split("-")])


def parse_status(status: str, allow_informational: bool = False) -> int:
    """Return the code in a status such as ``"404 Not Found"``. The reason may be missing.

    Args:
        status: What the application gave to ``start_response``.
        allow_informational: Take 1xx too, for a response that hands the connection over.

    Raises:
        ResponseError: It is not three digits from 100 to 599, then a space and a reason without control characters.
        TypeError: It is not a str.
    """
    code = _STATUSES[status][0]
    if code < 200 and not allow_informational:
        raise ResponseError(f"an application can't answer with {code}: it is not a final status")
    return code


def status_line(status: str) -> bytes:
    """Return the status line, with its CRLF; raises as ``parse_status`` does, and takes 1xx."""
    return _STATUSES[status][1]


class ResponseHead:
    """A status and an application's fields, checked, as far as they are the same for every request.

    Attributes:
        lines: The status line and the fields, each with its CRLF.
        code: The status.
        has_content: For any method but HEAD.
        fields: The fields alone.
        length: The Content-Length in bytes, if there is one.
        has_date: There is a Date.
    """

    # Each answer reads most of these: out of a slot that takes a fifth of the time that a NamedTuple's field does.
    __slots__ = ("code", "fields", "has_content", "has_date", "length", "lines")

    def __init__(self, lines: bytes, code: int, has_content: bool, fields: ResponseFields) -> None:
        self.lines = lines
        self.code = code
        self.has_content = has_content
        self.fields = fields
        _, self.length, self.has_date, _, _ = fields


def check_head(status: str, fields: list[tuple[str, str]]) -> ResponseHead:
    """Return the status and the fields of an application's final response, checked.

    Raises:
        ResponseError: As ``parse_status`` and ``check_fields``.
        TypeError: As these.
    """
    key = (status, tuple(fields))
    try:
        head = _HEADS.get(key)
    except TypeError:  # some applications give lists of two, which have no hash
        key = (status, tuple(map(_exact_pair, fields)))
        head = _HEADS.get(key)
    return head or _check_head(status, key)


def _check_head(status: str, key: tuple[str, tuple[tuple[str, str], ...]]) -> ResponseHead:
    code = parse_status(status)
    fields = check_fields(key[1])
    head = ResponseHead(status_line(status) + fields.lines, code, body_allowed("GET", code), fields)
    if key[1] in _LISTS:  # nothing secret, and nothing that changes with each answer
        _HEADS.remember(key, head)
    return head


def _read_status(status: str) -> tuple[int, bytes]:
    if not isinstance(status, str):
        raise TypeError(f"the status is {status!r}: give a str, such as '200 OK'")
    match = _STATUS.fullmatch(status)
    if match is None:
        raise ResponseError(f"bad status {status!r}: give three digits and a reason, such as '200 OK'")
    # The space stays even when no reason follows (RFC 9112 section 4).
    return int(match[1]), b"HTTP/1.1 %b\r\n" % (match[0] if match[0][3:] else match[0] + " ").encode("latin-1")


def body_allowed(method: str, code: int) -> bool:
    """Tell whether the response to ``method`` with this status has content (RFC 9110 sections 6.4.1 and 15.3.6)."""
    return not (method == "HEAD" or code < 200 or code in (204, 205, 304))


def chunk(data: bytes) -> bytes:
    """Return ``data`` as one chunk; nothing for no data, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def error_page(
    status: str, reason: str, date: str, with_body: bool = True, fields: Iterable[tuple[str, str]] = ()
) -> bytes:
    """Return a complete response that closes the connection, with the status and the reason as plain text.

    Args:
        status: Such as ``"400 Bad Request"``.
        reason: A sentence for the client; what is not ASCII in it becomes ``?``. An empty one sends no body.
        date: The value of the Date field.
        with_body: False for a request whose method was HEAD; the fields stay as they would be with the body.
        fields: More fields, such as Allow.
    """
    body = f"{status}\n\n{reason}\n".encode("ascii", "replace") if reason else b""
    own = [("Date", date), ("Connection", "close"), ("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    head = status_line(status) + serialize_fields([*own, *fields], allow_hop_by_hop=True) + b"\r\n"
    return head + body if with_body else head


_NAMES = Memo(_check_name, max_entries=512, max_length=64)
_FIELDS: Memory[tuple[str, str], tuple[bytes, _Role | None]] = Memory(max_entries=1024, max_length=2)
_LISTS: Memory[tuple[tuple[str, str], ...], ResponseFields] = Memory(max_entries=512, max_length=24)
_HEADS: Memory[tuple[str, tuple[tuple[str, str], ...]], ResponseHead] = Memory(max_entries=512, max_length=2)
_STATUSES = Memo(_read_status, max_entries=128, max_length=64)
