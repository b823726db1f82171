from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import BadRequest, FieldsTooLarge, TargetTooLong, VersionNotSupported
from greenserve.http.head import (
    MAX_EMPTY_LINES,
    Limits,
    RequestLine,
    check_partial,
    find_head_end,
    is_token,
    parse_field_line,
    parse_fields,
    parse_request_line,
    skip_empty_lines,
    split_head,
    take_head,
)

LIMITS = Limits()
TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

latin_1 = st.text(st.characters(min_codepoint=0, max_codepoint=255))
names = st.text(TOKEN_CHARACTERS, min_size=1, max_size=20)
values = st.text(
    st.one_of(st.just("\t"), st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
).map(lambda value: value.strip(" \t"))


@pytest.mark.parametrize(
    ("line", "method", "version"),
    [
        ("GET / HTTP/1.1", "GET", "HTTP/1.1"),
        ("GET / HTTP/1.0", "GET", "HTTP/1.0"),
        ("GET / HTTP/1.2", "GET", "HTTP/1.1"),  # RFC 9110 section 2.5: the highest minor version that we know
        ("GET / HTTP/1.9", "GET", "HTTP/1.1"),
        ("get / HTTP/1.1", "get", "HTTP/1.1"),  # RFC 9110 section 9.1: methods are case-sensitive, and any token is one
        ("PATCH / HTTP/1.1", "PATCH", "HTTP/1.1"),
        ("!#$%&'*+-.^_`|~ / HTTP/1.1", "!#$%&'*+-.^_`|~", "HTTP/1.1"),
    ],
)
def test_a_request_line_has_a_token_a_target_and_a_version(line, method, version):
    parsed = parse_request_line(line)
    assert (parsed.method, parsed.version, parsed.target, parsed.path) == (method, version, "/", "/")


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "GET",
        "GET /",  # HTTP/0.9
        "GET / ",
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/\tHTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\x0bHTTP/1.1",
        "GET / HTTP/1.1\r",
        "GET / HTTP/1.1\n",
        "GET /\rHTTP/1.1 HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET  HTTP/1.1",
        "G\x00T / HTTP/1.1",
        "G\xc3T / HTTP/1.1",
        "GET: / HTTP/1.1",
        "(GET) / HTTP/1.1",
        '"GET" / HTTP/1.1',
        "GET / http/1.1",
        "GET / Http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.",
        "GET / HTTP/.1",
        "GET / HTTP/11",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / HTTP/1.1.1",
        "GET / HTTP/1,1",
        "GET / HTTP 1.1",
        "GET / HTTP/1.\xb2",  # superscript two: a digit to str.isdigit()
        "GET / HTTP/+1.1",
        "GET / XTTP/1.1",
        "GET / HTTPS/1.1",
    ],
)
def test_a_request_line_outside_the_grammar_is_refused(line):
    with pytest.raises(BadRequest) as caught:
        parse_request_line(line)
    assert caught.value.status == "400 Bad Request"


@pytest.mark.parametrize("version", ["HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9", "HTTP/0.0"])
def test_another_major_version_is_answered_with_505(version):
    with pytest.raises(VersionNotSupported):
        parse_request_line(f"GET / {version}")


def test_the_preface_of_http_2_is_answered_with_505():
    with pytest.raises(VersionNotSupported):
        parse_request_line("PRI * HTTP/2.0")


def test_a_remembered_request_line_is_the_same_as_a_parsed_one():
    lines = [f"GET /{number} HTTP/1.1" for number in range(1200)]
    first = [parse_request_line(line) for line in lines]
    assert [parse_request_line(line) for line in lines] == first
    assert first[7] == RequestLine("GET", "/7", "HTTP/1.1", None, None, "/7", "/7", "")


def test_a_request_line_is_refused_each_time_it_comes():
    for _ in range(3):
        with pytest.raises(BadRequest):
            parse_request_line("GET /#again HTTP/1.1")


@given(latin_1)
def test_any_request_line_is_parsed_or_refused(line):
    try:
        parsed = parse_request_line(line)
    except BadRequest:
        return
    version = line.rpartition(" ")[2]
    assert f"{parsed.method} {parsed.target} {version}" == line


@given(latin_1, latin_1, latin_1)
def test_any_three_words_are_parsed_or_refused(method, target, version):
    line = f"{method} {target} {version}"
    try:
        parsed = parse_request_line(line)
    except BadRequest:
        return
    assert (parsed.method, parsed.target) == (method, target)


