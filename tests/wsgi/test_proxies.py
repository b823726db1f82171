"""Whose word counts about a request, and what it says."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

import greenserve
from greenserve.errors import BadRequest, SettingError
from greenserve.wsgi import Server
from greenserve.wsgi.proxies import Origin, Proxies, Trust, correct, find_origin, parse_forwarded
from tests.wsgi.raw import get, running

LOCAL = Trust("127.0.0.1,10.0.0.0/8,2001:db8::/32")


@pytest.mark.parametrize(
    ("text", "peer", "included"),
    [
        ("", ("127.0.0.1", 1), False),
        ("", "", False),
        ("*", ("203.0.113.9", 1), True),
        ("*", "", True),
        ("127.0.0.1", ("127.0.0.1", 1), True),
        ("127.0.0.1", ("127.0.0.2", 1), False),
        ("127.0.0.1", ("::ffff:127.0.0.1", 1, 0, 0), True),
        ("127.0.0.1", ("::1", 1, 0, 0), False),
        ("::ffff:127.0.0.1", ("127.0.0.1", 1), True),
        ("10.0.0.0/8", ("10.255.1.2", 1), True),
        ("10.0.0.0/8", ("11.0.0.1", 1), False),
        ("10.1.2.3/8", ("10.9.9.9", 1), True),
        ("::ffff:10.0.0.0/104", ("10.9.9.9", 1), True),
        ("0.0.0.0/0", ("203.0.113.9", 1), True),
        ("0.0.0.0/0", ("2001:db8::1", 1, 0, 0), False),
        ("::/0", ("203.0.113.9", 1), False),
        ("2001:db8::/32", ("2001:db8:0:0::1", 1, 0, 0), True),
        ("fe80::/10", ("fe80::1%eth0", 1, 0, 2), True),
        ("unix", "", True),
        ("unix", ("127.0.0.1", 1), False),
        ("127.0.0.1", "", True),  # who reaches a Unix socket is on this machine as well
        ("127.0.0.1", "/run/client.sock", True),
        ("127.0.0.1", b"\0name", True),
        ("10.0.0.1", "", False),
        ("10.0.0.1", "localhost", False),
    ],
)
def test_a_list_includes_a_peer_or_not(text, peer, included):
    assert Trust(text).includes(peer) is included


@pytest.mark.parametrize(
    ("x_forwarded_for", "client", "port"),
    [
        ("203.0.113.9", "203.0.113.9", ""),
        ("198.51.100.7, 203.0.113.9", "203.0.113.9", ""),  # the left one is what the client said
        ("198.51.100.7, 203.0.113.9, 10.1.2.3", "203.0.113.9", ""),
        ("nonsense, 203.0.113.9", "203.0.113.9", ""),
        ("10.1.2.3", "10.1.2.3", ""),  # all of them trusted: the first one
        ("10.3.3.3, 10.1.2.3", "10.3.3.3", ""),
        (" ,203.0.113.9 ,, ", "203.0.113.9", ""),
        ("203.0.113.9:4711", "203.0.113.9", "4711"),
        ("[2001:DB9::1]:4711", "2001:db9::1", "4711"),
        ("[2001:db9:0::1]", "2001:db9::1", ""),
        ("2001:db9::1", "2001:db9::1", ""),
        ("::ffff:203.0.113.9", "203.0.113.9", ""),
        ("203.0.113.9, 2001:db8::5", "203.0.113.9", ""),
        ("203.0.113.9, unknown", "", ""),
        ("203.0.113.9, _hidden", "", ""),
        ("203.0.113.9, unix:", "", ""),
        ("", None, ""),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_not_trusted(x_forwarded_for, client, port):
    origin = find_origin({"HTTP_X_FORWARDED_FOR": x_forwarded_for}, LOCAL)
    assert (origin.client, origin.client_port) == (client, port)


def test_to_who_trusts_everybody_the_client_is_the_leftmost():
    assert find_origin({"HTTP_X_FORWARDED_FOR": "198.51.100.7, unknown, 203.0.113.9"}, Trust("*")).client == (
        "198.51.100.7"
    )


@pytest.mark.parametrize(
    "x_forwarded_for",
    ["nonsense", "203.0.113.9, nonsense", "256.1.1.1", "1.2.3", "203.0.113.9:99999", "203.0.113.9:", "[203.0.113.9]:x",
     "fe80::1%eth0", "a.example", "<script>", "203.0.113.9\t203.0.113.9", "::1]:1", "[::1"],
)  # fmt: skip
def test_a_client_that_is_no_address_is_refused(x_forwarded_for):
    with pytest.raises(BadRequest, match="no address"):
        find_origin({"HTTP_X_FORWARDED_FOR": x_forwarded_for}, LOCAL)


@pytest.mark.parametrize(
    ("fields", "scheme", "host", "port"),
    [
        ({"PROTO": "https"}, "https", None, None),
        ({"PROTO": "HTTP"}, "http", None, None),
        ({"PROTO": "wss"}, "https", None, None),
        ({"PROTO": "https, http"}, "http", None, None),  # one proxy: its own entry is the last
        ({"PROTO": "http, https, http", "FOR": "203.0.113.9, 10.0.0.1"}, "https", None, None),
        ({"PROTO": "https", "FOR": "203.0.113.9, 10.0.0.1"}, "https", None, None),
        ({"HOST": "shop.example"}, None, "shop.example", None),
        ({"HOST": "evil.example, shop.example:8443"}, None, "shop.example:8443", None),
        ({"HOST": "[::1]:80", "PORT": "443"}, None, "[::1]:80", "443"),
        ({"PROTO": ""}, None, None, None),
        ({"PREFIX": "/app"}, None, None, None),
    ],
)
def test_scheme_host_and_port_are_what_the_proxy_nearest_to_the_client_says(fields, scheme, host, port):
    origin = find_origin({f"HTTP_X_FORWARDED_{name}": value for name, value in fields.items()}, LOCAL)
    assert (origin.scheme, origin.host, origin.port) == (scheme, host, port)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PROTO", "gopher"), ("PROTO", "https://"), ("HOST", "a b"), ("HOST", "a/b"), ("HOST", "a@b"), ("HOST", "a:99999"),
     ("PORT", "x"), ("PORT", "-1"), ("PORT", "65536"), ("PORT", "+80"), ("PORT", "\u0660")],
)  # fmt: skip
def test_a_value_outside_its_grammar_is_refused(name, value):
    with pytest.raises(BadRequest):
        find_origin({f"HTTP_X_FORWARDED_{name}": value}, LOCAL)


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", [{"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"}]),
        ('for="_gazonk"', [{"for": "_gazonk"}]),
        ('For="[2001:db8:cafe::17]:4711"', [{"for": "[2001:db8:cafe::17]:4711"}]),
        ("for=192.0.2.43, for=198.51.100.17", [{"for": "192.0.2.43"}, {"for": "198.51.100.17"}]),
        ('for=a;host="x,y;z" , for=b', [{"for": "a", "host": "x,y;z"}, {"for": "b"}]),
        (r'ext="a\"b\\c"', [{"ext": 'a"b\\c'}]),
        ("for=192.0.2.43:80", [{"for": "192.0.2.43:80"}]),
        ("for=192.0.2.60; proto=http ;by=_x", [{"for": "192.0.2.60", "proto": "http", "by": "_x"}]),
        ("for=a;;proto=http;", [{"for": "a", "proto": "http"}]),
        (", ,for=a,", [{"for": "a"}]),
        ('for=""', [{"for": ""}]),
        ("", []),
    ],
)
def test_forwarded_is_a_list_of_elements_of_pairs(text, elements):
    assert parse_forwarded(text) == elements


@pytest.mark.parametrize(
    "text",
    ["for", "for=", "=x", "for =x", "for= x", 'for="x', 'for=x"', 'for="x"y', "for=x y", "for=a;for=b", "for=a;FOR=b",
     "for=x/y", 'for="a\\', "for=x,y", 'for="a\x7f"', "for=\xe9"],
)  # fmt: skip
def test_forwarded_outside_its_grammar_is_refused(text):
    with pytest.raises(BadRequest):
        parse_forwarded(text)


@pytest.mark.parametrize(
    ("forwarded", "origin"),
    [
        ("for=203.0.113.9", Origin("203.0.113.9")),
        ("for=198.51.100.7, for=203.0.113.9;proto=https", Origin("203.0.113.9", scheme="https")),
        (
            "for=203.0.113.9;proto=https;host=a.example, for=10.0.0.1;proto=http",
            Origin("203.0.113.9", "", "https", "a.example"),
        ),
        ("for=203.0.113.9, for=10.0.0.1;proto=https", Origin("203.0.113.9", scheme="https")),
        ("proto=https;for=198.51.100.7, for=203.0.113.9", Origin("203.0.113.9")),
        ('for="[2001:db9::1]:4711"', Origin("2001:db9::1", "4711")),
        ("for=203.0.113.9:_port", Origin("203.0.113.9")),
        ("for=203.0.113.9, for=_hidden", Origin("")),
        ("for=203.0.113.9, for=unknown", Origin("")),
        ("for=198.51.100.7, proto=https", Origin(None, scheme="https")),
        ("for=198.51.100.7, proto=https, for=10.0.0.1", Origin("", scheme="https")),
        ("", Origin()),
    ],
)  # fmt: skip
def test_forwarded_is_read_from_the_right_as_well(forwarded, origin):
    assert find_origin({"HTTP_FORWARDED": forwarded}, LOCAL) == origin


def test_an_open_quote_of_the_client_does_not_swallow_what_the_proxy_added():
    with pytest.raises(BadRequest):
        find_origin({"HTTP_FORWARDED": 'for="evil, for=203.0.113.9'}, LOCAL)


def test_a_client_cannot_add_the_field_that_the_proxy_leaves_alone():
    by_the_proxy = {"HTTP_X_FORWARDED_FOR": "203.0.113.9", "HTTP_X_FORWARDED_PROTO": "http"}
    for forged in ("for=127.0.0.1", "for=203.0.113.9;proto=https"):
        with pytest.raises(BadRequest, match="contradict"):
            find_origin({**by_the_proxy, "HTTP_FORWARDED": forged}, LOCAL)
    agreeing = find_origin({**by_the_proxy, "HTTP_FORWARDED": 'for="203.0.113.9:5";host=a.example'}, LOCAL)
    assert agreeing == Origin("203.0.113.9", "5", "http", "a.example")


ALL = {
    "HTTP_X_FORWARDED_FOR": "203.0.113.9",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "shop.example",
    "HTTP_X_FORWARDED_PORT": "8443",
}
INNER = {
    "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "4", "SERVER_NAME": "10.0.0.5", "SERVER_PORT": "8000",
    "HTTP_HOST": "inner", "wsgi.url_scheme": "http",
}  # fmt: skip


@pytest.mark.parametrize(
    ("names", "changed"),
    [
        ([], {}),
        (["x-forwarded-for"], {"REMOTE_ADDR": "203.0.113.9", "REMOTE_PORT": ""}),
        (["x-forwarded-proto"], {"wsgi.url_scheme": "https", "HTTPS": "on"}),
        (
            ["x-forwarded-host"],
            {"HTTP_HOST": "shop.example", "SERVER_NAME": "shop.example", "SERVER_PORT": "80"},
        ),
        (["x-forwarded-port"], {"HTTP_HOST": "inner:8443", "SERVER_PORT": "8443"}),
        (["forwarded"], {"REMOTE_ADDR": "198.51.100.7", "REMOTE_PORT": "", "HTTP_HOST": "other.example",
                         "SERVER_NAME": "other.example", "SERVER_PORT": "80"}),
    ],
)  # fmt: skip
def test_a_field_that_was_not_named_changes_nothing_and_stays_for_the_app(names, changed):
    forwarded = {**ALL, "HTTP_FORWARDED": "for=198.51.100.7;host=other.example", "HTTP_X_FORWARDED_PREFIX": "/shop"}
    environ = INNER.copy()
    Proxies(LOCAL, names).correct(environ, forwarded, ("127.0.0.1", 4))
    assert environ == {**INNER, **forwarded, **changed}


def test_what_was_not_named_may_be_nonsense():
    forwarded = {**ALL, "HTTP_X_FORWARDED_HOST": "a b", "HTTP_FORWARDED": "for", "HTTP_X_FORWARDED_PORT": "x"}
    environ = INNER.copy()
    Proxies(LOCAL, ["x-forwarded-for"]).correct(environ, forwarded, ("127.0.0.1", 4))
    assert (environ["REMOTE_ADDR"], environ["HTTP_HOST"]) == ("203.0.113.9", "inner")


def test_who_is_no_proxy_is_not_heard_whatever_was_named():
    environ = INNER.copy()
    Proxies(LOCAL, ["x-forwarded-for", "x-forwarded-host"]).correct(environ, ALL, ("203.0.113.1", 4))
    assert environ == INNER


ADDRESSES = st.ip_addresses().map(str)
NAMES = st.sampled_from(["HTTP_FORWARDED", *(f"HTTP_X_FORWARDED_{name}" for name in ("FOR", "PROTO", "HOST", "PORT"))])
PIECES = st.sampled_from([" ", *r'for= proto= host= " \ ; , [ ] : 1.2.3.4 10.0.0.1 ::1 https _x 80'.split(" ")])


@given(st.dictionaries(NAMES, st.lists(PIECES, max_size=12).map("".join) | st.text(st.characters(max_codepoint=255))))
def test_whatever_the_fields_hold_it_is_an_origin_or_refused(fields):
    try:
        origin = find_origin(fields, LOCAL)
    except BadRequest:
        return
    assert origin.scheme in (None, "http", "https")
    if origin.client:
        assert Trust(origin.client).includes(origin.client)
        # Nobody but the trusted ever stands to the right of the client.
        assert origin.client_port == "" or 0 <= int(origin.client_port) <= 65535


@given(st.lists(ADDRESSES, max_size=4), ADDRESSES, st.lists(st.sampled_from(["10.0.0.1", "127.0.0.1"]), max_size=3))
def test_what_stands_left_of_the_client_changes_nothing(said, client, proxies):
    if LOCAL.includes(client):
        return
    chain = [*said, client, *proxies]
    found = find_origin({"HTTP_X_FORWARDED_FOR": ", ".join(chain)}, LOCAL).client
    assert found is not None
    assert Trust(client).includes(found)
    quoted = ", ".join(f'for="[{hop}]"' if ":" in hop else f"for={hop}" for hop in chain)
    assert find_origin({"HTTP_FORWARDED": quoted}, LOCAL).client == found


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (Origin(), {}),
        (Origin("203.0.113.9", "5"), {"REMOTE_ADDR": "203.0.113.9", "REMOTE_PORT": "5"}),
        (Origin(scheme="https"), {"wsgi.url_scheme": "https", "HTTPS": "on"}),
        (Origin(host="a.example"), {"HTTP_HOST": "a.example", "SERVER_NAME": "a.example", "SERVER_PORT": "80"}),
        (
            Origin(scheme="https", host="a.example"),
            {"wsgi.url_scheme": "https", "HTTPS": "on", "HTTP_HOST": "a.example", "SERVER_NAME": "a.example",
             "SERVER_PORT": "443"},
        ),
        (Origin(host="[::1]:81"), {"HTTP_HOST": "[::1]:81", "SERVER_NAME": "[::1]", "SERVER_PORT": "81"}),
        (Origin(host="[::1]"), {"HTTP_HOST": "[::1]", "SERVER_NAME": "[::1]", "SERVER_PORT": "80"}),
        (Origin(port="8443"), {"HTTP_HOST": "inner:8443", "SERVER_PORT": "8443"}),
        (Origin(port="80"), {"SERVER_PORT": "80"}),
        (Origin(scheme="https", port="443"), {"wsgi.url_scheme": "https", "HTTPS": "on", "SERVER_PORT": "443"}),
        (
            Origin(host="a.example:1", port="2"),
            {"HTTP_HOST": "a.example:1", "SERVER_NAME": "a.example", "SERVER_PORT": "2"},
        ),
    ],
)  # fmt: skip
def test_environ_says_what_the_proxies_say(origin, expected):
    connection = {
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "4",
        "SERVER_NAME": "10.0.0.5",
        "SERVER_PORT": "8000",
        "HTTP_HOST": "inner",
        "wsgi.url_scheme": "http",
    }
    environ = connection.copy()
    correct(environ, origin)
    assert environ == {**connection, **expected}


def test_a_proxy_that_speaks_tls_to_us_can_say_that_its_client_did_not():
    environ = {"wsgi.url_scheme": "https", "HTTPS": "on", "HTTP_HOST": "a"}
    correct(environ, Origin(scheme="http"))
    assert environ == {"wsgi.url_scheme": "http", "HTTP_HOST": "a"}


# In the server -------------------------------------------------------------------------------------------------------

FIELDS = (
    "X-Forwarded-For: 198.51.100.7, 203.0.113.9",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: shop.example",
    "X-Forwarded-Prefix: /shop",
    "Forwarded: for=203.0.113.9",
)


def tell(environ, start_response):
    names = [name for name in environ if name.startswith("HTTP_") and "FORWARDED" in name]
    what = [environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ["HTTP_HOST"], *sorted(names)]
    start_response("200 OK", [("X-Raw", str(len(environ["headers_raw"])))])
    return ["\n".join(what).encode()]


EVERY_FIELD = "x-forwarded-for, X-Forwarded-Proto, x-forwarded-host, x-forwarded-port, forwarded"


@pytest.mark.parametrize("named", [None, "X-Forwarded-For,x-forwarded-proto", ["x-forwarded-proto", "x-forwarded-for"]])
def test_a_client_cannot_choose_the_host_through_a_proxy_that_sets_client_and_scheme(named):
    settings = {} if named is None else {"forwarded_fields": named}
    with running(tell, forwarded_allow_ips="127.0.0.1", **settings) as run:
        for forged in ("X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Forwarded-Port: 81"):
            answer = run.ask(get("/", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: https", forged))
            assert answer.body.decode().split("\n")[:3] == ["203.0.113.9", "https", "test"]


@pytest.mark.parametrize("none", ["none", "", None, []])
def test_none_of_the_fields_may_count(none):
    with running(tell, forwarded_allow_ips="127.0.0.1", forwarded_fields=none) as run:
        lines = run.ask(get("/", *FIELDS)).body.decode().split("\n")
    assert lines[:3] == ["127.0.0.1", "http", "test"]
    assert len(lines) == 3 + len(FIELDS)  # the app may have a middleware for them


@pytest.mark.parametrize("named", ["x-forwarded-prefix", "host", "x-forwarded-for,", ["x-real-ip"], 3])
def test_a_field_of_which_the_server_knows_nothing_can_not_be_named(named):
    with greenserve.listen(("127.0.0.1", 0)) as sock, pytest.raises(SettingError, match="forwarded_fields"):
        Server(sock, tell, forwarded_fields=named)


def test_a_trusted_peer_is_believed_request_by_request():
    with running(tell, forwarded_allow_ips="127.0.0.1", forwarded_fields=EVERY_FIELD) as run:
        client = run.connect()
        for _ in range(3):  # the third time the head is remembered
            lines = client.ask(get("/", *FIELDS)).body.decode().split("\n")
            assert lines[:3] == ["203.0.113.9", "https", "shop.example"]
            assert len(lines) == 3 + len(FIELDS)
        assert client.ask(get()).body == b"127.0.0.1\nhttp\ntest"


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8", "::1"])
def test_from_anybody_else_the_fields_are_dropped_and_stay_in_headers_raw(trusted):
    with running(tell, forwarded_allow_ips=trusted) as run:
        client = run.connect()
        for _ in range(3):
            answer = client.ask(get("/", *FIELDS, "Forwarded: nonsense"))
            assert answer.body == b"127.0.0.1\nhttp\ntest"
            assert answer.fields["x-raw"] == str(1 + len(FIELDS) + 1)


def test_with_underscores_kept_none_of_them_passes_for_a_forwarded_field():
    with running(tell, keep_underscores=True) as run:
        assert run.ask(get("/", "X_Forwarded_For: 1.1.1.1", "X_Forwarded-Prefix: /x")).body == b"127.0.0.1\nhttp\ntest"
    with running(tell, keep_underscores=True, forwarded_allow_ips="*") as run:
        assert run.ask(get("/", "X_Forwarded_For: 1.1.1.1")).body == b"127.0.0.1\nhttp\ntest"


def test_what_a_trusted_peer_says_that_can_not_be_read_is_refused():
    with running(tell, forwarded_allow_ips="*") as run:
        answer = run.ask(get("/", "X-Forwarded-For: nonsense"))
        assert (answer.code, answer.fields["connection"]) == (400, "close")
        assert run.server.requests == 0


def test_the_access_log_has_the_clients_address():
    lines = io.StringIO()
    with running(tell, log=lines, forwarded_allow_ips="127.0.0.1") as run:
        run.ask(get("/", "X-Forwarded-For: 203.0.113.9"))
        run.ask(get("/"))
    assert [line.split(" ")[0] for line in lines.getvalue().splitlines()] == ["203.0.113.9", "127.0.0.1"]


def test_the_log_of_eventlet_has_what_anybody_says_before_the_address():
    lines = io.StringIO()
    with running(tell, log=lines, log_x_forwarded_for=True) as run:
        run.ask(get("/", "X-Forwarded-For: 203.0.113.9", "x-forwarded-for: 203.0.113.10"))
    assert lines.getvalue().startswith("203.0.113.9, 203.0.113.10,127.0.0.1 ")
