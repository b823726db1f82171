"""Our server and strict peers, given the same bytes: do they understand the same requests? Nothing is stored.

What a server understood is what its application was told of each request (method, target, body), and whether it went
on to the request behind the input. Whether a refusal is a 400 or another error is each server's own affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import greenserve
from tests.http.stream import CORPUS
from tests.system.peers import INSTALLED, app, describe, peer
from tests.wsgi.raw import running

MESSAGES = {path.stem: path.read_bytes() for path in sorted(CORPUS.glob("*.http"))}

# Stands behind every input. Who closes before this, or takes it for a part of something else, has refused the input.
LAST = b"GET /last HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
LAST_SEEN = describe("GET", "/last", "", b"").encode()

# After so many seconds of silence a server waits for more. Only inputs that end too early take so long.
QUIET = 3.0

# Where we may differ: our rule, and the inputs of the corpus that are about it.
_RULES = {
    "PATH_INFO of the target * is empty": "200-asterisk-form",
    "a length that is repeated is one length (RFC 9110 section 8.6)": """
        200-content-length-list 200-content-length-repeated
    """,
    "a few empty lines before a request are skipped, many are refused (RFC 9112 section 2.2)": """
        200-empty-lines-before 400-empty-lines
    """,
    "HTTP/1.0 may keep the connection, and goes on with what comes behind": "200-http-1-0-keep-alive",
    "a minor version above 1 is taken for 1.1 (RFC 9110 section 2.5)": "200-minor-version",
    "trailers are read and dropped": "200-trailers",
    "slashes in a path are kept as they are": "200-two-slashes",
    "any token is a method, however short": "400-length-cut",
    "the target * is for OPTIONS alone (RFC 9112 section 3.2.4)": "400-asterisk-with-get",
    "a % in a path has two hexadecimal digits behind it": "400-bad-percent",
    "a line of a head ends with CRLF": """
        400-bare-lf 400-bare-lf-at-the-end 400-bare-lf-in-fields 400-bare-lf-without-end
    """,
    "chunk extensions are bounded": "400-chunk-extension-too-long",
    "a chunk extension has no control character, and every quote its end": """
        400-chunk-size-extension-cr 400-chunk-size-extension-nul 400-chunk-size-extension-unclosed
    """,
    "a chunk size has at most 16 digits": "400-chunk-size-huge",
    "a chunk size is followed by a whole extension, or by CRLF": """
        400-chunk-size-semicolon 400-chunk-size-space-behind 400-chunk-size-tab
    """,
    "Content-Length and Transfer-Encoding don't go together (RFC 9112 section 6.1)": """
        400-coding-and-length 400-length-and-coding
    """,
    "HTTP/1.0 has no Transfer-Encoding (RFC 9112 section 6.1)": "400-coding-on-1-0",
    "a field has no control character but tab": "400-control 400-delete",
    "a target has a host (RFC 9110 section 4.2.1)": "400-empty-authority",
    "no folded fields (RFC 9112 section 5.2)": "400-fold",
    "a target has no fragment": "400-fragment",
    "Host is a host, perhaps a port, and no more, on HTTP/1.0 as well": """
        400-host-invalid-on-1-0 400-host-list 400-host-with-path 400-host-with-user
    """,
    "a request line has a version": "400-http-0-9",
    "exactly one Host on HTTP/1.1 (RFC 9112 section 3.2)": """
        400-no-host 400-no-host-absolute 400-two-hosts 400-two-hosts-one-empty
    """,
    "a target's scheme is http or https": "400-other-scheme",
    "a request line has no more spaces than its two": "400-space-before-method 400-space-behind-version",
    "trailers are fields like others, and bounded": """
        400-too-many-trailers 400-trailer-bare-lf 400-trailer-fold 400-trailer-no-colon 400-trailers-cut
        400-trailers-end-in-lf
    """,
    "Transfer-Encoding is chunked, once": """
        400-transfer-encoding-comma 400-transfer-encoding-empty 400-transfer-encoding-repeated
        400-transfer-encoding-twice
    """,
    "a target has no user information (RFC 9110 section 4.2.4)": "400-user-information",
    "a request line has at most 8190 bytes": "414-request-line-too-long",
    "an expectation other than 100-continue is refused": "417-expectation",
    "a field has at most 8190 bytes, a head at most 100 fields": "431-field-too-long 431-too-many-fields",
    "no CONNECT": "501-connect",
    "no other coding than chunked": "501-transfer-encoding-gzip-chunked",
    "versions of HTTP other than 1 are refused": "505-http-0-9-version 505-http-2-0 505-http-2-preface",
}
OUR_RULES: dict[str, str] = {name: rule for rule, names in _RULES.items() for name in names.split()}


class Understood(NamedTuple):
    """What became of one input."""

    requests: tuple[bytes, ...]  # what the application was told of those that were executed
    is_whole: bool  # the last request was understood, and none refused


def send(address: Any, message: bytes) -> Understood:
    """Send one input to a server, and the last request behind it. May switch."""
    received = b""
    with greenserve.connect(address) as sock:
        sock.settimeout(QUIET)
        try:
            sock.sendall(message + LAST)
            while piece := sock.recv(65536):
                received += piece
        except (TimeoutError, ConnectionError):
            pass
    seen = tuple(re.findall(rb"(?i)\r\nx-seen: ([^\r]*)\r", received))
    codes = [int(code) for code in re.findall(rb"HTTP/1\.[01] ([0-9]{3})", received)]
    is_whole = seen[-1:] == (LAST_SEEN,) and max(codes) < 400
    return Understood(seen, is_whole)


def send_all(address: Any) -> dict[str, Understood]:
    pool = greenserve.GreenPool(8)
    threads = {name: pool.spawn(send, address, message) for name, message in MESSAGES.items()}
    return {name: thread.wait() for name, thread in threads.items()}


@pytest.fixture(scope="module")
def ours() -> dict[str, Understood]:
    with running(app) as run:
        return send_all(run.address)


@pytest.fixture(scope="module", params=INSTALLED)
def theirs(request: pytest.FixtureRequest) -> Iterator[dict[str, Understood]]:
    with peer(request.param) as address:
        with greenserve.connect(address) as sock:  # wait until it serves
            sock.sendall(LAST)
            assert sock.recv(65536)
        yield send_all(address)


def test_peers_understand_the_same_requests(ours: dict[str, Understood], theirs: dict[str, Understood]) -> None:
    different = {
        name: f"ours {ours[name]}, theirs {theirs[name]}"
        for name in MESSAGES
        if name not in OUR_RULES and ours[name] != theirs[name]
    }
    assert different == {}


def test_what_the_corpus_has_as_good_is_executed_and_what_it_has_as_bad_is_not(ours: dict[str, Understood]) -> None:
    assert {name for name in MESSAGES if ours[name].is_whole} <= {name for name in MESSAGES if name.startswith("200-")}


def test_every_rule_is_about_an_input_that_exists() -> None:
    assert OUR_RULES.keys() <= MESSAGES.keys()
