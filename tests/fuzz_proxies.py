"""Hostile bytes against what proxies say, by hand: ``python -m tests.fuzz_proxies SECONDS [DIRECTORY]``.

The invariants, for any bytes (`check`):

1. Nothing but BadProxyHeader and BadRequest comes out.
2. A PROXY header is read from its first bytes on as it is read whole: what is complete stays so, what is wrong too.
3. What Forwarded and X-Forwarded-* make of a request is an address, a scheme, a host and a port within their grammars.
4. What a client puts to the left of what a trusted proxy adds never becomes the client's address.

With atheris installed the search follows the coverage; without it, known good inputs are changed at random. The seed is
printed. What breaks an invariant is written to DIRECTORY (default: the current one).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from pathlib import Path

from greenserve._kinds import normal_address
from greenserve.errors import BadRequest
from greenserve.http.target import is_authority

try:
    import atheris
except ImportError:
    atheris = None

with atheris.instrument_imports(include=["greenserve.wsgi"]) if atheris else contextlib.nullcontext():
    from greenserve.wsgi.proxies import Trust, find_origin
    from greenserve.wsgi.proxyprotocol import BadProxyHeader, ProxyHeader, parse_header

GOOD = [
    b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n",
    b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 443\r\nrest",
    b"PROXY UNKNOWN ffff\r\n",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(range(12)),
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24" + bytes(range(36)),
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + b"/a".ljust(216, b"\0"),
    b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00",
    b'for=203.0.113.9;proto=https;host="a.example", for="[2001:db8::1]:80"',
    b"203.0.113.9, [2001:db8::1]:80, unknown, _hidden, 10.0.0.1:1234",
    b"https, http",
]
_WORDS = [
    b",",
    b";",
    b'"',
    b"\\",
    b"=",
    b" ",
    b"[",
    b"]",
    b":",
    b"\r\n",
    b"\0",
    b"for=",
    b"unknown",
    b"10.0.0.1",
    b"\xff",
]

_TRUST = Trust("127.0.0.1,10.0.0.0/8,2001:db8::/32")
_FIELDS = ("FORWARDED", "X_FORWARDED_FOR", "X_FORWARDED_PROTO", "X_FORWARDED_HOST", "X_FORWARDED_PORT")


def check(data: bytes) -> None:
    """Hold ``data`` against the invariants. Raises AssertionError, or what should not have come out."""
    _check_header(data)
    text = data.replace(b"\r", b" ").replace(b"\n", b" ").decode("latin-1")
    for name in _FIELDS:
        _check_fields({f"HTTP_{name}": text})
    parts = text.split("|")
    _check_fields({f"HTTP_{name}": part for name, part in zip(_FIELDS, parts)})
    _check_left({"HTTP_X_FORWARDED_FOR": f"{text}, 203.0.113.9, 10.0.0.1"})
    _check_left({"HTTP_FORWARDED": f"{text}, for=203.0.113.9, for=10.0.0.1"})


def _read(data: bytes) -> ProxyHeader | BadProxyHeader | None:
    try:
        return parse_header(data)
    except BadProxyHeader as exc:
        return exc


def _check_header(data: bytes) -> None:
    whole = _read(data)
    if isinstance(whole, ProxyHeader):
        assert 0 < whole.length <= len(data)
        assert _read(data[: whole.length]) == whole
    for end in range(min(len(data), 300)):
        part = _read(data[:end])
        if isinstance(part, ProxyHeader):
            assert part == whole
        elif part is not None:
            assert isinstance(whole, BadProxyHeader)


def _check_fields(fields: dict[str, str]) -> None:
    try:
        origin = find_origin(fields, _TRUST)
    except BadRequest:
        return
    assert origin.scheme in (None, "http", "https")
    assert origin.host is None or is_authority(origin.host)
    assert origin.port is None or 0 <= int(origin.port) <= 65535
    if origin.client:
        assert normal_address(origin.client) == origin.client
    assert origin.client_port == "" or 0 <= int(origin.client_port) <= 65535


def _check_left(fields: dict[str, str]) -> None:
    with contextlib.suppress(BadRequest):
        assert find_origin(fields, _TRUST).client == "203.0.113.9"


def change(data: bytes, random_: random.Random) -> bytes:
    """Return ``data`` with a few changes."""
    changed = bytearray(data)
    for _ in range(random_.randint(1, 5)):
        start = random_.randint(0, len(changed))
        end = min(len(changed), start + random_.choice([0, 0, 1, 1, 4]))
        changed[start:end] = random_.choice([random_.choice(_WORDS), random_.randbytes(1), b"", bytes(changed[:8])])
    return bytes(changed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float)
    parser.add_argument("directory", type=Path, nargs="?", default=Path())
    parser.add_argument("--random", action="store_true", help="change good inputs at random, even with atheris")
    arguments = parser.parse_args()
    if atheris and not arguments.random:
        options = [sys.argv[0], f"-max_total_time={arguments.seconds:.0f}", f"-artifact_prefix={arguments.directory}/"]
        atheris.Setup(options, check)
        atheris.Fuzz()
        return 0
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    random_ = random.Random(seed)
    end = time.monotonic() + arguments.seconds
    count = 0
    while time.monotonic() < end:
        data = change(random_.choice(GOOD), random_)
        count += 1
        try:
            check(data)
        except Exception as exc:  # noqa: BLE001 - whatever comes out is what is looked for
            path = arguments.directory / f"broken-{count}"
            path.write_bytes(data)
            print(f"{path}: {type(exc).__name__}: {exc}")
            return 1
    print(f"{count} inputs, no invariant broken")
    return 0


if __name__ == "__main__":
    sys.exit(main())
