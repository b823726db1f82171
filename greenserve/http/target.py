"""The request target: its four forms, the authority in it, and percent-decoding.

Takes strings in latin-1, one character for each byte received. Knows nothing of field lines,
and does not normalise: no dot segments removed, no case changed, ``//`` kept.

Facts, and what they mean here:

- RFC 9112 section 3.2 has four forms. Origin and absolute form are for every method but CONNECT, authority form
  is for CONNECT alone, asterisk form for OPTIONS alone. Anything else is refused.
- RFC 3986 allows less than browsers send: the WHATWG URL standard leaves ``[ ] | ^`` in a path and ``{ } \\ ```
  in a query as they are. So every visible ASCII character is taken, but ``#``: a fragment is never sent,
  and two parsers would cut the target at different places.
- Bytes from 0x80 on are in neither standard and no browser sends them: refused.
- A ``%`` that is not followed by two hexadecimal digits can't be decoded: refused in a path. Browsers leave it in
  a query as the user typed it (``?q=100%``), and a query is not decoded here: taken there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from greenserve.errors import BadRequest
from greenserve.http.memo import Memo

__all__ = ["Target", "is_authority", "parse_target", "percent_decode"]

# RFC 3986 section 3.2.2: reg-name = *( unreserved / pct-encoded / sub-delims ), here without the comma: that joins
# the values of a repeated field (RFC 9110 section 5.3), and two hosts must not pass as one.
_AUTHORITY = re.compile(
    r"(?:\[(?P<literal>[^\]]+)\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)(?P<colon>:(?P<port>[0-9]{0,5}))?"
)
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}")
_IPV6_GROUP = re.compile(r"[0-9A-Fa-f]{1,4}")
_IPV_FUTURE = re.compile(r"[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+")
_ABSOLUTE = re.compile(r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?P<authority>[^/?]*)(?P<path>[^?]*)(?:\?(?P<query>.*))?")
_DIGITS = "0123456789abcdefABCDEF"
_BYTES = {high + low: chr(int(high + low, 16)) for high in _DIGITS for low in _DIGITS}

MAX_AUTHORITY = 261  # a DNS name of 255, a colon and five digits


class Target(NamedTuple):
    """A request target in its parts; every string is latin-1, one character for each byte."""

    scheme: str | None  # "http" or "https" in absolute form, else None
    authority: str | None  # host[:port] in absolute and authority form, else None
    path: str  # percent-decoded: PATH_INFO; "" in asterisk and authority form
    raw_path: str  # as received, without the query; "*" in asterisk form, "" in authority form
    query: str  # as received, without the "?"


def parse_target(method: str, target: str) -> Target:
    """Return the parts of a request target.

    Raises:
        BadRequest: The target has a character or a form that its method does not allow.

    Source: RFC 9112 section 3.2, RFC 9110 section 4.2.
    """
    # isprintable and isascii together are exactly %x20-7E; they cost a fifth of a regular expression.
    if not (target.isascii() and target.isprintable()) or " " in target or "#" in target:
        raise BadRequest("bad character in the request target")
    if method == "CONNECT":
        return _authority_form(target)
    if target[:1] == "/":
        raw_path, _, query = target.partition("?")
        return Target(None, None, percent_decode(raw_path), raw_path, query)
    if target == "*":
        return _asterisk_form(method, None, None)
    return _absolute_form(method, target)


def _authority_form(target: str) -> Target:
    # RFC 9110 section 9.3.6: an empty or invalid port is refused.
    if not is_authority(target) or not target.rpartition(":")[2].isdigit():
        raise BadRequest("CONNECT needs a target host:port")
    return Target(None, target, "", "", "")


def _asterisk_form(method: str, scheme: str | None, authority: str | None) -> Target:
    # PATH_INFO is empty or starts with "/" (RFC 3875 section 4.1.5, and wsgiref.validate insists), so "*" is not one.
    # The raw path still tells "OPTIONS *" from "OPTIONS /".
    if method != "OPTIONS":
        raise BadRequest("the target * is for OPTIONS")
    return Target(scheme, authority, "", "*", "")


def _absolute_form(method: str, target: str) -> Target:
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadRequest("the request target is neither a path nor an http URI")
    scheme = match["scheme"].lower()
    authority = match["authority"]
    # RFC 9110 section 4.2.1: an empty host is invalid; section 4.2.4: so is user information (no host has an "@").
    if not is_authority(authority):
        raise BadRequest("bad authority in the request target")
    if method == "OPTIONS" and not match["path"] and match["query"] is None:
        return _asterisk_form(method, scheme, authority)  # RFC 9112 section 3.2.4
    raw_path = match["path"] or "/"  # RFC 9110 section 4.2.3
    return Target(scheme, authority, percent_decode(raw_path), raw_path, match["query"] or "")


def percent_decode(raw_path: str) -> str:
    """Return the path with each ``%XX`` replaced by its byte, as a latin-1 string (PEP 3333).

    Raises:
        BadRequest: A ``%`` is not followed by two hexadecimal digits.
    """
    if "%" not in raw_path:
        return raw_path
    first, *escaped = raw_path.split("%")
    try:
        return first + "".join([_BYTES[part[:2]] + part[2:] for part in escaped])
    except KeyError:
        raise BadRequest("bad percent-encoding in the path") from None


def is_authority(text: str) -> bool:
    """Tell whether ``text`` is a non-empty ``uri-host [":" port]``, with a port that exists.

    Source: RFC 3986 section 3.2, RFC 9110 section 7.2.
    """
    return _AUTHORITIES[text]


def _is_authority(text: str) -> bool:
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return False
    literal = match["literal"]
    if literal is not None and not (_is_ipv6(literal) or _IPV_FUTURE.fullmatch(literal)):
        return False
    return int(match["port"] or 0) <= 65535


def _is_ipv6(address: str) -> bool:
    """Tell whether this is an IPv6 address, without a zone (RFC 3986 section 3.2.2)."""
    before, gap, after = address.partition("::")
    groups = before.split(":") if before else []
    if not gap or after:
        groups += after.split(":") if gap else []
        if groups and _IPV4.fullmatch(groups[-1]):
            groups[-1:] = ["0", "0"]
    if not all(map(_IPV6_GROUP.fullmatch, groups)):
        return False
    return len(groups) <= 7 if gap else len(groups) == 8


_AUTHORITIES = Memo(_is_authority, max_entries=256, max_length=MAX_AUTHORITY)