def test_fields_keep_their_order_repeats_and_spelling():
    fields = parse_fields("Host: a\r\nX-One: 1\r\nx-one:2\r\nACCEPT:  */* \t\r\nEmpty:", LIMITS)
    assert fields.raw == (("Host", "a"), ("X-One", "1"), ("x-one", "2"), ("ACCEPT", "*/*"), ("Empty", ""))
    assert fields.variables == {"HTTP_HOST": "a", "HTTP_X_ONE": "1, 2", "HTTP_ACCEPT": "*/*", "HTTP_EMPTY": ""}


def test_no_fields_are_no_error():
    fields = parse_fields("", LIMITS)
    assert fields.raw == ()
    assert fields.variables == {}


@pytest.mark.parametrize(
    ("block", "variables"),
    [
        ("Content-Type: text/plain", {"CONTENT_TYPE": "text/plain"}),
        ("content-length: 5", {"CONTENT_LENGTH": "5"}),
        ("Content-Length: 5\r\nCONTENT-LENGTH: 5", {"CONTENT_LENGTH": "5"}),
        ("Cookie: a=1\r\nCookie: b=2\r\ncookie: c=3", {"HTTP_COOKIE": "a=1; b=2; c=3"}),
        ("Via: 1\r\nVia: 2", {"HTTP_VIA": "1, 2"}),
        ("Via:\r\nVia: 2", {"HTTP_VIA": ", 2"}),
        ("A.B: 1", {"HTTP_A.B": "1"}),
        ("A: b:c: d", {"HTTP_A": "b:c: d"}),
        ("A: b\tc", {"HTTP_A": "b\tc"}),
        ("A: \xe4\xf6\x80\xff", {"HTTP_A": "\xe4\xf6\x80\xff"}),  # obs-text, RFC 9110 section 5.5
        ("A: \x85x\xa0", {"HTTP_A": "\x85x\xa0"}),  # whitespace to str.strip(), none to HTTP
    ],
)
def test_a_field_becomes_the_variable_that_cgi_names(block, variables):
    assert parse_fields(block, LIMITS).variables == variables


def test_the_variables_are_the_callers_to_change():
    block = "Host: a\r\nAccept: */*"
    parse_fields(block, LIMITS).variables.clear()
    parse_fields(block, LIMITS).variables["HTTP_HOST"] = "b"
    assert parse_fields(block, LIMITS).variables == {"HTTP_HOST": "a", "HTTP_ACCEPT": "*/*"}


@pytest.mark.parametrize(
    "block",
    [
        "Host",
        "Host : a",
        "Host\t: a",
        " Host: a",
        "\tHost: a",
        ": a",
        ":",
        "A: b\r\n c",
        "A: b\r\n\tc",
        "A: b\r\n",
        "\r\nA: b",
        "A: b\r\n\r\nC: d",
        "A: b\nC: d",
        "A: b\rC: d",
        "A: b\r",
        "A: \rb",
        "A: \nb",
        "A\r: b",
        "A\n: b",
        "A: b\x00",
        "A\x00: b",
        "A: \x01",
        "A: \x0b",
        "A: \x0c",
        "A: \x1b[0m",
        "A: \x7f",
        "A B: c",
        "A(: c",
        "A\xc4: c",
        '"A": c',
        "A/B: c",
        "A@B: c",
        "[A]: c",
        "{A}: c",
        "A,B: c",
        "A;B: c",
        "GET / HTTP/1.1",
    ],
)
def test_a_field_line_outside_the_grammar_is_refused(block):
    for lines in (block, "Host: a\r\n" + block, block + "\r\nHost: a"):
        with pytest.raises(BadRequest) as caught:
            parse_fields(lines, LIMITS)
        assert caught.value.status == "400 Bad Request"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (" folded", "a header field is folded"),
        ("Host : a", "space before the colon of a header field"),
        (": a", "a header field has no name"),
        ("Ho st: a", "bad header field name"),
        ("Host", "a header field has no colon"),
        ("Host: \x00", "control character in a header field"),
    ],
)
def test_a_refusal_says_what_is_wrong(line, reason):
    with pytest.raises(BadRequest, match=reason):
        parse_field_line(line)


def test_names_with_an_underscore_are_kept_out_of_the_variables():
    fields = parse_fields("X_Y: 1\r\nX-Y: 2\r\nContent_Length: 9\r\nA_: 3", LIMITS)
    assert fields.variables == {"HTTP_X_Y": "2"}
    assert fields.raw[0] == ("X_Y", "1")


