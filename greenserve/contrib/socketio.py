"""python-socketio on green threads, unpatched: ``greenserve.contrib.socketio.Server``, or ``async_mode="greenserve"``.

The driver that python-engineio asks for: threads, queues, events, and WebSockets; and `LocalManager`, by which the
workers of one machine hear of each other. Knows nothing of what is said.

Facts this rests on (python-engineio 4.8 to 4.15):

- A mode is a module of ``engineio.async_drivers`` with a dict, ``_async``. Only the modes that
  ``BaseServer.async_modes`` lists are looked for.
- The class for WebSockets is called as a WSGI application. A list that it returns is taken for packets to answer.
- engineio pings its clients itself, and sets the timeout of ``ws.socket`` to what that allows.
- What listens for a manager (python-socketio 5.18) takes any ``Exception`` for a reason to try again, at once,
  and an end of the messages for an error.

What this means for us: `register` puts the module into ``sys.modules`` and the mode behind those that are listed, where
it changes nothing for who chooses none. WebSockets come with no pings of their own, and answer with a tuple.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from queue import Empty
from types import ModuleType
from typing import Any

import socketio
from engineio.base_server import BaseServer

from greenserve import extras
from greenserve._bus.bus import Bus, Sender
from greenserve._bus.place import current_place
from greenserve.contrib._sessions import look_after
from greenserve.core.greenthreads import GreenThread, spawn
from greenserve.core.waiters import WaitQueue, sleep
from greenserve.sync.locks import Lock
from greenserve.sync.queues import Queue
from greenserve.websocket import WebSocketWSGI

__all__ = ["MODE", "Event", "LocalManager", "Server", "Thread", "WebSocketTransport", "register"]

MODE = "greenserve"


class Thread:
    """What engineio uses of ``threading.Thread``."""

    def __init__(self, target: Callable[..., Any], args: Iterable[Any] = (), kwargs: Any = None) -> None:
        self._call = target, tuple(args), dict(kwargs or {})
        self._thread: GreenThread[Any] | None = None

    def start(self) -> None:
        target, args, keywords = self._call
        self._thread = spawn(target, *args, **keywords)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end. What ended it has been logged, and is not raised here. May switch."""
        if self._thread is None:
            raise RuntimeError("join() before start()")
        try:
            self._thread.wait(timeout)
        except Exception:  # noqa: BLE001 - told of at the edge of the green thread
            pass


class Event:
    """What engineio uses of ``threading.Event``."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting = WaitQueue()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._waiting.wake_all()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, ``timeout`` seconds at most, and return whether it is. May switch."""
        if not self.is_set():
            waiter = self._waiting.enter()
            if self.is_set():  # by another OS thread, before it could see us
                self._waiting.leave(waiter)
            else:
                self._waiting.finish(waiter, timeout)
        return self.is_set()


class WebSocketTransport:
    """A WSGI application for one WebSocket of engineio's: ``handler(ws)`` gets a `greenserve.websocket.WebSocket`."""

    def __init__(self, handler: Callable[[Any], Any], server: Any) -> None:
        # Where they come from is checked by engineio, with its own list.
        self._app = WebSocketWSGI(
            handler, max_message_size=int(server.max_http_buffer_size), ping_interval=None, ping_timeout=None
        )

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> tuple[bytes, ...]:
        """Serve the connection to its end. May switch."""
        return tuple(self._app(environ, start_response))


@cache
def register() -> None:
    """Let engineio find the mode. Once is enough; `Server` does it by itself.

    Raises:
        MissingExtra: The package ``websockets`` is not installed.
    """
    extras.load("websocket", "greenserve.websocket.codec")  # now, and not at the first client's upgrade
    name = f"engineio.async_drivers.{MODE}"
    module = ModuleType(name, "greenserve's driver, in greenserve.contrib.socketio.")
    module._async = {  # type: ignore[attr-defined]  # engineio's name for it
        "thread": Thread,
        "queue": Queue,
        "queue_empty": Empty,
        "event": Event,
        "websocket": WebSocketTransport,
        "sleep": sleep,
    }
    sys.modules[name] = module
    listed = BaseServer.async_modes

    def async_modes(server: BaseServer) -> list[str]:
        return [*listed(server), MODE]

    BaseServer.async_modes = async_modes


