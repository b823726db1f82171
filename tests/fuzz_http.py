"""Hostile bytes against the HTTP grammar, by hand: ``python -m tests.fuzz_http SECONDS [DIRECTORY]``.

The invariants, for any bytes cut in any way (``tests.http.stream.check_stream``):

1. Nothing but BadRequest comes out, and it comes in time: no hang, no other exception.
2. How the bytes are cut changes neither the requests that are read nor whether the stream is refused.
3. Each request, written again in its canonical form, is read as the same request.
4. No request has two framings, two Hosts or a control character in a field.
5. What h11, a strict parser of others, accepts too, it reads as the same requests.

With atheris installed the search follows the coverage of ``greenserve.http``; without it, the messages of the corpus
are changed at random. The seed is printed. What breaks an invariant is written to DIRECTORY (default: the current one).
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path

import h11

try:
    import atheris
except ImportError:
    atheris = None

with atheris.instrument_imports(include=["greenserve.http"]) if atheris else contextlib.nullcontext():
    from tests.http.stream import CORPUS, check_stream

# What an input is changed with: the grammar's own words, and what is nearly one of them.
_WORDS = [
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"=",
        b'"',
        b"#",
        b"?",
        b"*",
        b"%",
        b"%0d%0a",
        b"_",
    ),
    *(b"\x00", b"\x0b", b"\x7f", b"\x85", b"\xa0", b"\xff", b"0", b"1", b"a", b"-", b"+", b"0x", b"1" * 20, b"a" * 300),
    *(b"GET ", b"POST ", b"OPTIONS ", b"CONNECT ", b"http://", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"Host: a\r\n"),
    *(b"Content-Length", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"chunked", b"identity", b"gzip"),
    *(
        b"Connection: ",
        b"close",
        b"keep-alive",
        b"Expect: 100-continue\r\n",
        b"Upgrade: x\r\n",
        b"0\r\n\r\n",
        b"3\r\nabc\r\n",
    ),
]


def check(data: bytes) -> tuple[int, int]:
    """Raise AssertionError if ``data`` breaks an invariant; its first two bytes say how the others are cut.

    Return how many requests were read here, and how many of them by h11 too.
    """
    lengths, message = [byte % 61 + 1 for byte in data[:2]] or [1], data[2:]
    requests = check_stream(message, lengths).requests
    both = list(zip(requests, read_with_h11(message), strict=False))
    for request, theirs in both:
        ours = (request.line.method, request.line.target, request.content)
        assert ours == theirs, f"{ours} here, {theirs} there"
    return len(requests), len(both)


def read_with_h11(message: bytes) -> list[tuple[str, str, bytes]]:
    """Return method, target and body of the requests that h11 reads to their end, up to its first refusal."""
    requests: list[tuple[str, str, bytes]] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(message)
    connection.receive_data(b"")
    request, content = None, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, content = event, b""
            elif isinstance(event, h11.Data):
                content += event.data
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                requests.append((request.method.decode(), request.target.decode(), content))
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return requests
                connection.start_next_cycle()
            else:
                return requests
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return requests


def mutate(seeds: list[bytes], chance: random.Random) -> bytes:
    """Return one seed, or two joined, with a few changes."""
    data = bytearray(chance.choice(seeds)[:3000])
    if chance.random() < 0.3:
        data += chance.choice(seeds)[:3000]
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice([0, 0, 1, 1, 2, 5, 20]))
        kind = chance.random()
        if kind < 0.5:
            data[start:end] = chance.choice(_WORDS)
        elif kind < 0.7:
            data[start:end] = chance.randbytes(chance.randint(0, 3))
        else:
            other = chance.choice(seeds)
            cut = chance.randrange(len(other) + 1)
            data[start:end] = other[cut : cut + chance.choice([1, 4, 16, 64])]
    return chance.randbytes(2) + data


def run_at_random(seconds: float, directory: Path, seeds: list[bytes]) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    deadline = time.monotonic() + seconds
    messages = read = read_by_both = 0
    slowest = 0.0
    print(f"changing {len(seeds)} messages at random, seed {seed}", flush=True)
    while (started := time.monotonic()) < deadline:
        data = mutate(seeds, chance)
        try:
            ours, both = check(data)
        except BaseException:  # a Ctrl-C in a hang, too
            path = directory / f"crash-{seed}-{messages}"
            path.write_bytes(data)
            print(f"message {messages:,} breaks an invariant: {path}")
            raise
        slowest = max(slowest, time.monotonic() - started)
        messages += 1
        read += ours
        read_by_both += both
    print(f"{messages:,} messages, {read:,} requests in them, {read_by_both:,} of these read by h11 too")
    print(f"no invariant broken; the slowest message took {slowest * 1000:.0f} ms")


def run_with_atheris(seconds: float, directory: Path, seeds: list[bytes]) -> None:
    """Never returns: libFuzzer ends the process, with the seconds or with a crash."""
    print(f"following the coverage from {len(seeds)} messages", flush=True)
    corpus = Path(tempfile.mkdtemp(prefix="fuzz_http"))
    for number, message in enumerate(seeds):
        (corpus / str(number)).write_bytes(b"\x00\x06" + message)
    dictionary = corpus.with_suffix(".dict")
    dictionary.write_text("".join(['"' + "".join([f"\\x{byte:02x}" for byte in word]) + '"\n' for word in _WORDS]))
    options = [f"-max_total_time={seconds:.0f}", "-timeout=10", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *options, f"-dict={dictionary}", f"-artifact_prefix={directory}/", str(corpus)], check)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float)
    parser.add_argument("directory", type=Path, nargs="?", default=Path())
    parser.add_argument(
        "--random", action="store_true", help="change messages at random, even where atheris is installed"
    )
    arguments = parser.parse_args()
    seeds = [path.read_bytes() for path in sorted(CORPUS.glob("*.http"))]
    # Most messages of the corpus are refused, and one that is refused at once shows little: more of the good ones.
    seeds += 8 * [path.read_bytes() for path in sorted(CORPUS.glob("200-*.http"))]
    run = run_at_random if arguments.random or atheris is None else run_with_atheris
    run(arguments.seconds, arguments.directory, seeds)


if __name__ == "__main__":
    main()
