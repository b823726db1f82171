from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import BadRequest
from greenserve.http.target import Target, is_authority, parse_target, percent_decode

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


@pytest.mark.parametrize(
    ("target", "path", "raw_path", "query"),
    [
        ("/", "/", "/", ""),
        ("/a/b", "/a/b", "/a/b", ""),
        ("/a?b=c&d", "/a", "/a", "b=c&d"),
        ("/a?", "/a", "/a", ""),
        ("/?a?b", "/", "/", "a?b"),
        ("/?a=/b", "/", "/", "a=/b"),
        ("//a/b", "//a/b", "//a/b", ""),  # a path that begins with two slashes, not an authority
        ("/a/../b/./c", "/a/../b/./c", "/a/../b/./c", ""),
        ("/a:b@c", "/a:b@c", "/a:b@c", ""),
        ("/a;b=c,d", "/a;b=c,d", "/a;b=c,d", ""),
        ("/a%20b", "/a b", "/a%20b", ""),
        ("/%C3%A9%e9", "/\xc3\xa9\xe9", "/%C3%A9%e9", ""),
        ("/a%2Fb%3fc", "/a/b?c", "/a%2Fb%3fc", ""),
        ("/%25%32%30", "/%20", "/%25%32%30", ""),  # decoded once
        ("/%00", "/\x00", "/%00", ""),
        ("/a+b", "/a+b", "/a+b", ""),
        ("/a?b=%20%C3", "/a", "/a", "b=%20%C3"),
        ("/a?b=100%", "/a", "/a", "b=100%"),  # browsers send what the user typed
        ("/a?b=%zz", "/a", "/a", "b=%zz"),
        ('/a[b]|^{}`"<>\\?[b]|^{}`"<>\\', '/a[b]|^{}`"<>\\', '/a[b]|^{}`"<>\\', '[b]|^{}`"<>\\'),
    ],
)
def test_origin_form(target, path, raw_path, query):
    # RFC 9112 section 3.2.1
    assert parse_target("GET", target) == Target(None, None, path, raw_path, query)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://a", Target("http", "a", "/", "/", "")),
        ("http://a/", Target("http", "a", "/", "/", "")),
        ("http://a?b", Target("http", "a", "/", "/", "b")),
        ("HTTPS://A.example:8443/b%20c?d=e", Target("https", "A.example:8443", "/b c", "/b%20c", "d=e")),
        ("http://[::1]:80/a", Target("http", "[::1]:80", "/a", "/a", "")),
        ("http://a:/b", Target("http", "a:", "/b", "/b", "")),
        ("http://a//b", Target("http", "a", "//b", "//b", "")),
        ("http://a/b?http://c/d", Target("http", "a", "/b", "/b", "http://c/d")),
    ],
)
def test_absolute_form(target, expected):
    # RFC 9112 section 3.2.2
    assert parse_target("GET", target) == expected


def test_asterisk_form():
    # RFC 9112 section 3.2.4: an absolute URI without path and query is the server as a whole, too.
    assert parse_target("OPTIONS", "*") == Target(None, None, "", "*", "")
    assert parse_target("OPTIONS", "http://a") == Target("http", "a", "", "*", "")
    assert parse_target("OPTIONS", "http://a/") == Target("http", "a", "/", "/", "")
    assert parse_target("OPTIONS", "http://a?b") == Target("http", "a", "/", "/", "b")


def test_authority_form():
    # RFC 9112 section 3.2.3
    assert parse_target("CONNECT", "a.example:443") == Target(None, "a.example:443", "", "", "")
    assert parse_target("CONNECT", "[::1]:443") == Target(None, "[::1]:443", "", "", "")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", ""),
        ("GET", "a"),
        ("GET", "a/b"),
        ("GET", "?a"),
        ("GET", "*"),
        ("POST", "*"),
        ("OPTIONS", "**"),
        ("OPTIONS", "*?a"),
        ("GET", "a.example:80"),
        ("GET", "/a#b"),
        ("GET", "/a?b#c"),
        ("GET", "/a b"),
        ("GET", "/a\tb"),
        ("GET", "/a\x00"),
        ("GET", "/a\x7f"),
        ("GET", "/\x80"),
        ("GET", "/\xc3\xa9"),
        ("GET", "/?\xe9"),
        ("GET", "/%"),
        ("GET", "/%2"),
        ("GET", "/%2/"),
        ("GET", "/%zz"),
        ("GET", "/%+1"),
        ("GET", "/%0x"),
        ("GET", "/a%"),
        ("GET", "/%%20"),
        ("GET", "http:"),
        ("GET", "http:/"),
        ("GET", "http:/a"),
        ("GET", "http://"),
        ("GET", "http:///a"),
        ("GET", "http://:80/"),
        ("GET", "http://?a"),
        ("GET", "http://user@a/"),
        ("GET", "http://user:secret@a/"),
        ("GET", "http://@a/"),
        ("GET", "http://a:80:80/"),
        ("GET", "http://a:b/"),
        ("GET", "http://a:65536/"),
        ("GET", "http://a b/"),
        ("GET", "http://a,b/"),
        ("GET", "http://[::1/"),
        ("GET", "http://::1/"),
        ("GET", "http://a\\b/"),
        ("GET", "http://a/%zz"),
        ("GET", "ftp://a/"),
        ("GET", "file:///etc/passwd"),
        ("GET", "\\\\a"),
        ("CONNECT", "/"),
        ("CONNECT", "*"),
        ("CONNECT", "a"),
        ("CONNECT", "a:"),
        ("CONNECT", ":80"),
        ("CONNECT", "a:b"),
        ("CONNECT", "a:65536"),
        ("CONNECT", "[::1]"),
        ("CONNECT", "http://a:80/"),
        ("CONNECT", "user@a:80"),
        ("CONNECT", "a:80/"),
    ],
)
def test_a_target_of_no_form_that_its_method_allows_is_refused(method, target):
    with pytest.raises(BadRequest):
        parse_target(method, target)


