from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.websocket import handshake
from tests.websocket.peers import ACCEPT, KEY

RIGHT = {
    "REQUEST_METHOD": "GET",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_CONNECTION": "keep-alive, Upgrade",
    "HTTP_UPGRADE": "WebSocket",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_KEY": KEY,
}


def test_a_right_request_is_accepted_with_the_proof_of_the_rfc():
    assert handshake.check_request(RIGHT) is None
    assert handshake.accepted(RIGHT, None, None) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n\r\n"
    )


def test_what_both_sides_agree_on_is_said():
    lines = handshake.accepted(RIGHT, "chat", "permessage-deflate").split(b"\r\n")
    assert lines[-4:-2] == [b"Sec-WebSocket-Protocol: chat", b"Sec-WebSocket-Extensions: permessage-deflate"]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"REQUEST_METHOD": "POST"}, 405, "WebSocket client"),
        ({"HTTP_UPGRADE": None}, 400, "WebSocket client"),
        ({"HTTP_UPGRADE": "h2c"}, 400, "WebSocket client"),
        ({"HTTP_CONNECTION": "keep-alive"}, 400, "WebSocket client"),
        ({"HTTP_CONNECTION": None}, 400, "WebSocket client"),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, 400, "HTTP/1.1"),
        ({"CONTENT_LENGTH": "5"}, 400, "no body"),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 400, "no body"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "8"}, 400, "must be 13"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": None}, 400, "must be 13"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "13, 13"}, 400, "must be 13"),
        ({"HTTP_SEC_WEBSOCKET_KEY": None}, 400, "Sec-WebSocket-Key"),
        ({"HTTP_SEC_WEBSOCKET_KEY": ""}, 400, "Sec-WebSocket-Key"),
        ({"HTTP_SEC_WEBSOCKET_KEY": "c2hvcnQ="}, 400, "Sec-WebSocket-Key"),
        ({"HTTP_SEC_WEBSOCKET_KEY": f"{KEY}\n"}, 400, "Sec-WebSocket-Key"),
        ({"HTTP_SEC_WEBSOCKET_KEY": f"{KEY},{KEY}"}, 400, "Sec-WebSocket-Key"),
    ],
)
def test_a_request_that_is_not_for_a_websocket_is_refused_and_told_why(changes, status, words):
    environ = {name: value for name, value in {**RIGHT, **changes}.items() if value is not None}
    refusal = handshake.check_request(environ)
    assert refusal is not None
    assert int(refusal.status.split()[0]) == status
    assert words in refusal.text


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"REQUEST_METHOD": "PUT"}, ("Allow", "GET")),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "99"}, ("Sec-WebSocket-Version", "13")),
    ],
)
def test_a_refusal_says_what_would_be_right(changes, field):
    refusal = handshake.check_request({**RIGHT, **changes})
    assert refusal is not None
    assert refusal.fields == (field,)


TOKENS = st.text(max_size=30)


@given(st.dictionaries(st.sampled_from(sorted(RIGHT)), TOKENS))
def test_whatever_the_fields_hold_there_is_an_answer(changes):
    environ = {**RIGHT, **changes}
    refusal = handshake.check_request(environ)
    if refusal is None:
        assert handshake.accepted(environ, None, None).endswith(b"\r\n\r\n")
        assert len(handshake.accepted(environ, None, None).split(b"\r\n")) == 6
    else:
        assert 400 <= int(refusal.status.split()[0]) < 500


PAGES = ["https://example.org", re.compile(r"https://[a-z]+\.example\.org")]


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (None, "https://anybody.example", True),
        (PAGES, "https://example.org", True),
        (PAGES, "HTTPS://Example.org", True),
        (PAGES, "https://www.example.org", True),
        (PAGES, "https://www.example.org.evil.example", False),
        (PAGES, "http://example.org", False),
        (PAGES, "null", False),
        (PAGES, None, True),
        ([], "https://example.org", False),
        (lambda origin: origin == "x", "x", True),
        (lambda origin: origin == "x", "y", False),
        (lambda origin: origin is not None, None, False),
    ],
)
def test_pages_of_other_origins_may_not_connect(origins, origin, allowed):
    environ = RIGHT if origin is None else {**RIGHT, "HTTP_ORIGIN": origin}
    refusal = handshake.check_origin(environ, origins)
    assert (refusal is None) is allowed
    if refusal is not None:
        assert refusal.status == "403 Forbidden"


@pytest.mark.parametrize(
    ("supported", "offered", "chosen"),
    [
        (["chat", "log"], "log, chat", "chat"),
        (["chat"], "log,chat", "chat"),
        (["chat"], "log", None),
        (["chat"], None, None),
        ([], "chat", None),
        (["chat"], "Chat", None),
    ],
)
def test_the_first_of_ours_that_the_client_offers_is_chosen(supported, offered, chosen):
    environ = {} if offered is None else {"HTTP_SEC_WEBSOCKET_PROTOCOL": offered}
    assert handshake.choose_subprotocol(environ, supported) == chosen


@pytest.mark.parametrize(("names", "error"), [("chat", TypeError), (["a b"], ValueError), ([""], ValueError)])
def test_subprotocols_that_can_not_be_are_refused(names, error):
    with pytest.raises(error, match="subprotocol"):
        handshake.check_subprotocols(names)
