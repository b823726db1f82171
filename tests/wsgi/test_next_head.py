"""Whatever a connection has been asked before, a request is read as it would be on a connection of its own."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wsgi.raw import Client, running

TARGETS = ["/", "/a", "/a?b=c", "/%41", "*", "http://other/x", "/#", "other:443", "/" + "x" * 300]
LINES = [
    "Host: test", "Host: other", "host: test", "Host: test ", "Host: a b", "X-One: 1", "X-One: 2", "x-one: 1",
    "X_One: 3", "X-Two:2", "Cookie: a=1", "Cookie: b=2", "Accept: */*", "Accept: text/html", "Connection: keep-alive",
    "Connection: close", "Connection: Upgrade", "Upgrade: x", "Content-Length: 0", "Content-Length: 3",
    "Transfer-Encoding: chunked", "Expect: 100-continue", "Expect: cake", "X-Forwarded-For: 1.2.3.4",
    "X-Forwarded-Proto: https", "Forwarded: for=1.2.3.4", "Content-Type: text/x", "Content_Length: 3", "no colon",
    " folded: 1", "Bad : 1", "X-Bad: \x00",
]  # fmt: skip
HEADS = st.tuples(
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "CONNECT"]),
    st.sampled_from(TARGETS),
    st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0"]),
    st.lists(st.sampled_from(LINES), max_size=6).map(lambda lines: ["Host: test", *lines]),
)


@st.composite
def conversations(draw):
    """Heads each of which is the one before with a line or two changed, or another one."""
    heads = [draw(HEADS)]
    for _ in range(draw(st.integers(1, 5))):
        method, target, version, lines = heads[-1]
        change = draw(st.sampled_from(["nothing", "target", "method", "version", "line", "line", "line", "all"]))
        if change == "target":
            target = draw(st.sampled_from(TARGETS))
        elif change == "method":
            method = draw(st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "B@D"]))
        elif change == "version":
            version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/1.10"]))
        elif change == "line":
            place = draw(st.integers(0, len(lines) - 1))
            lines = [*lines[:place], draw(st.sampled_from(LINES)), *lines[place + 1 :]]
        heads.append(draw(HEADS) if change == "all" else (method, target, version, lines))
    return [
        "\r\n".join([f"{method} {target} {version}", *lines, "", ""]).encode("latin-1")
        for method, target, version, lines in heads
    ]


@settings(max_examples=300)
@given(heads=conversations(), keep_underscores=st.booleans(), trusted=st.booleans())
def test_a_request_is_read_the_same_wherever_it_comes(heads, keep_underscores, trusted):
    seen = []

    def app(environ, start_response):
        values = {key: value for key, value in environ.items() if type(value) in (str, tuple)}
        del values["REMOTE_PORT"]
        seen.append(values)
        start_response("200 OK", [])
        return [b"fine"]

    def ask(client: Client, head: bytes):
        """What a request leads to: the app's environ, the answer's code, and what becomes of the connection."""
        seen.clear()
        client.send(head)
        if b"Content-Length: 3" in head or b"chunked" in head:
            client.send(b"abc" if b"Content-Length: 3" in head else b"0\r\n\r\n")
        answer = client.read("HEAD" if head.startswith(b"HEAD ") else "GET")
        return list(seen), answer.code, answer.fields.get("connection"), answer.body if answer.code == 200 else b""

    trust = "127.0.0.1" if trusted else ""
    with running(app, keep_underscores=keep_underscores, forwarded_allow_ips=trust) as run:
        client = run.connect()
        for head in heads:
            together = ask(client, head)
            assert together == ask(run.connect(), head)
            if together[2] == "close" or b"1.0" in head:
                client = run.connect()
