from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ResponseError
from greenserve.http.body import ChunkedBody
from greenserve.http.head import Limits, parse_fields
from greenserve.http.response import (
    LAST_CHUNK,
    ResponseFields,
    body_allowed,
    capitalize,
    check_fields,
    check_head,
    chunk,
    error_page,
    is_hop_by_hop,
    parse_status,
    serialize_fields,
    status_line,
)
from tests.http.stream import put_into
from tests.http.test_head import names, values


class Text(str):
    """What a framework may hand out in place of a str."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"

    def strip(self, chars=None) -> str:
        return "something else"

    def encode(self, encoding="utf-8", errors="strict") -> bytes:
        return b"something else"


def test_fields_are_sent_as_the_application_gave_them():
    fields = [("content-TYPE", "text/plain"), ("X-A", ""), ("X-A", "\tb\tc "), ("Set-Cookie", "a=\xe9")]
    assert serialize_fields(fields) == b"content-TYPE: text/plain\r\nX-A: \r\nX-A: b\tc\r\nSet-Cookie: a=\xe9\r\n"
    assert serialize_fields([]) == b""


@pytest.mark.parametrize("field", [["Vary", "Cookie"], ("Vary", "Cookie"), (Text("Vary"), Text("Cookie"))])
def test_a_subclass_of_str_is_the_string_it_holds(field):
    for _ in range(2):
        assert serialize_fields([field]) == b"Vary: Cookie\r\n"
        assert serialize_fields(iter([field, ("X-Changing", Text("1"))])) == b"Vary: Cookie\r\nX-Changing: 1\r\n"


@pytest.mark.parametrize(
    "value", ["a\r\nSet-Cookie: b=c", "a\rb", "a\nb", "a\x00", "\x01", "\x0b", "\x1b[0m", "\x7f", "a\n", "\n", "\r\n"]
)
def test_a_control_character_in_a_value_is_refused(value):
    # RFC 9110 section 5.5
    for name in ("X-Name", "Content-Type"):
        for _ in range(2):
            with pytest.raises(ResponseError, match=name):
                serialize_fields([("Vary", "Cookie"), (name, value)])
    with pytest.raises(ResponseError):
        serialize_fields([("Upgrade", value)], allow_hop_by_hop=True)


@pytest.mark.parametrize(
    "name", ["", " ", "A ", " A", "A B", "A:", "A\r\nB", "A\n", "A\x00", "\xc4", "A\u20ac", "A(", '"A"', "A/B"]
)
def test_a_name_that_is_no_token_is_refused(name):
    for _ in range(2):
        with pytest.raises(ResponseError, match="name"):
            serialize_fields([(name, "a")])


@pytest.mark.parametrize("value", ["\u20ac", "a\u0100", "\ud800", "\u2028"])
def test_a_value_outside_latin_1_is_refused(value):
    # PEP 3333
    with pytest.raises(ResponseError, match="X-Name is not latin-1"):
        serialize_fields([("X-Name", value)])


@pytest.mark.parametrize(
    "field",
    [("X-Name", b"a"), (b"X-Name", "a"), ("X-Name", 1), ("X-Name", None), (None, "X-Name"), ("Vary", b"Cookie")],
)
def test_a_name_or_a_value_that_is_no_str_is_refused(field):
    serialize_fields([("Vary", "Cookie")])
    with pytest.raises(TypeError, match=r"X-Name|Vary"):
        serialize_fields([field])


@pytest.mark.parametrize(
    "field", [("A",), ["A"], ("A", "b", "c"), ["A", "b", "c"], "A", "AB", 5, None, ("A", ["b"]), {"A": "b"}]
)
def test_a_field_that_is_no_pair_is_refused(field):
    for function in (serialize_fields, lambda fields: check_head("200 OK", fields)):
        with pytest.raises(TypeError, match="response field"):
            function([("Vary", "Cookie"), field])


def test_a_head_is_checked_as_a_whole():
    for _ in range(3):
        for fields in ([("Vary", "Cookie")], [["Vary", "Cookie"]]):
            head = check_head("304 Not Modified", fields)
            assert (head.lines, head.code, head.has_content) == (
                b"HTTP/1.1 304 Not Modified\r\nVary: Cookie\r\n",
                304,
                False,
            )
            assert head.fields == check_fields(fields)
    assert check_head("200 OK", [("Content-Length", "5")]).fields.has_length == 5


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("200 OK\r\n", []),
        ("101 Switching Protocols", []),
        ("200 OK", [("Vary", "Cookie\n")]),
        ("200 OK", [("Connection", "close")]),
        ("200 OK", [("Content-Length", "5"), ("Content-Length", "5")]),
    ],
)
def test_a_head_is_refused_for_any_of_its_parts(status, fields):
    check_head("200 OK", [("Vary", "Cookie")])
    for _ in range(2):
        with pytest.raises(ResponseError):
            check_head(status, fields)


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Trailers",
        "Transfer-Encoding",
        "UPGRADE",
    ],
)
def test_fields_about_the_connection_are_not_the_applications(name):
    # PEP 3333
    assert is_hop_by_hop(name)
    for _ in range(2):
        with pytest.raises(ResponseError, match=name):
            serialize_fields([("Content-Type", "text/plain"), (name, "close")])
        assert serialize_fields([(name, "close")], allow_hop_by_hop=True) == f"{name}: close\r\n".encode()


@pytest.mark.parametrize("name", ["Content-Type", "X-Connection", "Connection-X", ""])
def test_other_fields_are(name):
    assert not is_hop_by_hop(name)


@pytest.mark.parametrize(
    ("fields", "summary"),
    [
        ([], ResponseFields(b"", None, False, False, False)),
        ([("content-length", "5")], ResponseFields(b"content-length: 5\r\n", 5, False, False, False)),
        ([("Content-Length", " 0 ")], ResponseFields(b"Content-Length: 0\r\n", 0, False, False, False)),
        ([("DATE", "x")], ResponseFields(b"DATE: x\r\n", None, True, False, False)),
        ([("Server", "x"), ("Date", "y")], ResponseFields(b"Server: x\r\nDate: y\r\n", None, True, True, False)),
    ],
)
def test_the_server_learns_what_the_application_set(fields, summary):
    for _ in range(3):
        assert check_fields(fields) == summary


@pytest.mark.parametrize(
    ("connection", "closes"),
    [("close", True), ("Upgrade, Close", True), ("upgrade", False), ("closed", False), ("", False)],
)
def test_the_server_learns_whether_the_connection_ends(connection, closes):
    fields = [("Connection", connection), ("Upgrade", "x")]
    assert check_fields(fields, allow_hop_by_hop=True).connection_close is closes
    assert check_fields([*fields, ("connection", "x")], allow_hop_by_hop=True).connection_close is closes


@pytest.mark.parametrize("value", ["", "-1", "+1", "1.0", "0x1", "1_0", "1, 1", "five", "\xb2", "1" * 20])
def test_a_content_length_that_is_no_number_is_refused(value):
    with pytest.raises(ResponseError, match="Content-Length"):
        check_fields([("Content-Length", value)])


def test_a_second_content_length_is_refused():
    for _ in range(2):
        with pytest.raises(ResponseError, match="twice"):
            check_fields([("Content-Length", "5"), ("content-length", "5")])


@given(st.lists(st.tuples(names, values), max_size=8))
def test_what_is_written_is_read_again(fields):
    try:
        lines = serialize_fields(fields, allow_hop_by_hop=True)
    except ResponseError:
        assert any(name.lower() == "content-length" for name, _ in fields)
        return
    assert lines == b"" or lines.endswith(b"\r\n")
    assert parse_fields(lines[:-2].decode("latin-1"), Limits(max_fields=1000)).raw == tuple(fields)
    assert serialize_fields(fields, allow_hop_by_hop=True) == lines


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4))
def test_any_fields_are_written_on_a_line_each_or_refused(fields):
    try:
        lines = serialize_fields(fields)
    except ResponseError:
        return
    assert lines.count(b"\r\n") == lines.count(b"\n") == lines.count(b"\r") == len(fields)


@pytest.mark.parametrize(
    ("status", "code", "line"),
    [
        ("200 OK", 200, b"HTTP/1.1 200 OK\r\n"),
        ("404 Not Found", 404, b"HTTP/1.1 404 Not Found\r\n"),
        ("599 \xe9\t!", 599, b"HTTP/1.1 599 \xe9\t!\r\n"),
        ("200 ", 200, b"HTTP/1.1 200 \r\n"),
        ("200", 200, b"HTTP/1.1 200 \r\n"),
    ],
)
def test_a_status_is_a_code_and_a_reason(status, code, line):
    # RFC 9112 section 4
    assert parse_status(status) == code
    assert status_line(status) == line


@pytest.mark.parametrize(
    "status",
    [
        "",
        "OK",
        "20 OK",
        "2000 OK",
        "200OK",
        " 200 OK",
        "200\tOK",
        "-20 OK",
        "+20 OK",
        "099 Low",
        "000 Low",
        "600 High",
        "999 High",
        "2\xb20 OK",
        "200 OK\r\n",
        "200 OK\n",
        "200 OK\r\nSet-Cookie: a=b",
        "200 O\rK",
        "200 O\x00K",
        "200 O\x7fK",
        "200\n",
        "200 \u20ac",
    ],
)
def test_a_status_outside_the_grammar_is_refused(status):
    for _ in range(2):
        for function in (parse_status, status_line):
            with pytest.raises(ResponseError):
                function(status)


@pytest.mark.parametrize("status", [200, b"200 OK", None, ("200 OK",)])
def test_a_status_that_is_no_str_is_refused(status):
    with pytest.raises(TypeError):
        parse_status(status)


def test_an_informational_status_is_for_those_who_hand_the_connection_over():
    with pytest.raises(ResponseError, match="101"):
        parse_status("101 Switching Protocols")
    assert parse_status("101 Switching Protocols", allow_informational=True) == 101
    assert status_line("100 Continue") == b"HTTP/1.1 100 Continue\r\n"


@pytest.mark.parametrize(
    ("method", "code", "allowed"),
    [
        ("GET", 200, True),
        ("POST", 404, True),
        ("HEAD", 200, False),
        ("HEAD", 404, False),
        ("head", 200, True),
        ("GET", 100, False),
        ("GET", 199, False),
        ("GET", 204, False),
        ("GET", 205, False),
        ("GET", 304, False),
        ("GET", 206, True),
        ("GET", 500, True),
    ],
)
def test_which_responses_have_a_body(method, code, allowed):
    # RFC 9110 sections 6.4.1 and 15.3.6
    assert body_allowed(method, code) is allowed


@pytest.mark.parametrize(
    ("name", "capitalized"),
    [("etag", "Etag"), ("ETag", "Etag"), ("x-y-Z", "X-Y-Z"), ("WWW-AUTHENTICATE", "Www-Authenticate"), ("", "")],
)
def test_a_name_is_capitalized_word_by_word(name, capitalized):
    assert capitalize(name) == capitalized


@pytest.mark.parametrize(
    ("data", "framed"), [(b"", b""), (b"a", b"1\r\na\r\n"), (b"a" * 26, b"1a\r\n" + b"a" * 26 + b"\r\n")]
)
def test_a_chunk(data, framed):
    assert chunk(data) == framed


@given(st.lists(st.binary()))
def test_chunks_are_read_again(pieces):
    class Source:
        data = b"".join(map(chunk, pieces)) + LAST_CHUNK

        def read1(self, size: int, /) -> bytes:
            piece, self.data = self.data[:size], self.data[size:]
            return piece

        def readinto(self, target: memoryview, /) -> int:
            return put_into(target, self.read1(len(target)))

        def readline(self, limit: int, /) -> bytes:
            return self.read1(min(self.data.find(b"\n") + 1, limit))

    assert ChunkedBody(Source()).read() == b"".join(pieces)


def test_an_error_page_is_a_complete_response():
    page = error_page("431 Request Header Fields Too Large", "too many header fields", "Sun, 06 Nov 1994 08:49:37 GMT")
    assert page == (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b"Connection: close\r\n"
        b"Content-Type: text/plain\r\n"
        b"Content-Length: 60\r\n"
        b"\r\n"
        b"431 Request Header Fields Too Large\n\ntoo many header fields\n"
    )
    assert len(page.partition(b"\r\n\r\n")[2]) == 60


def test_an_error_page_for_head_has_the_same_head_and_no_body():
    arguments = ("405 Method Not Allowed", "no \u20ac", "Thu, 01 Jan 1970 00:00:00 GMT")
    full = error_page(*arguments, fields=[("Allow", "GET")])
    head, end, body = full.partition(b"\r\n\r\n")
    assert body == b"405 Method Not Allowed\n\nno ?\n"
    assert b"\r\nAllow: GET" in head
    assert error_page(*arguments, with_body=False, fields=[("Allow", "GET")]) == head + end