def test_names_with_an_underscore_get_a_variable_when_asked_for():
    fields = parse_fields("A_B: 1\r\nC: 2\r\nA_B: 3", LIMITS, keep_underscores=True)
    assert fields.variables == {"HTTP_A_B": "1, 3", "HTTP_C": "2"}


@pytest.mark.parametrize("block", ["X_Y: 1\r\nX-Y: 2", "X-Y: 2\r\nX_Y: 1"])
def test_a_name_with_an_underscore_never_stands_beside_or_before_the_proper_one(block):
    assert parse_fields(block, LIMITS, keep_underscores=True).variables == {"HTTP_X_Y": "2"}


@pytest.mark.parametrize(
    "name",
    ["Content_Length", "Transfer_Encoding", "X_Forwarded_For", "X_Forwarded-Proto", "transfer_encoding"],
)
def test_what_the_server_goes_by_is_never_spelled_with_an_underscore(name):
    assert parse_fields(f"{name}: 1", LIMITS, keep_underscores=True).variables == {}


@pytest.mark.parametrize(
    ("block", "limits"),
    [
        ("A: 1\r\nB: 2\r\nC: 3", Limits(max_fields=2)),
        ("A: 3456", Limits(max_field=6)),
        ("A: 1\r\nAccept: */*", Limits(max_field=10)),
        ("A: 1\r\nB: 2", Limits(max_field=5, max_head=9)),
        ("Host: a\r\nAccept: */*", Limits(max_fields=1)),
        ("Host: a\r\nAccept: */*", Limits(max_field=10)),
    ],
)
def test_fields_over_a_limit_are_answered_with_431(block, limits):
    parse_fields(block, LIMITS)  # within the usual limits, and remembered now
    with pytest.raises(FieldsTooLarge):
        parse_fields(block, limits)


def test_fields_at_their_limits_are_taken():
    limits = Limits(max_fields=2, max_field=4, max_head=10)
    assert len(parse_fields("A: 1\r\nB: 2", limits).raw) == 2


@given(
    st.lists(st.tuples(names, st.sampled_from([":", ": ", ":\t", ":  \t "]), values, st.sampled_from(["", " ", "\t"])))
)
def test_fields_are_read_as_they_were_written(fields):
    block = "\r\n".join([name + colon + value + space for name, colon, value, space in fields])
    parsed = parse_fields(block, Limits(max_fields=1000))
    assert parsed.raw == tuple([(name, value) for name, _, value, _ in fields])


@given(st.lists(st.tuples(names, values), min_size=1), st.booleans())
def test_the_variables_follow_from_the_fields_alone(fields, keep_underscores):
    block = "\r\n".join([f"{name}: {value}" for name, value in fields])
    expected: dict[str, str] = {}
    for name, value in fields:
        if "_" in name:
            continue
        variable = name.upper().replace("-", "_")
        if variable not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            variable = f"HTTP_{variable}"
        joint = "; " if variable == "HTTP_COOKIE" else ", "
        expected[variable] = expected[variable] + joint + value if variable in expected else value
    found = parse_fields(block, Limits(max_fields=1000), keep_underscores).variables
    assert {variable: found[variable] for variable in expected} == expected
    if not keep_underscores:
        assert found == expected


@given(latin_1)
def test_any_block_is_parsed_or_refused(block):
    try:
        parsed = parse_fields(block, LIMITS)
    except BadRequest:
        return
    assert all(is_token(name) for name, _ in parsed.raw)
    assert not any(character in value for _, value in parsed.raw for character in "\r\n\x00")


@given(st.text("Aa:\r\n \t\x00;,=\x7f\xe9", max_size=30))
def test_a_block_is_taken_twice_or_refused_twice(block):
    answers = []
    for _ in range(2):
        try:
            answers.append(parse_fields(block, LIMITS).raw)
        except BadRequest as exc:
            answers.append(str(exc))
    assert answers[0] == answers[1]


def test_the_memories_stay_within_their_bounds():
    for number in range(3000):
        parse_fields(f"Host: {number}\r\nUser-Agent: {number}\r\nX-{number}: 1", LIMITS)
        parse_fields(f"Host: {number}", LIMITS)
    assert parse_fields("Host: 2999\r\nUser-Agent: 2999\r\nX-2999: 1", LIMITS).variables == {
        "HTTP_HOST": "2999",
        "HTTP_USER_AGENT": "2999",
        "HTTP_X_2999": "1",
    }


