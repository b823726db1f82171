from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import BadRequest, ExpectationFailed, NotSupported
from greenserve.http.framing import BodyKind, Framing, frame_request, tokens
from greenserve.http.head import Limits, parse_fields, parse_request_line

LIMITS = Limits()


def frame(
    *fields: str, line: str = "POST / HTTP/1.1", host: str | None = "Host: a", allow_connect: bool = False
) -> Framing:
    block = "\r\n".join([field for field in (host, *fields) if field is not None])
    return frame_request(parse_request_line(line), parse_fields(block, LIMITS).variables, allow_connect)


def test_a_plain_request_has_no_body_and_keeps_the_connection():
    expected = Framing(BodyKind.NONE, 0, True, False, None, "a")
    assert frame(line="GET / HTTP/1.1") == expected
    assert frame("Connection: keep-alive", "Accept: */*") == expected
    assert frame("Content-Length: 0") == expected


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        (["Content-Length: 5"], 5),
        (["Content-Length: 005"], 5),
        (["Content-Length: 5, 5"], 5),
        (["Content-Length: 5,5 ,\t5"], 5),
        (["Content-Length: 5", "content-length: 5"], 5),
        (["Content-Length: 9999999999999999999"], 9999999999999999999),
        (["Content-Length:5 "], 5),
    ],
)
def test_a_body_of_a_length(fields, length):
    # RFC 9110 section 8.6
    assert frame(*fields)[:2] == (BodyKind.LENGTH, length)
    assert frame(*fields, line="GET / HTTP/1.0", host=None)[:2] == (BodyKind.LENGTH, length)


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Length:"],
        ["Content-Length: +5"],
        ["Content-Length: -5"],
        ["Content-Length: 0_5"],
        ["Content-Length: 0x5"],
        ["Content-Length: 5.0"],
        ["Content-Length: 5e1"],
        ["Content-Length: 5 5"],
        ["Content-Length: 5;"],
        ["Content-Length: 5,"],
        ["Content-Length: ,5"],
        ["Content-Length: 5,,5"],
        ["Content-Length: 5, 6"],
        ["Content-Length: 5, 05"],
        ["Content-Length: 5, 55"],
        ["Content-Length: 55, 5"],
        ["Content-Length: five"],
        ["Content-Length: \xb2"],
        ["Content-Length: 5\xa0"],
        ["Content-Length: 5\x85"],
        ['Content-Length: "5"'],
        ["Content-Length: 10000000000000000000"],
        ["Content-Length: " + "9" * 5000],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Content-Length:"],
        ["Content-Length: 0", "Content-Length: 5"],
    ],
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_length_that_is_not_one_number_is_refused(fields, version):
    with pytest.raises(BadRequest, match="Content-Length"):
        frame(*fields, line=f"GET / {version}")


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED", " \tchunked\t "])
def test_a_chunked_body(coding):
    # RFC 9112 section 6.1; coding names are case-insensitive (section 7)
    assert frame(f"Transfer-Encoding: {coding}")[:2] == (BodyKind.CHUNKED, -1)


@pytest.mark.parametrize(
    "fields",
    [
        ["Transfer-Encoding:"],
        ["Transfer-Encoding: ,"],
        ["Transfer-Encoding: ,chunked"],
        ["Transfer-Encoding: chunked,"],
        ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked, gzip"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding: gzip, chunked, chunked"],
        ["Transfer-Encoding: chunked;a=b"],
        ["Transfer-Encoding: chunked ; a"],
        ["Transfer-Encoding: gzip, chunked;a=b"],
        ["Transfer-Encoding: chunked;a, gzip"],
        ["Transfer-Encoding: chunked foo"],
        ["Transfer-Encoding: chunked\xa0"],
        ["Transfer-Encoding: \x85chunked"],
        ["Transfer-Encoding: \xffchunked"],
        ['Transfer-Encoding: "chunked"'],
        ["Transfer-Encoding: chun(ked"],
        ["Transfer-Encoding: [chunked]"],
    ],
)
def test_a_transfer_encoding_that_could_be_read_in_two_ways_is_refused(fields):
    with pytest.raises(BadRequest) as caught:
        frame(*fields)
    assert caught.value.status == "400 Bad Request"


@pytest.mark.parametrize(
    "codings",
    ["gzip", "identity", "xchunked", "chunkedx", "gzip, chunked", "gzip;a=b", "deflate, gzip", "gzip;q=0.5, chunked"],
)
def test_a_transfer_coding_that_is_not_known_is_answered_with_501(codings):
    # RFC 9112 section 6.1
    with pytest.raises(NotSupported):
        frame(f"Transfer-Encoding: {codings}")


@pytest.mark.parametrize("coding", ["chunked", "gzip", "identity", ""])
def test_a_transfer_encoding_beside_a_length_is_refused(coding):
    # RFC 9112 section 6.1
    for fields in (
        [f"Transfer-Encoding: {coding}", "Content-Length: 5"],
        ["Content-Length: 0", f"Transfer-Encoding: {coding}"],
    ):
        with pytest.raises(BadRequest, match="both") as caught:
            frame(*fields)
        assert caught.value.status == "400 Bad Request"


