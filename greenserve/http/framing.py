"""How a request is framed: which body follows the head, and what happens to the connection after it.

Takes a parsed head, gives one value. Reads nothing, knows no sockets. These rules are what request smuggling
turns on: whatever two parsers could read differently is refused.

Facts, and what they mean here:

- RFC 9112 section 6.1: a message with both Transfer-Encoding and Content-Length ought to be handled as an error, one
  with Transfer-Encoding in HTTP/1.0 as faulty framing. Both refused.
- RFC 9112 section 6.3: a request whose last coding is not chunked has no known end. Codings other than chunked are
  answered with 501 (section 6.1), a list that goes on after chunked, and chunked with parameters, with 400.
- RFC 9110 section 8.6 lets a recipient take one value repeated. Taken only when the digits are the same.
- RFC 9112 section 3.2: exactly one Host on 1.1, and a valid one. An empty one is valid: the target has no authority.
- Repeated fields arrive here joined with ", ". No valid Host has a space in it, so two of them never pass for one.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import NamedTuple

from greenserve.errors import BadRequest, ExpectationFailed, NotSupported
from greenserve.http.head import RequestLine
from greenserve.http.memo import Memo
from greenserve.http.target import MAX_AUTHORITY, is_authority

__all__ = ["BodyKind", "Framing", "frame_request", "tokens"]

# int() also takes "+5", "0_5" and " 5": match the digits first. 19 of them are enough for 2**63.
_MAX_DIGITS = 19
_CONTENT_LENGTH = re.compile(rf"([0-9]{{1,{_MAX_DIGITS}}})(?:[ \t]*,[ \t]*\1)*")
_CODINGS = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+(?:[ \t]*[,;][ \t]*[!#$%&'*+.^_`|~0-9a-z=\"-]+)*")


class BodyKind(enum.Enum):
    """What follows the head."""

    NONE = enum.auto()  # nothing, or Content-Length: 0
    LENGTH = enum.auto()  # as many bytes as Content-Length says
    CHUNKED = enum.auto()  # the chunked transfer coding


# A member looked up on its enum costs several times a global.
_NONE, _LENGTH, _CHUNKED = BodyKind.NONE, BodyKind.LENGTH, BodyKind.CHUNKED


class Framing(NamedTuple):
    """The framing of one request. Immutable, so that equal ones may be shared."""

    body: BodyKind
    length: int  # of the body in bytes; 0 for none, -1 when chunked
    keep_alive: bool  # what the client wants; the server may still close
    expect_continue: bool  # the client waits for a 100 before it sends the body
    upgrade: str | None  # the Upgrade field in lower case, if Connection names it
    host: str  # host[:port] of the target URI, "" when the client names none


def frame_request(line: RequestLine, variables: Mapping[str, str], allow_connect: bool = False) -> Framing:
    """Return how the request with this head is framed.

    Args:
        line: Its request line.
        variables: Its fields, as ``parse_fields`` gives them.
        allow_connect: The application wants CONNECT requests.

    Raises:
        BadRequest: The framing or the Host is wrong, or can be read in two ways.
        NotSupported: A transfer coding other than chunked, or CONNECT.
        ExpectationFailed: An expectation other than 100-continue.

    Source: RFC 9112 sections 3.2, 3.3, 6 and 9.3, RFC 9110 sections 7.2, 7.8, 8.6 and 10.1.1.
    """
    if line.method == "CONNECT" and not allow_connect:
        raise NotSupported("CONNECT is not supported")
    host = variables.get("HTTP_HOST")
    connection = variables.get("HTTP_CONNECTION")
    if (
        host
        and line.version == "HTTP/1.1"
        and line.authority is None
        and (connection is None or connection == "keep-alive")
        and "CONTENT_LENGTH" not in variables
        and "HTTP_TRANSFER_ENCODING" not in variables
        and "HTTP_EXPECT" not in variables
    ):
        return _PLAIN[host]  # most requests; an Upgrade field needs an "upgrade" in Connection
    is_1_1 = line.version == "HTTP/1.1"
    host = _effective_host(line, host)
    body, length = _frame_body(variables, is_1_1)
    options = _OPTIONS[connection] if connection else ()
    # _make takes half the time of the call with six arguments.
    return Framing._make(
        (
            body,
            length,
            # RFC 9110 section 9.3.6: behind a CONNECT comes what is for the tunnel, and nobody's request.
            "close" not in options and (is_1_1 or "keep-alive" in options) and line.method != "CONNECT",
            # RFC 9110 section 10.1.1: ignored in HTTP/1.0; without a body there is nothing to wait for.
            is_1_1 and _expects_continue(variables.get("HTTP_EXPECT", "")) and body is not _NONE,
            # RFC 9110 section 7.8: Upgrade in HTTP/1.0 is ignored.
            variables.get("HTTP_UPGRADE", "").lower() or None if is_1_1 and "upgrade" in options else None,
            host,
        )
    )


def tokens(value: str) -> list[str]:
    """Return the members of a comma-separated list in lower case, empty ones left out (RFC 9110 section 5.6.1)."""
    return [token for token in [member.strip(" \t") for member in value.lower().split(",")] if token]


def _frame_plain(host: str) -> Framing:
    _check_host(host)
    return Framing(_NONE, 0, True, False, None, host)


def _check_host(host: str) -> None:
    if host and not is_authority(host):
        raise BadRequest("bad Host, or more than one")


def _effective_host(line: RequestLine, host: str | None) -> str:
    if host is None:
        if line.version == "HTTP/1.1":
            raise BadRequest("no Host")
        host = ""
    _check_host(host)
    # RFC 9112 section 3.2.2: the authority in the target wins, but the Host beside it must be valid all the same.
    return host if line.authority is None else line.authority


def _frame_body(variables: Mapping[str, str], is_1_1: bool) -> tuple[BodyKind, int]:
    length = variables.get("CONTENT_LENGTH")
    codings = variables.get("HTTP_TRANSFER_ENCODING")
    if codings is not None:
        if length is not None:
            raise BadRequest("both Content-Length and Transfer-Encoding")
        if not is_1_1:
            raise BadRequest("Transfer-Encoding in HTTP/1.0")
        _check_codings(codings.lower())
        return _CHUNKED, -1
    if length is None:
        return _NONE, 0
    # Once and in digits, as nearly always, costs a fifth of the regular expression. isdigit() alone takes "\u0665" too.
    if not (length.isdigit() and length.isascii() and len(length) <= _MAX_DIGITS):
        match = _CONTENT_LENGTH.fullmatch(length)
        if match is None:
            raise BadRequest("bad Content-Length, or more than one")
        length = match[1]
    size = int(length)
    return (_LENGTH if size else _NONE), size


def _check_codings(codings: str) -> None:
    if codings == "chunked":
        return
    if not _CODINGS.fullmatch(codings):
        raise BadRequest("bad Transfer-Encoding")
    names = [coding.partition(";")[0].rstrip(" \t") for coding in tokens(codings)]
    if "chunked" in names[:-1] or (names[-1] == "chunked" and ";" in codings.rpartition(",")[2]):
        raise BadRequest("chunked is not the last transfer coding, or has parameters")
    raise NotSupported("a transfer coding other than chunked")


def _expects_continue(expect: str) -> bool:
    if not expect:
        return False
    expectations = set(tokens(expect))
    if expectations - {"100-continue"}:
        raise ExpectationFailed("an expectation other than 100-continue")
    return bool(expectations)


def _options(connection: str) -> tuple[str, ...]:
    return tuple(tokens(connection))


_PLAIN = Memo(_frame_plain, max_entries=256, max_length=MAX_AUTHORITY)
_OPTIONS = Memo(_options, max_entries=64, max_length=64)
