"""A head that is read by what differs from the last one gives just what reading it as a whole gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import BadRequest
from greenserve.http.framing import BodyKind, frame_request
from greenserve.http.head import Limits, take_head
from greenserve.wsgi.environ import request_environ
from greenserve.wsgi.lasthead import LastHead

LIMITS = Limits()
BASE = {"SERVER_NAME": "here", "wsgi.version": (1, 0)}

LINES = [
    "Host: a",
    "Host: b:80",
    "Host: bad host",
    "Cookie: x=1",
    "Cookie: x=2",
    "Referer: /one",
    "Referer: /two",
    "referer: /two",
    "X-One: 1",
    "X-One:  2 ",
    "X_One: 3",
    "X-Forwarded-For: 192.0.2.1",
    "Connection: close",
    "Connection: keep-alive",
    "Content-Length: 0",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Bad Name: 1",
    "No colon",
    "X-Two: \x01",
    "X-Two: bare\nLF",
    " folded",
    "",
]
REQUEST_LINES = [
    "GET / HTTP/1.1",
    "GET /other?q=1 HTTP/1.1",
    "HEAD /%41 HTTP/1.1",
    "GET / HTTP/1.0",
    "GET http://c/ HTTP/1.1",
    "CONNECT c:1 HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "GET  / HTTP/1.1",
    "GET / HTTP/2.0",
]


def as_a_whole(head):
    """Return environ, framing and what a connection keeps; or None for one that is no complete head."""
    found = take_head(head, LIMITS, False, 0, BASE)
    if found is None:
        return None
    line, fields, end = found
    framing = frame_request(line, fields.variables)
    environ = request_environ(line, fields, framing.host)
    is_plain = framing.body is BodyKind.NONE and line.authority is None and framing.upgrade is None
    last = LastHead.remember(head, LIMITS, fields, environ) if is_plain and end == len(head) else None
    return environ, framing, last


heads = st.builds(
    lambda line, fields: "\r\n".join([line, *fields, "", ""]).encode("latin-1"),
    st.sampled_from(REQUEST_LINES),
    st.lists(st.sampled_from(LINES), max_size=5),
)
good_heads = st.builds(
    lambda line, fields: "\r\n".join([line, "Host: a", *fields, "", ""]).encode("latin-1"),
    st.sampled_from(REQUEST_LINES[:3]),
    st.lists(st.sampled_from(LINES[3:10]), max_size=4, unique_by=lambda field: field.partition(":")[0].lower()),
)


@given(first=good_heads, second=st.one_of(heads, good_heads))
def test_a_head_read_by_its_difference_is_the_head_read_as_a_whole(first, second):
    whole = as_a_whole(first)
    assert whole is not None
    _, first_framing, last = whole
    assert last is not None
    try:
        expected = as_a_whole(second)
    except BadRequest as exc:
        with pytest.raises(type(exc)):
            # None sends it the whole way, where it is refused.
            assert last.next_environ(second, LIMITS) is None
            as_a_whole(second)
        return
    environ = last.next_environ(second, LIMITS)
    if environ is not None:
        assert expected is not None
        assert environ == expected[0]
        assert first_framing._replace(host="") == expected[1]._replace(host="")
        assert first_framing.host == expected[1].host


def test_another_cookie_and_another_target_are_read_by_their_difference():
    _, _, last = as_a_whole(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\nAccept: b\r\n\r\n")
    environ = last.next_environ(b"POST /c?d HTTP/1.1\r\nHost: a\r\nCookie: x=2\r\nAccept: b\r\n\r\n", LIMITS)
    assert environ["REQUEST_METHOD"] == "POST"
    assert (environ["PATH_INFO"], environ["QUERY_STRING"], environ["RAW_URI"]) == ("/c", "d", "/c?d")
    assert environ["HTTP_COOKIE"] == "x=2"
    assert environ["headers_raw"] == (("Host", "a"), ("Cookie", "x=2"), ("Accept", "b"))


def test_what_one_request_changed_in_its_environ_is_not_in_the_next():
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    environ, _, last = as_a_whole(head)
    environ["HTTP_HOST"] = "changed"
    last.next_environ(head, LIMITS)["HTTP_HOST"] = "changed too"
    assert last.next_environ(head, LIMITS)["HTTP_HOST"] == "a"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: b\r\nCookie: x=1\r\n\r\n",  # framing goes by the host
        b"GET / HTTP/1.0\r\nHost: a\r\nCookie: x=1\r\n\r\n",
        b"GET http://b/ HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\nX: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\n\r\nmore",
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\n",
    ],
)
def test_what_could_change_the_framing_is_read_as_a_whole(head):
    _, _, last = as_a_whole(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1\r\n\r\n")
    assert last.next_environ(head, LIMITS) is None