class Server(socketio.Server):
    """``socketio.Server`` with this mode, and all its arguments."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        register()
        keywords["async_mode"] = keywords.get("async_mode") or MODE
        super().__init__(*args, **keywords)
        look_after(self.eio)


class _Left(BaseException):
    """There is nothing to listen to any more. No ``Exception``: that would be logged, and tried again for ever."""


class LocalManager(socketio.PubSubManager):
    """A client manager for the workers of one machine, with nothing to install: rooms and broadcasts reach all of them.

    It goes with python-socketio's own `Server` as well, in any mode that waits in our hub.
    """

    name = "local"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        channel: str = "socketio",
        write_only: bool = False,
        **keywords: Any,
    ) -> None:
        """Meet the others, once there is something to say or somebody to hear it.

        Args:
            path: A folder for Unix sockets, the same in all programs that are to hear each other. It is made, for our
                user alone, if it is not there. By default the workers of one ``greenserve`` meet, and nobody else.
            channel: Only those that have the same hear each other.
            write_only: This program serves no clients.
            keywords: Those of ``socketio.PubSubManager``.

        Raises:
            ValueError: It is ``write_only`` and has no ``path``.
        """
        super().__init__(channel=channel, write_only=write_only, **keywords)
        if write_only and path is None:
            raise ValueError(
                'LocalManager(write_only=True) needs the path of the others: LocalManager("/run/chat", ...)'
            )
        self._path = None if path is None else os.path.abspath(path)
        self._sender = Sender(self._path, channel) if write_only and self._path is not None else None
        self._lock = Lock()
        self._pid = 0  # of the process that has the bus: this object may have been made before the fork
        self._bus: Bus | None = None

    @property
    def host_id(self) -> str:
        """Who we are to the others. Each process is another one, even if this object was made before the fork."""
        return f"{self._host_id}.{os.getpid()}"

    @host_id.setter
    def host_id(self, value: str) -> None:
        self._host_id = value

    def set_server(self, server: socketio.Server) -> None:
        """Called by the server that this is for."""
        super().set_server(server)
        look_after(server.eio)

    def initialize(self) -> None:
        """Called by the server before its first client. It may come after the first message.

        Raises:
            OSError: There can't be a bus at ``path``.
            RuntimeError: The server waits in another hub than ours.
        """
        if "gevent" in self.server.async_mode:
            raise RuntimeError(
                f"LocalManager can't wait in gevent's hub, which async_mode={self.server.async_mode!r} is for: "
                'choose "greenserve" or "threading"'
            )
        self._join()

    def close(self) -> None:
        """Leave the others, as at the end of a program. Whoever still emits comes back."""
        with self._lock:
            if self._sender is not None:
                self._sender.close()
            if self._bus is not None:
                self._bus.close()
            self._pid = 0
            self._bus = None

    def _join(self) -> Bus | None:
        with self._lock:
            pid = os.getpid()
            if self._pid != pid and not self.write_only:
                place = current_place()
                folder = place.folder if self._path is None and place is not None else self._path
                self._bus = None if folder is None else Bus(folder, self.channel)
                self._pid = pid
                if self._bus is not None:
                    super().initialize()  # which runs `_listen`
            return self._bus

    def _publish(self, data: dict[str, Any]) -> None:
        publisher = self._sender or self._join()
        if publisher is not None:  # else this process is alone
            publisher.publish(self.json.dumps(data).encode())

    def _thread(self) -> None:
        with suppress(_Left):
            super()._thread()

    def _listen(self) -> Iterator[bytes]:
        bus = self._bus
        if bus is not None:  # else it was closed before this began
            yield from bus.messages()
        raise _Left
