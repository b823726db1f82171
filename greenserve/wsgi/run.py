"""One run of a WSGI application: environ in; status, fields and blocks out. Knows no framing and no connection.

What a protocol does with them is a subclass's: `Run.check`, `Run.write`, `Run.finish`, `Run.send_file`.

Source: PEP 3333.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from greenserve.errors import ResponseError
from greenserve.wsgi.environ import Environ
from greenserve.wsgi.files import FileWrapper

__all__ = ["ExcInfo", "Run", "StartResponse", "WSGIApp", "as_bytes"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
StartResponse = Callable[..., Callable[[bytes], object]]
WSGIApp = Callable[[Environ, Any], Iterable[bytes]]


class Run:
    """Calls the app once and passes on what it answers.

    Attributes:
        head: Status and fields as the protocol keeps them; None until the app has called ``start_response``.
        head_sent: They can't be changed any more.
    """

    __slots__ = ("head", "head_sent")

    def __init__(self) -> None:
        self.head: Any = None
        self.head_sent = False

    # What the app calls and what its answer goes through ----------------------------------------------------------

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        """PEP 3333's ``start_response``.

        Raises:
            ResponseError: Called twice without ``exc_info``, or status or headers are not what HTTP allows.
            BaseException: The one in ``exc_info``, if the head was sent already.
        """
        if exc_info:
            try:
                if self.head_sent and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # breaks the cycle of traceback and frame
        elif self.head is not None:
            raise ResponseError("start_response was called a second time without exc_info")
        self.head = self.check(status, headers)
        return self.write_now

    def execute(self, app: WSGIApp, environ: Environ) -> None:
        """Run ``app`` to the end of its answer. What it raises comes out. May switch."""
        blocks = app(environ, self.start_response)
        if type(blocks) is list and len(blocks) == 1:
            # The usual answer, whole and without anything to close.
            block = blocks[0]
            self.finish(block if type(block) is bytes else as_bytes(block))
            return
        try:
            if not (isinstance(blocks, FileWrapper) and self.head is not None and self.send_file(blocks)):
                self._stream(blocks)
        finally:
            close = getattr(blocks, "close", None)
            if close is not None:
                close()

    def _stream(self, blocks: Iterable[bytes]) -> None:
        length = _length_of(blocks)
        if length == 0:
            self.finish(b"")
            return
        if not hasattr(blocks, "__iter__") and not hasattr(blocks, "__getitem__"):  # either makes it iterable
            raise ResponseError(f"the app returned {type(blocks).__name__}: return blocks of bytes, such as [body]")
        for block in blocks:
            if type(block) is not bytes:
                block = as_bytes(block)
            if length == 1:  # PEP 3333: the only block is the whole body
                self.finish(block)
                return
            if block and not self.write(block):
                break
        self.finish(b"")

    def write_now(self, block: bytes) -> None:
        """PEP 3333's ``write``: sends ``block`` before it returns. May switch."""
        if type(block) is not bytes:
            block = as_bytes(block)
        self.write(block)

    # What a protocol does with it ---------------------------------------------------------------------------------

    def check(self, status: str, headers: list[tuple[str, str]]) -> Any:
        """Return what `head` is to hold. May be called again until the head is sent."""
        raise NotImplementedError

    def write(self, block: bytes) -> bool:
        """Send ``block``, behind the head if that has not been sent. May switch.

        False if nothing of what may follow it would reach the client: an app that never ends is not run for that.
        """
        raise NotImplementedError

    def finish(self, block: bytes) -> None:
        """Send ``block`` as the last one, behind the head if that has not been sent. May switch."""
        raise NotImplementedError

    def send_file(self, wrapper: FileWrapper) -> bool:
        """Send a whole file by the system. False, with nothing sent, when that can't be done. May switch."""
        return False


def as_bytes(block: object) -> bytes:
    """Return a block of an app's body as bytes.

    Raises:
        ResponseError: It is something else.
    """
    if isinstance(block, (bytes, bytearray, memoryview)):
        return bytes(block)
    if isinstance(block, int):  # what bytes alone are made of
        raise ResponseError("the app's body must be blocks of bytes, and it gave int: return [body], and not body")
    raise ResponseError(f"the app's body must be bytes, and it gave {type(block).__name__}: encode it")


def _length_of(blocks: Iterable[bytes]) -> int | None:
    try:
        return len(blocks)  # type: ignore[arg-type]  # that is the question
    except (TypeError, AttributeError, NotImplementedError):
        return None