@pytest.mark.parametrize(
    "authority",
    [
        "a",
        "a.example",
        "a.example.",
        "A_b-c~d",
        "a:0",
        "a:80",
        "a:65535",
        "a:",
        "127.0.0.1",
        "127.0.0.1:8000",
        "999.0.0.1",  # no IPv4 address, but a registered name all the same
        "%41%2e",
        "a!$&'()*+;=",
        "[::]",
        "[::1]",
        "[1::]:80",
        "[1:2:3:4:5:6:7:8]",
        "[1:2:3:4:5:6:7::]",
        "[::2:3:4:5:6:7:8]",
        "[1:2:3::7:8]",
        "[::ffff:127.0.0.1]",
        "[1:2:3:4:5:6:127.0.0.1]",
        "[ABCD:ef01::]",
        "[v1.a]",
        "[vF.a:b]:80",
    ],
)
def test_a_host_with_or_without_a_port_is_an_authority(authority):
    assert is_authority(authority)


@pytest.mark.parametrize(
    "authority",
    [
        "",
        ":",
        ":80",
        " a",
        "a ",
        "a b",
        "a, b",
        "a,b",
        "a:80, b:80",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        "user:secret@a",
        "a:b",
        "a:-1",
        "a:+1",
        "a: 80",
        "a:80 ",
        "a:065536",
        "a:65536",
        "a:99999",
        "a:80:80",
        "a:\xb2",
        "a\x00",
        "a\n",
        "a\t",
        "a\x7f",
        "\xe9",
        "a%",
        "a%2",
        "a%zz",
        "a\\b",
        'a"b',
        "<a>",
        "{a}",
        "a|b",
        "a^b",
        "`a`",
        "http://a",
        "[]",
        "[::1",
        "::1]",
        "::1",
        "[::1]a",
        "[::1]]",
        "[[::1]]",
        "a[::1]",
        "[:]",
        "[:::]",
        "[1:2:3:4:5:6:7]",
        "[1:2:3:4:5:6:7:8:9]",
        "[1:2:3:4:5:6:7:8::]",
        "[::1:2:3:4:5:6:7:8]",
        "[1::2::3]",
        "[:1:2:3:4:5:6:7]",
        "[1:2:3:4:5:6:7:]",
        "[12345::]",
        "[g::]",
        "[::1%25eth0]",  # zones have no place in a URI (RFC 9844)
        "[::1%eth0]",
        "[127.0.0.1]",
        "[127.0.0.1::]",
        "[::127.0.0.1:1]",
        "[::256.0.0.1]",
        "[::1.2.3]",
        "[::1.2.3.4.5]",
        "[::01.2.3.4]",
        "[::1.2.3.4.]",
        "[v.a]",
        "[v1.]",
        "[v1a]",
        "[vg.a]",
    ],
)
def test_what_is_no_host_is_no_authority(authority):
    for _ in range(2):
        assert not is_authority(authority)


@given(st.binary())
def test_decoding_undoes_encoding(data):
    encoded = "".join([f"%{byte:02x}" if byte % 2 else f"%{byte:02X}" for byte in data])
    assert percent_decode(encoded) == data.decode("latin-1")


@given(
    st.sampled_from(["GET", "OPTIONS", "CONNECT"]),
    st.one_of(st.text(VISIBLE), st.text(st.characters(max_codepoint=255))),
)
def test_any_target_is_parsed_or_refused(method, target):
    for prefix in ("", "/", "http://", "http://a"):
        try:
            parsed = parse_target(method, prefix + target)
        except BadRequest:
            continue
        assert parsed.path == "" or parsed.path.startswith("/")
        assert "?" not in parsed.raw_path
        assert parsed.authority is None or is_authority(parsed.authority)
        rest = parsed.raw_path + ("?" + parsed.query if parsed.query else "")
        assert (prefix + target).rstrip("?").endswith(rest.rstrip("?").lstrip("/*"))