@pytest.mark.parametrize("coding", ["chunked", "gzip"])
def test_a_transfer_encoding_in_http_1_0_is_refused(coding):
    # RFC 9112 section 6.1
    with pytest.raises(BadRequest, match=r"HTTP/1\.0") as caught:
        frame(f"Transfer-Encoding: {coding}", line="POST / HTTP/1.0")
    assert caught.value.status == "400 Bad Request"


@pytest.mark.parametrize(
    ("host", "effective"),
    [
        ("Host: a", "a"),
        ("Host: a:80", "a:80"),
        ("Host:", ""),
        ("Host:  a.example. ", "a.example."),
        ("Host: [::1]:80", "[::1]:80"),
    ],
)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_valid_host_is_taken(host, effective, version):
    assert frame(line=f"GET / {version}", host=host).host == effective


def test_a_request_without_a_host_is_refused_on_1_1_only():
    # RFC 9112 section 3.2
    assert frame(line="GET / HTTP/1.0", host=None).host == ""
    for line in ("GET / HTTP/1.1", "GET http://a/ HTTP/1.1", "OPTIONS * HTTP/1.1"):
        with pytest.raises(BadRequest, match="no Host"):
            frame(line=line, host=None)


@pytest.mark.parametrize(
    "fields",
    [
        ["Host: a", "Host: a"],
        ["Host: a", "Host: b"],
        ["Host: a", "host:"],
        ["Host:", "Host:"],
        ["Host:", "Host: a"],
        ["Host: a b"],
        ["Host: a,b"],
        ["Host: a/b"],
        ["Host: http://a"],
        ["Host: user@a"],
        ["Host: a:b"],
        ["Host: :80"],
        ["Host: \xe9"],
        ["Host: a", "Content-Length: 5", "Host: a"],
    ],
)
@pytest.mark.parametrize("target", ["/", "http://b/"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_more_than_one_host_or_an_invalid_one_is_refused(fields, target, version):
    # RFC 9112 section 3.2, also when the target has an authority of its own
    for _ in range(2):
        with pytest.raises(BadRequest, match="bad Host"):
            frame(*fields, line=f"GET {target} {version}", host=None)


def test_the_authority_in_the_target_wins_over_the_host():
    # RFC 9112 section 3.2.2
    assert frame(line="GET http://b:81/ HTTP/1.1").host == "b:81"
    assert frame(line="GET http://b/ HTTP/1.0", host=None).host == "b"
    assert frame(line="OPTIONS http://b HTTP/1.1", host="Host:").host == "b"


@pytest.mark.parametrize(
    ("version", "fields", "keep_alive"),
    [
        ("HTTP/1.1", [], True),
        ("HTTP/1.1", ["Connection: close"], False),
        ("HTTP/1.1", ["Connection: Close"], False),
        ("HTTP/1.1", ["Connection: keep-alive"], True),
        ("HTTP/1.1", ["Connection: Keep-Alive"], True),
        ("HTTP/1.1", ["Connection: keep-alive, close"], False),
        ("HTTP/1.1", ["Connection: close, keep-alive"], False),
        ("HTTP/1.1", ["Connection: keep-alive", "Connection: foo ,\tCLOSE"], False),
        ("HTTP/1.1", ["Connection:"], True),
        ("HTTP/1.1", ["Connection: ,"], True),
        ("HTTP/1.1", ["Connection: ,,close,,"], False),
        ("HTTP/1.1", ["Connection: closed"], True),
        ("HTTP/1.1", ["Connection: x-close"], True),
        ("HTTP/1.1", ["Proxy-Connection: close"], True),
        ("HTTP/1.0", [], False),
        ("HTTP/1.0", ["Connection: close"], False),
        ("HTTP/1.0", ["Connection: keep-alive"], True),
        ("HTTP/1.0", ["Connection: foo, KEEP-ALIVE"], True),
        ("HTTP/1.0", ["Connection: foo", "Connection: keep-alive"], True),
        ("HTTP/1.0", ["Connection: keep-alive, close"], False),
        ("HTTP/1.0", ["Connection: keep-alives"], False),
        ("HTTP/1.0", ["Proxy-Connection: keep-alive"], False),
        ("HTTP/1.0", ["Keep-Alive: timeout=5"], False),
    ],
)
def test_the_version_and_the_tokens_in_connection_say_whether_the_connection_stays(version, fields, keep_alive):
    # RFC 9112 section 9.3
    assert frame(*fields, line=f"GET / {version}").keep_alive is keep_alive


@pytest.mark.parametrize(
    ("version", "fields", "expects"),
    [
        ("HTTP/1.1", ["Expect: 100-continue", "Content-Length: 5"], True),
        ("HTTP/1.1", ["Expect: 100-Continue", "Transfer-Encoding: chunked"], True),
        ("HTTP/1.1", ["Expect: 100-continue, 100-continue", "Content-Length: 5"], True),
        ("HTTP/1.1", ["Expect: 100-continue"], False),
        ("HTTP/1.1", ["Expect: 100-continue", "Content-Length: 0"], False),
        ("HTTP/1.1", ["Expect:", "Content-Length: 5"], False),
        ("HTTP/1.0", ["Expect: 100-continue", "Content-Length: 5"], False),
        ("HTTP/1.0", ["Expect: the-unexpected", "Content-Length: 5"], False),
    ],
)
def test_whether_the_client_waits_for_a_100(version, fields, expects):
    # RFC 9110 section 10.1.1
    assert frame(*fields, line=f"POST / {version}").expect_continue is expects


@pytest.mark.parametrize(
    "expectation", ["200-ok", "100-continue, 200-ok", "100-continue;a=b", "100", "100-continue 100-continue"]
)
def test_any_other_expectation_is_answered_with_417(expectation):
    for fields in ([], ["Content-Length: 5"]):
        with pytest.raises(ExpectationFailed):
            frame(f"Expect: {expectation}", *fields)


@pytest.mark.parametrize(
    ("version", "fields", "upgrade"),
    [
        ("HTTP/1.1", ["Connection: Upgrade", "Upgrade: WebSocket"], "websocket"),
        ("HTTP/1.1", ["Connection: keep-alive, upgrade", "Upgrade: websocket"], "websocket"),
        ("HTTP/1.1", ["Connection: upgrade", "Upgrade: h2c", "Upgrade: websocket"], "h2c, websocket"),
        ("HTTP/1.1", ["Connection: keep-alive", "Upgrade: websocket"], None),
        ("HTTP/1.1", ["Connection: close", "Upgrade: websocket"], None),
        ("HTTP/1.1", ["Upgrade: websocket"], None),
        ("HTTP/1.1", ["Connection: upgrade"], None),
        ("HTTP/1.1", ["Connection: upgrade", "Upgrade:"], None),
        ("HTTP/1.0", ["Connection: upgrade, keep-alive", "Upgrade: websocket"], None),
    ],
)
def test_an_upgrade_needs_its_name_in_connection(version, fields, upgrade):
    # RFC 9110 section 7.8
    assert frame(*fields, line=f"GET / {version}").upgrade == upgrade


def test_connect_is_answered_with_501_unless_the_application_wants_it():
    with pytest.raises(NotSupported):
        frame(line="CONNECT b:443 HTTP/1.1")
    assert frame(line="CONNECT b:443 HTTP/1.1", allow_connect=True).host == "b:443"


@pytest.mark.parametrize("fields", [[], ["Connection: keep-alive"], ["Content-Length: 3"]])
def test_nothing_behind_a_connect_is_a_request(fields):
    # RFC 9110 section 9.3.6
    assert not frame(*fields, line="CONNECT b:443 HTTP/1.1", allow_connect=True).keep_alive


@pytest.mark.parametrize(
    ("value", "members"),
    [
        ("", []),
        (" ", []),
        (",,", []),
        ("A", ["a"]),
        ("a, B\t,,c", ["a", "b", "c"]),
        ("a b", ["a b"]),
        ("\xa0a", ["\xa0a"]),
    ],
)
def test_a_list_is_read_without_its_empty_members(value, members):
    # RFC 9110 section 5.6.1
    assert tokens(value) == members


FRAMING_FIELDS = st.tuples(
    st.sampled_from(["Content-Length", "Transfer-Encoding", "Host", "Connection", "Expect", "Upgrade", "X-Other"]),
    st.one_of(
        st.text('015,; chunkedgip-=\t"', max_size=20),
        st.sampled_from(["chunked", "5", "0", "a", "close", "keep-alive", "100-continue", "gzip, chunked"]),
    ),
)


@given(st.sampled_from(["1.0", "1.1"]), st.lists(FRAMING_FIELDS, max_size=5))
def test_any_head_is_framed_in_one_way_or_refused(version, fields):
    block = "\r\n".join([f"{name}: {value}" for name, value in fields])
    parsed = parse_fields(block, LIMITS)
    try:
        framing = frame_request(parse_request_line(f"POST / HTTP/{version}"), parsed.variables)
    except BadRequest:
        return
    given = {name: [v for n, v in parsed.raw if n == name] for name, _ in parsed.raw}
    lengths, codings = given.get("Content-Length", []), given.get("Transfer-Encoding", [])
    assert not (lengths and codings)
    if framing.body is BodyKind.CHUNKED:
        assert [coding.lower() for coding in codings] == ["chunked"]
        assert (version, framing.length) == ("1.1", -1)
    else:
        assert not codings
        assert {int(length) for value in lengths for length in value.split(",")} <= {framing.length}
        assert (framing.body is BodyKind.NONE) == (framing.length == 0)
    assert len(given.get("Host", [])) == 1 or (version == "1.0" and "Host" not in given)
    assert framing.host == given.get("Host", [""])[0]
    assert framing.body is not BodyKind.NONE or not framing.expect_continue
