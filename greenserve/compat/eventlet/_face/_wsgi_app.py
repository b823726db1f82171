"""An app as eventlet's server takes it: one that gives text, or a list of post hooks, or says that it has answered.

Knows no server: what it makes is a WSGI application for ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from greenserve.compat.eventlet._face import corolocal
from greenserve.wsgi.files import FileWrapper

__all__ = ["WSGI_LOCAL", "answering"]

# An app that sets ``already_handled`` here has answered by itself, on the socket.
WSGI_LOCAL = corolocal.local()


class _Blocks:
    """An app's blocks, with text as ASCII, up to the end or until the app says that it has answered by itself."""

    def __init__(self, blocks: Any, environ: dict[str, Any]) -> None:
        self._blocks = blocks
        self._iterator = iter(blocks)
        self._environ = environ

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            block = next(self._iterator)
        except StopIteration:
            _leave_if_handled(self._environ)
            raise
        return block.encode("ascii") if isinstance(block, str) else block

    def close(self) -> None:
        """Close what the app has returned."""
        close = getattr(self._blocks, "close", None)
        if close is not None:
            close()


class _SizedBlocks(_Blocks):
    """The same, where the app's blocks have a length."""

    def __len__(self) -> int:
        return len(self._blocks)


def _leave_if_handled(environ: dict[str, Any]) -> bool:
    if not WSGI_LOCAL.already_handled:
        return False
    environ["greenserve.socket"].fileno()  # whoever uses it takes it over: the server says nothing more
    return True


def answering(app: Any) -> Callable[..., Any]:
    """``app``, which may give text, and may say that it has answered by itself."""

    def run(environ: dict[str, Any], start_response: Any) -> Any:
        WSGI_LOCAL.already_handled = False
        posthooks = environ["eventlet.posthooks"]

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            # Numbers and the like are taken as they are written.
            return start_response(status, [(str(name), str(value)) for name, value in headers], exc_info)

        try:
            blocks = app(environ, start)
        finally:
            own = environ.get("eventlet.posthooks", posthooks)
            if own is not posthooks:  # an app may put a list of its own there
                posthooks.extend(own)
        if isinstance(blocks, (list, tuple)):
            if _leave_if_handled(environ):
                return []
            return [block.encode("ascii") if isinstance(block, str) else block for block in blocks]
        if isinstance(blocks, FileWrapper) or blocks is None:
            return blocks
        return _SizedBlocks(blocks, environ) if hasattr(blocks, "__len__") else _Blocks(blocks, environ)

    return run
