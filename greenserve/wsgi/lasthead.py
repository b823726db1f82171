"""The last head of a connection, from which the next one mostly differs in a line or two. Pure; knows no connection.

A client that stays sends nearly the same head again: another target, another cookie. Each line of it that is the same
to the byte was checked before, so only the others are parsed, and put into a copy of the environ that there is already.
Whatever could change how the request is framed goes the whole way (`greenserve.http.framing`).
"""

from __future__ import annotations

from itertools import compress, count
from operator import ne

from greenserve.http.head import Fields, Limits, parse_request_line, parse_whole_line, small_head_lines
from greenserve.wsgi.environ import FRAMING_VARIABLES, Environ, put_fields, put_request_line

__all__ = ["LastHead"]


class LastHead:
    """A head without a body, and the environ that was made of it."""

    __slots__ = ("_environ", "_head", "_lines", "_raw", "_variables")

    def __init__(self, head: bytes, raw: tuple[tuple[str, str], ...], environ: Environ) -> None:
        self._head = head
        self._raw = raw
        self._environ = environ
        # Known once they are asked for: the next head may be the same, or another one altogether.
        self._lines: list[str] | None = None  # the request line and the fields, each with its CR
        self._variables: dict[int, str] = {}  # those of lines that were not the same in another head

    @classmethod
    def remember(cls, head: bytes, limits: Limits, fields: Fields, environ: Environ) -> LastHead | None:
        """Keep ``head``, if it is of the kind that comes again: small, each field once, nothing of a proxy's."""
        return cls(head, fields.raw, environ.copy()) if fields.is_plain and len(head) <= limits.smallest else None

    def next_environ(self, head: bytes, limits: Limits) -> Environ | None:
        """The environ of ``head``, or None if it has to be parsed as a whole.

        Raises:
            BadRequest: A line that is not as before is malformed.
        """
        if head == self._head:
            return self._environ.copy()
        lines = small_head_lines(head, limits)
        if lines is None:
            return None
        known = self._lines
        if known is None:
            known = self._lines = small_head_lines(self._head, limits) or []
        if len(lines) != len(known):
            return None
        environ = self._environ.copy()
        raw = None
        for index in compress(count(), map(ne, lines, known)):
            if not index:
                line = parse_request_line(lines[0][:-1])
                if line.authority is not None or line.version != environ["SERVER_PROTOCOL"]:
                    return None
                put_request_line(environ, line)
                continue
            field, variable, value = parse_whole_line(lines[index])
            before = self._variables.get(index)
            if before is None:
                before = self._variables[index] = parse_whole_line(known[index])[1]
            if variable != before or variable in FRAMING_VARIABLES:
                return None
            environ[variable] = value
            if raw is None:
                raw = list(self._raw)
            raw[index - 1] = field
        if raw is not None:
            put_fields(environ, tuple(raw))
        return environ