@pytest.mark.parametrize(
    ("buffer", "end"),
    [
        (b"", -1),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r", -1),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n", 27),
        (b"GET / HTTP/1.0\r\n\r\n", 18),
        (b"\r\n\r\nGET / HTTP/1.0\r\n\r\n", 22),
        (b"\r\n\r\n", -1),
        (b"\r\n\r\n\r\n", -1),
        (b"\r\n\r\nGET / HTTP/1.0\r\n", -1),
        (b"G\r\n\r\n", 5),
    ],
)
def test_the_head_ends_behind_the_first_empty_line_after_its_first_line(buffer, end):
    assert find_head_end(buffer) == end
    assert find_head_end(bytearray(buffer)) == end
    assert find_head_end(b"before" + buffer, 6) == (end + 6 if end > 0 else -1)


@given(
    st.binary(max_size=40), st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"A: b", b"GET / HTTP/1.1"]), max_size=12)
)
def test_the_end_of_a_head_does_not_depend_on_how_its_bytes_arrive(prefix, parts):
    message = (prefix if b"\r" not in prefix else b"") + b"".join(parts)

    def find(pieces):
        buffer, seen = b"", 0
        for piece in pieces:
            buffer += piece
            try:
                end = find_head_end(buffer, 0, seen)
            except BadRequest:
                return "refused"
            if end >= 0:
                return end
            seen = len(buffer)
        return -1

    assert find([message]) == find([message[index : index + 1] for index in range(len(message))])


def test_a_few_empty_lines_before_the_request_line_are_skipped():
    # RFC 9112 section 2.2
    assert skip_empty_lines(b"\r\n" * MAX_EMPTY_LINES + b"G", 0) == 2 * MAX_EMPTY_LINES
    with pytest.raises(BadRequest):
        skip_empty_lines(b"\r\n" * (MAX_EMPTY_LINES + 1))
    with pytest.raises(BadRequest):
        find_head_end(b"\r\n" * (MAX_EMPTY_LINES + 1))


@pytest.mark.parametrize("before", [b"", b"\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_head_is_split_into_its_line_and_its_fields(before, kind):
    buffer = kind(before + b"GET / HTTP/1.1\r\nHost: a\r\nB: \xff\r\n\r\nrest")
    end = find_head_end(buffer)
    assert buffer[end:] == b"rest"
    assert split_head(buffer, 0, end, LIMITS) == ("GET / HTTP/1.1", "Host: a\r\nB: \xff")


def test_a_head_without_fields_has_an_empty_block():
    assert split_head(b"GET / HTTP/1.0\r\n\r\n", 0, 18, LIMITS) == ("GET / HTTP/1.0", "")


def test_a_whole_head_over_a_limit_is_refused():
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert split_head(head, 0, len(head), Limits(max_line=14, max_head=27))[0] == "GET / HTTP/1.1"
    with pytest.raises(TargetTooLong):
        split_head(head, 0, len(head), Limits(max_line=13))
    with pytest.raises(FieldsTooLarge):
        split_head(head, 0, len(head), Limits(max_head=26))


@pytest.mark.parametrize(
    "buffer",
    [
        b"",
        b"\r",
        b"\r\n",
        b"\r\n\r",
        b"G",
        b"GET / HTT",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r",
        b"GET / HTTP/1.1\r\nHost: a\tb\r\nC: \xff",
    ],
)
def test_the_beginning_of_a_good_head_is_waited_for(buffer):
    check_partial(buffer, LIMITS)
    check_partial(bytearray(buffer), LIMITS, 0, len(buffer))


@pytest.mark.parametrize(
    ("buffer", "error"),
    [
        (b"GET / HTTP/1.1\nHost: x\n\n", BadRequest),
        (b"\n", BadRequest),
        (b"GET / HTTP/1.1\r\nHost: x\n", BadRequest),
        (b"GET / HTTP/1.1\r\nHost: x\n\r\n", BadRequest),
        (b"GET / HTTP/1.1\rHost", BadRequest),
        (b"\rG", BadRequest),
        (b"GET / HTTP/1.1\r\nA: \x00", BadRequest),
        (b"G\x00", BadRequest),
        (b"\x16", BadRequest),  # a TLS handshake
        (b"\x16\x03\x01\x02\x00\x01\x00", BadRequest),
        (b"\x80\x2e\x01\x00\x02", BadRequest),  # an SSL 2 hello
        (b" GET / HTTP/1.1", BadRequest),
        (b"SSH-2.0-OpenSSH_9.6\r\n", BadRequest),
        (b"GET /\r\n", BadRequest),
        (b"GET / HTTP/2.0\r\n", VersionNotSupported),
        (b"GET / HTTP/1.1\r\r", BadRequest),
        (b"\r\n" * (MAX_EMPTY_LINES + 1), BadRequest),
        (b"GET /" + b"a" * 8200, TargetTooLong),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101, FieldsTooLarge),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 8190, FieldsTooLarge),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 8190 + b"\r\nB: c\r\n", FieldsTooLarge),
        (b"GET / HTTP/1.1\r\n" + (b"A: " + b"b" * 8000 + b"\r\n") * 9, FieldsTooLarge),
    ],
)
def test_a_head_that_can_not_become_good_is_refused_before_its_end(buffer, error):
    with pytest.raises(BadRequest) as caught:
        check_partial(buffer, LIMITS)
    assert type(caught.value) is error
    with pytest.raises(error):
        check_partial(b"earlier\r\n\r\n" + buffer, LIMITS, 11)
    with pytest.raises(error):  # and no later when it comes in pieces
        for length in range(1, len(buffer) + 1):
            check_partial(buffer[:length], LIMITS, 0, length - 1)


