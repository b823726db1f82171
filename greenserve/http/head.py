"""A request's head: its request line and its fields. Strings in, values out; knows no sockets and no bodies.

The grammar is RFC 9112 sections 2 to 5 and RFC 9110 section 5, read strictly: what two parsers could
read differently is refused. A head is text in latin-1, one character for each byte.

What the RFCs leave to a server, and what is done here:

- RFC 9112 section 2.2 lets a recipient take a bare LF for a line's end. Refused: a proxy in front may not
  have taken it for one. A bare CR is invalid there, and so refused.
- RFC 9112 section 5.2 lets a server refuse obs-fold or unfold it. Refused.
- RFC 9110 section 5.5 lets a recipient keep control characters in a value. Refused, but for HTAB. Bytes from 0x80 on
  are kept.
- RFC 9112 section 3 lets a recipient split the request line on any whitespace. Refused: one SP each.
- RFC 3875 section 4.1.18 gives ``X-Y`` and ``X_Y`` one variable. Names with an underscore get none, unless asked for.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from greenserve.errors import BadRequest, FieldsTooLarge, TargetTooLong, VersionNotSupported
from greenserve.http.memo import Memo, Memory
from greenserve.http.names import REPEATED_IN_REQUESTS, SERVER_VARIABLES
from greenserve.http.target import parse_target

__all__ = [
    "MAX_EMPTY_LINES",
    "Fields",
    "Limits",
    "RequestLine",
    "check_partial",
    "find_head_end",
    "is_token",
    "parse_field_line",
    "parse_fields",
    "parse_request_line",
    "parse_whole_line",
    "skip_empty_lines",
    "small_head_lines",
    "split_head",
    "take_head",
]

# RFC 9112 section 2.2: a server SHOULD ignore at least one empty line before the request line.
MAX_EMPTY_LINES = 4
# Nothing shorter is a head, so an end found earlier needs a second look ("A / HTTP/1.1").
_SHORTEST_HEAD = 12

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_VERSION = re.compile(r"HTTP/([0-9])\.([0-9])")  # RFC 9112 section 2.3, case-sensitive
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # in a field value only HTAB is allowed
# Bytes that no head can hold, whatever follows; a CR at the very end may still get its LF.
_NEVER_IN_HEAD = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|(?<!\r)\n")
_TOKEN_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_CR = 0x0D
_FORWARDED = ("HTTP_X_FORWARDED_", "HTTP_FORWARDED")  # what the variables of proxies' fields begin with
_TLS_HANDSHAKE = 0x16  # RFC 8446 section 5.1: the first byte of a ClientHello's record


class Limits:
    """How large a head may be. Lengths are in bytes, without the CRLF."""

    __slots__ = ("max_field", "max_fields", "max_head", "max_line", "smallest")

    def __init__(
        self, *, max_line: int = 8190, max_fields: int = 100, max_field: int = 8190, max_head: int = 65536
    ) -> None:
        self.max_line = max_line  # the request line; over it 414
        self.max_fields = max_fields  # how many field lines; over it 431
        self.max_field = max_field  # one field line; over it 431
        self.max_head = max_head  # request line and fields together; over it 431
        self.smallest = min(max_line, max_field, max_head)  # a head within this is within each


class RequestLine(NamedTuple):
    """A request line in its parts; every string is latin-1, one character for each byte."""

    method: str
    target: str  # as received
    version: str  # "HTTP/1.0" or "HTTP/1.1"
    scheme: str | None  # "http" or "https" in absolute form, else None
    authority: str | None  # host[:port] in absolute and authority form, else None
    path: str  # percent-decoded: PATH_INFO; "" in asterisk and authority form
    raw_path: str  # as received, without the query; "*" in asterisk form
    query: str  # as received: QUERY_STRING


class Fields:
    """The fields of one head."""

    __slots__ = ("forwarded", "is_plain", "raw", "variables")

    def __init__(
        self,
        raw: tuple[tuple[str, str], ...],
        variables: dict[str, Any],
        forwarded: dict[str, str] | None = None,
        is_plain: bool = False,
    ) -> None:
        self.raw = raw  # names and values as received, in order, repeats and all, without the whitespace around values
        self.variables = variables  # a new dict: CONTENT_TYPE, CONTENT_LENGTH, HTTP_*; repeats joined
        # HTTP_FORWARDED and HTTP_X_FORWARDED_*, if there are any. Apart, since only some peers are to be believed.
        self.forwarded = forwarded
        self.is_plain = is_plain  # each of them has a variable of its own


def is_token(text: str) -> bool:
    """Tell whether ``text`` is a token (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def parse_request_line(line: str) -> RequestLine:
    """Return the parts of a request line, given without its CRLF.

    A minor version above 1 is taken for 1.1 (RFC 9110 section 2.5).

    Raises:
        BadRequest: The line is outside the grammar.
        VersionNotSupported: The major version is not 1.

    Source: RFC 9112 section 3 (``method SP request-target SP HTTP-version``).
    """
    return _REQUEST_LINES[line]


def _parse_request_line(line: str) -> RequestLine:
    parts = line.split(" ")
    if len(parts) != 3:
        raise BadRequest("the request line is not method, target and version with one space between")
    method, target, version = parts
    if not is_token(method):
        raise BadRequest("bad method")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        version = _read_version(version)
    return RequestLine(method, target, version, *parse_target(method, target))


def _read_version(version: str) -> str:
    match = _VERSION.fullmatch(version)
    if match is None:
        raise BadRequest("bad HTTP version")
    if match[1] != "1":
        raise VersionNotSupported("this server speaks HTTP/1.1")
    return "HTTP/1.1"


class _RequestLines(Memo[str, RequestLine]):
    """Request lines without a query: queries change, and may hold what should not stay in memory."""

    __slots__ = ()

    def remember(self, line: str, parsed: RequestLine) -> None:
        if not parsed.query:
            super().remember(line, parsed)


def parse_fields(
    block: str, limits: Limits, keep_underscores: bool = False, base: dict[str, Any] | None = None
) -> Fields:
    """Return the fields of a head.

    Args:
        block: What stands between the request line's CRLF and the CRLF CRLF that ends the head: lines with
            CRLF between them, or ``""`` for none.
        limits: How many, and how long.
        keep_underscores: Give names with an underscore their variable too, where no other field has it
            and the server itself does not go by it.
        base: What ``variables`` is to have beside those of the fields.

    Raises:
        BadRequest: A line is outside the grammar.
        FieldsTooLarge: There are too many, or one is too long.

    Source: RFC 9112 section 5, RFC 9110 section 5, RFC 3875 section 4.1.18; ``; `` between cookies is RFC 6265
    section 5.4.
    """
    if not block:
        return Fields((), dict(base or {}), None, True)
    lines = (block + "\r").split("\n")
    longest = limits.max_field + 1  # with the CR
    if len(block) > limits.max_field and (len(block) > limits.max_head or len(max(lines, key=len)) > longest):
        raise FieldsTooLarge("header fields too long")
    return _fields_of(lines, limits, keep_underscores, base or {})


def _fields_of(lines: list[str], limits: Limits, keep_underscores: bool, base: dict[str, Any]) -> Fields:
    """The fields in ``lines``, each of which still has its CR, and none of which is too long."""
    variables = base.copy()
    if not lines:
        return Fields((), variables, None, True)
    if len(lines) > limits.max_fields:
        raise FieldsTooLarge("too many header fields")
    raw = []
    for line in lines:
        field, variable, value = _known_line(line) or parse_whole_line(line)
        raw.append(field)
        variables[variable] = value
    if len(variables) == len(raw) + len(base) and "" not in variables:
        return Fields(tuple(raw), variables, None, True)
    # Two fields met in one variable, or a name has none: it has an underscore, or is a proxy's.
    if variables.pop("", None) is not None:
        apart = [field for field in raw if not _VARIABLES[field[0]]]
        kept, forwarded = _join_repeats(apart, keep_underscores)
        if not kept and len(variables) == len(raw) - len(apart) + len(base):
            return Fields(tuple(raw), variables, forwarded or None)  # behind a proxy the usual case
    joined, forwarded = _join_repeats(raw, keep_underscores)
    return Fields(tuple(raw), {**base, **joined}, forwarded or None)


def parse_field_line(line: str) -> tuple[str, str]:
    """Return the name and the value in a field line, given without its CRLF.

    Raises:
        BadRequest: The line is outside the grammar.
    """
    return parse_whole_line(line + "\r")[0]


def _join_repeats(raw: list[tuple[str, str]], keep_underscores: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables of the fields, and those of forwarded fields."""
    variables: dict[str, str] = {}
    forwarded: dict[str, str] = {}
    underscored: dict[str, str] = {}
    for name, value in raw:
        variable = _NAMES[name]
        if "_" in name:
            found = underscored
        elif variable.startswith(_FORWARDED):
            found = forwarded
        else:
            found = variables
        if variable in found:
            if variable == "CONTENT_LENGTH" and value == found[variable]:
                continue  # RFC 9110 section 8.6: one and the same
            found[variable] += ("; " if variable == "HTTP_COOKIE" else ", ") + value
        else:
            found[variable] = value
    if keep_underscores:
        for variable, value in underscored.items():
            if variable not in SERVER_VARIABLES and not variable.startswith(_FORWARDED):
                variables.setdefault(variable, value)
    return variables, forwarded


def _variable(name: str) -> str:
    variable = name.upper().replace("-", "_")
    return variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + variable


def _check_name(name: str) -> str:
    """Return the variable of a field name; ``""`` if it needs a second look, as in `_join_repeats`.

    Raises:
        BadRequest: It is no name.
    """
    if not is_token(name):
        raise BadRequest(_name_error(name))
    variable = _variable(name)
    return "" if "_" in name or variable.startswith(_FORWARDED) else variable


def _name_error(name: str) -> str:
    if not name:
        return "a header field has no name"
    if name[0] in " \t":
        return "a header field is folded"
    if name[-1] in " \t":
        return "space before the colon of a header field"
    return "bad header field name"


_Line = tuple[tuple[str, str], str, str]  # (name, value), the variable, and the value again


def parse_whole_line(line: str) -> _Line:
    """Parse a field line, given with the CR of its CRLF, and remember it if its name is in REPEATED_IN_REQUESTS.

    The variable is ``""`` where the field needs a second look: an underscore in its name, or a proxy's field.
    Heads are split at LF, which takes half the time of splitting at CRLF.
    """
    name, colon, value = line.partition(":")
    if line[-1:] != "\r":
        raise BadRequest("a bare LF in the head")
    if not colon:
        raise BadRequest("a header field has no colon" if is_token(name[:-1]) else _name_error(name[:-1]))
    variable = _VARIABLES[name]
    value = value[:-1].strip(" \t")  # OWS, and no more: str.strip() also takes 0x1C to 0x1F, 0x85 and 0xA0
    # No control character is printable; the usual value passes without the regular expression.
    if not value.isprintable() and _CONTROL.search(value):
        raise BadRequest("control character in a header field")
    parsed = (name, value), variable, value
    if (variable or _NAMES[name]) in _REPEATED:
        _FIELD_LINES.remember(line, parsed)
    return parsed


_REQUEST_LINES = _RequestLines(_parse_request_line, max_entries=512, max_length=256)
_REPEATED = frozenset(map(_variable, REPEATED_IN_REQUESTS))
_VARIABLES = Memo(_check_name, max_entries=512, max_length=64)
_NAMES = Memo(_variable, max_entries=512, max_length=64)
_FIELD_LINES: Memory[str, _Line] = Memory(max_entries=1024, max_length=256)
_known_line = _FIELD_LINES.get


def skip_empty_lines(buffer: bytes | bytearray, start: int = 0) -> int:
    """Return the index at which the request line begins, after a few empty lines.

    Raises:
        BadRequest: There are more than MAX_EMPTY_LINES.
    """
    for _ in range(MAX_EMPTY_LINES + 1):
        if not buffer.startswith(b"\r\n", start):
            return start
        start += 2
    raise BadRequest("too many empty lines before the request line")


def find_head_end(buffer: bytes | bytearray, start: int = 0, seen: int = 0) -> int:
    """Return the index just past the CRLF CRLF that ends the head, or -1 while there is none.

    Args:
        buffer: What was received.
        start: Where this request begins. Empty lines before the request line count as part of the head.
        seen: The length that the buffer had at the last call that answered -1; what was searched
            then is not searched again.

    Raises:
        BadRequest: Nothing but empty lines, and too many.
    """
    end = buffer.find(b"\r\n\r\n", max(start, seen - 3))
    if 0 <= end < start + _SHORTEST_HEAD:  # it may be empty lines before the request line
        end = buffer.find(b"\r\n\r\n", skip_empty_lines(buffer, start))
    return end + 4 if end >= 0 else -1


def split_head(buffer: bytes | bytearray, start: int, end: int, limits: Limits) -> tuple[str, str]:
    """Return the request line and the block of fields of a complete head, as latin-1 text.

    Args:
        buffer: What was received.
        start: Where this request begins.
        end: What ``find_head_end`` answered.
        limits: For the request line and for the whole.

    Raises:
        TargetTooLong: The request line is too long.
        FieldsTooLarge: The whole head is too long.
    """
    if buffer[start] == _CR:
        start = skip_empty_lines(buffer, start)
    line, _, block = buffer[start : end - 4].decode("latin-1").partition("\r\n")
    if len(line) > limits.max_line:
        raise TargetTooLong("request line too long")
    if end - start > limits.max_head:
        raise FieldsTooLarge("header fields too long")
    return line, block


def small_head_lines(buffer: bytes, limits: Limits) -> list[str] | None:
    """Return the lines of a head, each with its CR, if ``buffer`` is one small head and nothing else; else None.

    Mostly it is. Then the head's end is found among its lines, which costs a fifth of looking for it among the bytes.
    """
    if len(buffer) > limits.smallest or not buffer.endswith(b"\r\n\r\n"):
        return None
    lines = buffer.decode("latin-1").split("\n")
    if lines.index("\r") != len(lines) - 2 or lines[0][-1:] != "\r":
        return None
    del lines[-2:]
    return lines


def take_head(
    buffer: bytes, limits: Limits, keep_underscores: bool = False, seen: int = 0, base: dict[str, Any] | None = None
) -> tuple[RequestLine, Fields, int] | None:
    """Return the head at the start of ``buffer`` and the index just past it, or None while it has not ended.

    Args:
        buffer: What was received.
        limits: How large the head may be.
        keep_underscores: As for ``parse_fields``.
        seen: As for ``find_head_end``.
        base: As for ``parse_fields``.

    Raises:
        BadRequest: As ``parse_request_line`` and ``parse_fields``.
        TargetTooLong: The request line is too long.
        FieldsTooLarge: The fields are too many or too long.
    """
    lines = small_head_lines(buffer, limits)
    if lines is not None:
        request_line = parse_request_line(lines[0][:-1])
        return request_line, _fields_of(lines[1:], limits, keep_underscores, base or {}), len(buffer)
    end = find_head_end(buffer, 0, seen)
    if end < 0:
        return None
    line, block = split_head(buffer, 0, end, limits)
    return parse_request_line(line), parse_fields(block, limits, keep_underscores, base), end


def check_partial(buffer: bytes | bytearray, limits: Limits, start: int = 0, seen: int = 0) -> None:
    """Refuse a head that has not ended yet, as soon as it is certain that it can't become a good one.

    Whoever sends lines that end in a bare LF, or speaks another protocol, would else wait for its answer
    until the deadline.

    Args:
        buffer: What was received, with no end of head in it.
        limits: As for the complete head.
        start: Where this request begins.
        seen: The length that the buffer had at the last call; what was checked then is not checked again.

    Raises:
        BadRequest: A byte that no head can hold, a bare CR or LF, a request line outside the grammar,
            or the start of a TLS handshake.
        VersionNotSupported: As ``parse_request_line``.
        TargetTooLong: The request line is already too long.
        FieldsTooLarge: The fields are already too many or too long.
    """
    begin = skip_empty_lines(buffer, start)
    size = len(buffer) - begin
    if size <= 0 or (size == 1 and buffer[begin] == _CR):
        return
    if buffer[begin] not in _TOKEN_BYTES:
        if buffer[begin] == _TLS_HANDSHAKE:
            raise BadRequest("a TLS handshake on a port for plain HTTP")
        raise BadRequest("bad method")
    if _NEVER_IN_HEAD.search(buffer, max(begin, seen - 1)):
        raise BadRequest("a control character, or a bare CR or LF, in the head")
    line_end = buffer.find(b"\r", begin, begin + limits.max_line + 1)
    if line_end < 0:
        if size > limits.max_line:
            raise TargetTooLong("request line too long")
        return
    if seen <= line_end:  # not seen in full before; without its LF it is the same line
        parse_request_line(buffer[begin:line_end].decode("latin-1"))
    _check_partial_fields(buffer, limits, begin, line_end + 2, seen)


def _check_partial_fields(buffer: bytes | bytearray, limits: Limits, begin: int, first: int, seen: int) -> None:
    if len(buffer) - begin > limits.max_head:
        raise FieldsTooLarge("header fields too long")
    if buffer.find(b"\n", max(first, seen)) >= 0 and buffer.count(b"\r\n", first) > limits.max_fields:
        raise FieldsTooLarge("too many header fields")
    unfinished = max(first, buffer.rfind(b"\n", first, max(first, seen)) + 1)  # the line in which the new bytes begin
    if len(buffer) - unfinished > limits.max_field:
        for line in buffer[unfinished:].split(b"\r\n"):
            if len(line) - line.endswith(b"\r") > limits.max_field:
                raise FieldsTooLarge("header field too long")
