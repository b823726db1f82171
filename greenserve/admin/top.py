"""``greenserve top``: what the admin page shows, in a terminal. Wholly about ``rich``, the extra ``top``.

Asks the page's listener for its state once a second, over TCP or a Unix socket. Knows no board: it may run anywhere
that reaches the listener.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from greenserve._kinds import InheritedFd, UnixAddress, parse_address
from greenserve.errors import GreenserveError

__all__ = ["TopError", "fetch", "render", "run"]

DEFAULT = "127.0.0.1:8001"

_TIMEOUT = 5.0
_BARS = " ▁▂▃▄▅▆▇█"
_LAG = 0.1  # from here on it is red, in seconds
_WIDE = 105  # columns that a worker's line takes at its longest with air in it; below that there is none


class TopError(GreenserveError):
    """Nothing there can be shown. The message says what was asked and why not."""


class _Connection(http.client.HTTPConnection):
    """To a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)


def fetch(address: str) -> dict[str, Any]:
    """Return the state that the page at ``address`` shows: ``HOST:PORT`` or ``unix:PATH``, or its URL.

    Raises:
        TopError: It can't be had.
    """
    wrong = TopError(f"{address!r} is no address: give --admin-bind's, such as {DEFAULT} or unix:PATH")
    try:
        where = parse_address(address.removeprefix("http://").rstrip("/"))
    except ValueError:
        raise wrong from None
    if isinstance(where, InheritedFd):
        raise wrong
    if isinstance(where, UnixAddress):
        connection: http.client.HTTPConnection = _Connection(where.path)
    else:
        connection = http.client.HTTPConnection(where.host or "127.0.0.1", where.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/state.json")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise TopError(f"{address} answered {answer.status}: {body.decode('latin-1').strip()}")
        state: dict[str, Any] = json.loads(body)
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise TopError(f"no page at {address}: {exc}; start the server with --admin-bind {DEFAULT}") from exc
    finally:
        connection.close()
    return state


def run(arguments: Sequence[str]) -> int:
    """Show the page at the address in ``arguments`` until Ctrl-C, and return the exit status.

    With ``--once`` it is shown once, for a pipe.

    Raises:
        TopError: There is no page.
    """
    names = [argument for argument in arguments if not argument.startswith("-")]
    options = {argument for argument in arguments if argument.startswith("-")}
    usage = f"usage: greenserve top [--once] [ADDRESS]; ADDRESS is --admin-bind's, or else {DEFAULT}"
    console = Console()
    if options & {"-h", "--help"}:
        console.out(usage, highlight=False)
        return 0
    if options - {"--once"} or len(names) > 1:
        raise TopError(usage)
    address = names[0] if names else DEFAULT
    state = fetch(address)
    if "--once" in options or not console.is_terminal:
        console.print(render(state, address, console.width))
        return 0
    try:
        with Live(_full(state, address, console), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(1)
                try:
                    state = fetch(address)
                    shown = _full(state, address, console)
                except TopError as exc:
                    shown = _full(state, f"{address}  [waiting: {exc.__cause__ or exc}]", console)
                live.update(shown, refresh=True)
    except KeyboardInterrupt:
        return 0


def _full(state: dict[str, Any], address: str, console: Console) -> Layout:
    return Layout(render(state, address, console.width))


def render(state: dict[str, Any], address: str, width: int) -> RenderableType:
    """Return ``state`` as something that rich prints ``width`` columns wide."""
    return Group(*_parts(state, address, width))


def _parts(state: dict[str, Any], address: str, width: int) -> Iterator[RenderableType]:
    title = Text.assemble(("greenserve ", "bold green"), state["version"], "  ", (state["title"], "bold"))
    yield Text.assemble(title, "  ", (address, "dim"))
    if state["points"]:
        yield _figures(state, width)
    yield _workers(state["workers"], width)
    if state["running"]:
        yield _running(state["running"])
    for block in state["blocks"][:3]:
        at = time.strftime("%H:%M:%S", time.localtime(block["at"]))
        yield Text(f"{at} process {block['pid']}: {block['text']}", style="red")
    if state["ended"]:
        yield Text("ended: " + ", ".join(f"{why} {count}" for why, count in state["ended"].items()), style="dim")


def _figures(state: dict[str, Any], width: int) -> RenderableType:
    points, now = state["points"], state["points"][-1]
    table = Table.grid(padding=(0, 1), expand=True)
    for _ in range(3):
        table.add_column(ratio=1)
    chart = max(8, width // 3 - 8)

    def cell(name: str, text: str, column: str, style: str) -> RenderableType:
        line = sparkline([point[column] for point in points], chart)
        return Panel(
            Group(Text(text, style="bold"), Text(line, style=style, no_wrap=True)), title=name, title_align="left"
        )

    latency = "  ".join(seconds(now[name]) for name in ("p50", "p90", "p99"))
    table.add_row(
        cell("requests/s", f"{now['requests']:,.0f}  ({now['failed']:,.1f} failed)", "requests", "green"),
        cell("latency p50 p90 p99", latency, "p99", "yellow"),
        cell("in flight", f"{now['running']:,.0f} of {now['connections']:,.0f} connections", "running", "cyan"),
    )
    table.add_row(
        cell("hub lag", seconds(now["lag"]), "lag", "red" if now["lag"] > _LAG else "green"),
        cell("CPU", f"{now['cpu'] * 100:.1f} %", "cpu", "green"),
        cell("memory", size(now["rss"]), "rss", "green"),
    )
    return table


def _workers(workers: Sequence[dict[str, Any]], width: int) -> RenderableType:
    is_wide = width >= _WIDE
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1) if is_wide else 0)
    table.add_column("process", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name in ("age", "req/s", "in flight", "conns", "green", "CPU", "memory", "hub lag"):
        table.add_column(name if is_wide else name.replace(" ", "\n"), justify="right", no_wrap=True)
    for worker in workers:
        state = f"silent {worker['silent']:.0f} s" if worker["silent"] else worker["state"]
        style = "red" if worker["silent"] else "green" if state == "ready" else "dim"
        table.add_row(
            str(worker["pid"]),
            Text(state, style=style),
            age(worker["age"]),
            f"{worker['requests']:,.0f}",
            str(worker["running"]),
            str(worker["connections"]),
            str(worker["green_threads"]),
            f"{worker['cpu'] * 100:.1f} %",
            size(worker["rss"]),
            Text(seconds(worker["lag"]), style="red" if worker["lag"] > _LAG else ""),
        )
    return table


def _place(stack: Sequence[str]) -> str:
    """The one line of a stack that says most: where the innermost code waits that is not the server's own."""
    theirs = (line for line in stack if not line.startswith("greenserve."))
    return next(theirs, stack[0] if stack else "")


def _running(requests: Sequence[dict[str, Any]]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("in flight", justify="right")
    table.add_column("request", ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column("where it is", ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column("process", justify="right")
    for request in requests[:8]:
        # Text, and not markup: a target may hold brackets, and nothing in it may reach the terminal as a control.
        target = Text(printable(f"{request['method']} {request['target']}"))
        where = Text(printable(_place(request["stack"])), style="dim")
        table.add_row(seconds(request["seconds"]), target, where, str(request["pid"]))
    return table


def printable(text: str) -> str:
    """``text`` with a ``?`` for each character that a terminal might obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last ``width`` values as a line of bars, of which the highest is the largest value."""
    shown = values[-width:]
    largest = max([value for value in shown if value is not None], default=0.0) or 1.0
    return "".join(
        " " if value is None else _BARS[min(len(_BARS) - 1, round(value / largest * (len(_BARS) - 1)))]
        for value in shown
    )


def seconds(value: float | None) -> str:
    """A time in the unit that reads best."""
    if value is None:
        return "-"
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1000:.{1 if value < 0.01 else 0}f} ms" if value < 1 else f"{value:.1f} s"


def size(value: float) -> str:
    """Bytes in the unit that reads best."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= unit:
            return f"{value / unit:.{1 if value < 100 * unit else 0}f} {name}"
    return f"{value:.0f} B"


def age(value: float) -> str:
    """How long ago, in two units at most."""
    for unit, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if value >= unit:
            return f"{value // unit:.0f} {name} {value % unit // smaller:.0f} {smaller_name}"
    return f"{value // 60:.0f} min" if value >= 60 else f"{value:.0f} s"
