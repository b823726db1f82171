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

    def __init__(self, head: bytes, lines: list[str], raw: tuple[tuple[str, str], ...], environ: Environ) -> None:
        self._head = head
        self._lines = lines  # the request line and the fields, each with its CR
        self._raw = raw
        self._environ = environ
        # Each line's variable, the request line's being none.
        self._variables = ["", *[parse_whole_line(line)[1] for line in lines[1:]]]

    @classmethod
    def remember(cls, head: bytes, limits: Limits, fields: Fields, environ: Environ) -> LastHead | None:
        """Keep ``head``, if it is of the kind that comes again: small, each field once, nothing of a proxy's."""
        lines = small_head_lines(head, limits)
        if lines is None or fields.forwarded is not None:
            return None
        last = cls(head, lines, fields.raw, environ.copy())
        known = last._variables
        return last if len(set(known)) == len(known) else None

    def next_environ(self, head: bytes, limits: Limits) -> Environ | None:
        """The environ of ``head``, or None if it has to be parsed as a whole.

        Raises:
            BadRequest: A line that is not as before is malformed.
        """
        if head == self._head:
            return self._environ.copy()
        lines = small_head_lines(head, limits)
        if lines is None or len(lines) != len(self._lines):
            return None
        environ = self._environ.copy()
        raw = None
        for index in compress(count(), map(ne, lines, self._lines)):
            if not index:
                line = parse_request_line(lines[0][:-1])
                if line.authority is not None or line.version != environ["SERVER_PROTOCOL"]:
                    return None
                put_request_line(environ, line)
                continue
            field, variable, value = parse_whole_line(lines[index])
            if variable != self._variables[index] or variable in FRAMING_VARIABLES:
                return None
            environ[variable] = value
            if raw is None:
                raw = list(self._raw)
            raw[index - 1] = field
        if raw is not None:
            put_fields(environ, tuple(raw))
        return environ
