"""The listening sockets of a master: opened, inherited, or handed on to the next master. Serves nobody.

Facts this rests on (Linux socket(7), tcp(7)):

- Connections that wait in the backlog of a SO_REUSEPORT socket are lost with its last fd; those of a shared socket wait
  for whoever else has it.
- A listening socket lives while any process holds an fd of it. An ``execve`` closes the fds that are marked for that,
  and Python marks all of them (PEP 446).

What this means for us: the master holds every socket as long as it wants it served, also the one that only one worker
accepts on, so that a replacement takes over with the backlog.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, MutableMapping

from greenserve._kinds import InheritedFd, TcpAddress, UnixAddress
from greenserve.binds import BindError, Listener, open_listeners
from greenserve.config import Config
from greenserve.net.sockets import GreenSocket
from greenserve.supervisor.filters import stick_by_address
from greenserve.supervisor.identity import Owner
from greenserve.supervisor.notify import take_listen_fds

__all__ = ["ACTIVATED", "HANDED_ON", "Listeners", "activated_addresses", "take_handed_on"]

Address = TcpAddress | UnixAddress | InheritedFd

# The variable that tells a new master which sockets it gets: a list of pairs, what bind said and the number of the fd.
HANDED_ON = "GREENSERVE_HANDED_ON"

# What stands there in place of an address, for the sockets of the service manager.
ACTIVATED = "activated"


def activated_addresses(environ: MutableMapping[str, str]) -> list[InheritedFd]:
    """Return the sockets that the service manager opened for us, and take them out of ``environ``.

    Raises:
        BindError: The variables make no sense.
    """
    try:
        return [InheritedFd(fd) for fd in take_listen_fds(environ)]
    except ValueError as exc:
        raise BindError(f"LISTEN_PID and LISTEN_FDS in the environment are not right: {exc}") from exc


def take_handed_on(environ: MutableMapping[str, str]) -> dict[str, list[int]]:
    """Return the sockets that the master before us handed on, by what bind said, and take them out of ``environ``."""
    found: dict[str, list[int]] = {}
    for key, fd in json.loads(environ.pop(HANDED_ON, "[]")):
        os.set_inheritable(fd, False)
        found.setdefault(key, []).append(fd)
    return found


class _Place:
    """One address, and the sockets there: one that all workers share, or one for each number."""

    __slots__ = ("address", "is_shared", "key", "listeners")

    def __init__(self, key: str, address: Address, is_shared: bool) -> None:
        self.key = key
        self.address = address
        self.is_shared = is_shared
        self.listeners: list[Listener] = []


class Listeners:
    """The sockets at all addresses of one configuration."""

    def __init__(
        self,
        config: Config,
        count: int,
        activated: list[InheritedFd] | None = None,
        handed_on: dict[str, list[int]] | None = None,
    ) -> None:
        """Open, or take over, the sockets for ``count`` workers.

        Args:
            activated: Sockets to serve in place of those of ``bind``.
            handed_on: Sockets that are open already, by what bind said. What is not wanted is closed.

        Raises:
            BindError: One can't be opened. None is open then.
        """
        self._config = config
        self._is_activated = bool(activated)
        self._places: list[_Place] = []
        handed_on = handed_on or {}
        is_handed_on = bool(handed_on)  # somebody else serves there too
        try:
            for address in activated or config.bind:
                key = ACTIVATED if activated else str(address)
                place = _Place(key, address, not (self._has_one_for_each and isinstance(address, TcpAddress)))
                if place.is_shared and config.sticky == "address":
                    # The kernel chooses among sockets of its own making: clients would go to any worker, unnoticed.
                    raise BindError(
                        f"can't stick clients at {address} by their addresses: that takes sockets for each worker, at "
                        "HOST:PORT; use --sticky cookie"
                    )
                self._places.append(place)
                for fd in handed_on.pop(key, ()):
                    place.listeners.append(self._adopt(place, fd))
            self.resize(count)
        except BaseException:
            self.close(unlink=not is_handed_on)
            raise
        finally:
            for fds in handed_on.values():
                for fd in fds:
                    os.close(fd)

    def _adopt(self, place: _Place, fd: int) -> Listener:
        (listener,) = open_listeners([InheritedFd(fd)], backlog=self._config.backlog)
        if isinstance(place.address, UnixAddress):
            listener = Listener(listener.socket, place.address.path)
        listener.scheme = self._scheme
        return listener

    @property
    def _scheme(self) -> str:
        return "http" if self._config.certfile is None else "https"

    @property
    def _has_one_for_each(self) -> bool:
        return bool(self._config.reuse_port) or self._config.sticky == "address"

    def _fill(self, place: _Place, count: int) -> None:
        config, address = self._config, place.address
        while len(place.listeners) < (1 if place.is_shared else count):
            if isinstance(address, TcpAddress) and place.listeners:
                # The others have to be at the port that the first one got.
                address = TcpAddress(address.host, place.listeners[0].socket.getsockname()[1])
            try:
                place.listeners += open_listeners(
                    [address],
                    backlog=config.backlog,
                    reuse_port=self._has_one_for_each,
                    unix_socket_mode=config.unix_socket_mode,
                    scheme=self._scheme,
                )
            except BindError as exc:
                if config.is_set("bind") or not exc.is_in_use or not isinstance(address, TcpAddress):
                    raise
                # Nobody has chosen this address, and may not know how to choose one.
                other = TcpAddress(address.host, address.port + 1)
                raise BindError(f"{exc}; choose another address with --bind {other}") from exc
            if isinstance(address, UnixAddress):
                Owner(config).give(address.path)

    def __str__(self) -> str:
        return " and ".join(str(place.listeners[0]) for place in self._places)

    def resize(self, count: int) -> None:
        """Have sockets for ``count`` workers.

        Raises:
            BindError: There can't be more. Those that there were are there still.
        """
        for place in self._places:
            self._fill(place, count)
            if place.is_shared:
                continue
            for listener in place.listeners[count:]:
                listener.socket.close()  # the worker's own goes on until it has taken what waits there
            del place.listeners[count:]
            if self._config.sticky == "address":
                try:
                    stick_by_address(place.listeners[0].socket, count)
                except OSError as exc:
                    raise BindError(f"can't stick clients at {place.address} by their addresses: {exc}") from exc

    def of_worker(self, number: int) -> list[tuple[GreenSocket, bool]]:
        """Return the sockets for the worker of this number, counted from 0, and whether it shares them with others."""
        return [(place.listeners[0 if place.is_shared else number].socket, place.is_shared) for place in self._places]

    def handed_on(self) -> list[tuple[str, int]]:
        """Return each socket for the next master: what bind said, and the fd."""
        return [(place.key, listener.socket.fileno()) for place, listener in self._all()]

    def fds(self) -> set[int]:
        """Return the fds of all sockets."""
        return {fd for _, fd in self.handed_on()}

    def fits(self, config: Config) -> bool:
        """Whether sockets for ``config`` are the same as these."""
        return self._is_activated or all(
            _text(getattr(config, name)) == _text(getattr(self._config, name))
            for name in ("bind", "backlog", "reuse_port", "sticky", "unix_socket_mode", "certfile")
        )

    def renewed(self, config: Config, count: int) -> Listeners:
        """Return sockets for ``config``: at the same addresses the same ones. Those here are closed.

        Raises:
            BindError: One can't be opened. Those here are as they were.
        """
        kept: dict[str, list[int]] = {}
        for place, listener in self._all():
            kept.setdefault(place.key, []).append(os.dup(listener.socket.fileno()))
        new = Listeners(config, count, handed_on=kept)
        keys = {place.key for place in new._places}
        for place, listener in self._all():
            if place.key in keys:
                listener.socket.close()
            else:
                listener.close()
        return new

    def close(self, unlink: bool = True) -> None:
        """Close the sockets; and remove the files of Unix sockets, unless somebody else serves on."""
        for _, listener in self._all():
            if unlink:
                listener.close()
            else:
                listener.socket.close()

    def close_others(self, number: int) -> None:
        """Close, in a worker, what is another number's."""
        mine = {id(sock) for sock, _ in self.of_worker(number)}
        for _, listener in self._all():
            if id(listener.socket) not in mine:
                listener.socket.close()

    def _all(self) -> Iterator[tuple[_Place, Listener]]:
        for place in self._places:
            for listener in place.listeners:
                yield place, listener


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