def test_the_longest_request_line_and_field_are_waited_for():
    limits = Limits(max_line=20, max_field=10, max_fields=2, max_head=60)
    line = b"GET /234567 HTTP/1.1"
    assert len(line) == 20
    head = line + b"\r\n" + b"A: 4567890\r\n" * 2 + b"\r\n"
    for length in range(len(head) - 1):
        check_partial(head[:length], limits, 0, max(0, length - 1))
    with pytest.raises(TargetTooLong):
        check_partial(b"GET /234567 HTTP/1.10", limits)


@given(
    st.lists(
        st.sampled_from([b"GET", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\r", b"\n", b"A", b":", b"b", b"\x00", b"\xff"])
    ),
    st.data(),
)
def test_what_is_refused_early_is_refused_at_the_end_too(parts, data):
    buffer = b"".join(parts)
    limits = Limits(max_line=30, max_field=10, max_fields=2, max_head=60)
    cut = data.draw(st.integers(0, len(buffer)))
    try:
        check_partial(buffer[:cut], limits)
    except BadRequest:
        ended = buffer + b"\r\n\r\n"
        if ended.strip(b"\r\n"):  # a few empty lines more are no head yet
            assert isinstance(answer(read_head, ended, limits), type)


def read_head(buffer: bytes, limits: Limits) -> tuple[RequestLine, object, object, int] | None:
    end = find_head_end(buffer)
    if end < 0:
        return None
    text, block = split_head(buffer, 0, end, limits)
    line = parse_request_line(text)
    fields = parse_fields(block, limits)
    return line, fields.raw, fields.variables, end


def answer(read: Callable[[bytes, Limits], object], buffer: bytes, limits: Limits) -> object:
    try:
        return read(buffer, limits)
    except BadRequest as exc:
        return type(exc)


HEAD_PARTS = st.lists(
    st.sampled_from(
        [
            b"GET",
            b" ",
            b"/",
            b"HTTP/1.1",
            b"GET / HTTP/1.1\r\n",
            b"Host: a\r\n",
            b"\r\n",
            b"\r",
            b"\n",
            b"A",
            b":",
            b"b",
            b"\x00",
            b"\xff",
        ]
    )
)


@given(HEAD_PARTS, HEAD_PARTS)
def test_a_head_taken_in_one_go_is_the_head_taken_step_by_step(parts, rest):
    def take(buffer: bytes, limits: Limits) -> object:
        head = take_head(buffer, limits)
        return head and (head[0], head[1].raw, head[1].variables, head[2])

    for buffer in (b"".join(parts) + b"\r\n\r\n", b"".join(parts) + b"\r\n\r\n" + b"".join(rest)):
        for limits in (LIMITS, Limits(max_line=16, max_field=10, max_fields=2, max_head=60)):
            assert answer(take, buffer, limits) == answer(read_head, buffer, limits)


@pytest.mark.parametrize("buffer", [b"", b"\r\n", b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_no_head_is_taken_before_its_end(buffer):
    assert take_head(buffer, LIMITS) is None


@pytest.mark.parametrize(
    "buffer", [b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\n\r\n\r\n", b"GET / HTTP/1.1\nHost: a\r\n\r\n"]
)
def test_a_bare_lf_before_the_fields_is_refused_with_the_whole_head_there(buffer):
    with pytest.raises(BadRequest):
        take_head(buffer, LIMITS)
