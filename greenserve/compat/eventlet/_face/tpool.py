"""``eventlet.tpool``: calls in native threads, by the one pool that greenserve has."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from greenserve.compat.eventlet._face.timeout import Timeout
from greenserve.net import threads

__all__ = ["Proxy", "execute", "killall", "set_num_threads"]

EXC_CLASSES = (Exception, Timeout)
SYS_EXCS = (GeneratorExit, KeyboardInterrupt, SystemExit)

# Whether what a call raises is not printed; `debug.tpool_exceptions` sets it.
QUIET = True

_VARIABLE = "EVENTLET_THREADPOOL_SIZE"


# How many threads there are to be, and how many the pool was told.
_nthreads = int(os.environ.get(_VARIABLE, "20"))
_told = 20


def setup() -> None:
    """Give the pool the size that was asked for by eventlet's names.

    Raises:
        AssertionError: It is negative.
    """
    global _told  # noqa: PLW0603 - eventlet's own name beside it is a global that others read
    if _nthreads == _told:
        return
    assert _nthreads >= 0, "Can't specify negative number of threads"
    _told = _nthreads
    if _nthreads == 0:
        warnings.warn(
            "Zero threads in tpool. All tpool.execute calls will execute in main thread. "
            f"Check the value of the environment variable {_VARIABLE}.",
            RuntimeWarning,
            stacklevel=3,
        )
    threads.set_num_threads(_nthreads)


def set_num_threads(nthreads: int) -> None:
    """Let up to ``nthreads`` calls run at once, from the next call on."""
    global _nthreads  # noqa: PLW0603 - as above
    _nthreads = nthreads


def execute(meth: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return ``meth(*args, **kwargs)``, called in a native thread. What it raises is raised. May switch."""
    setup()
    try:
        return threads.execute(meth, *args, **kwargs)
    except EXC_CLASSES:
        if not QUIET:
            traceback.print_exc()
            traceback.print_stack()
        raise


def killall() -> None:
    """Let the native threads leave. They come back with the next call."""
    threads.killall()


def proxy_call(autowrap: tuple[type, ...], f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return ``f(*args, **kwargs)``, called in a native thread unless ``nonblocking=True``. May switch.

    It comes in a `Proxy` if it is an instance of one of ``autowrap``.
    """
    if kwargs.pop("nonblocking", False):
        result = f(*args, **kwargs)
    else:
        result = execute(f, *args, **kwargs)
    return Proxy(result, autowrap) if isinstance(result, autowrap) else result


class Proxy:
    """Stands for ``obj``: its methods are called in native threads.

    Args:
        obj: Any object.
        autowrap: Classes. Attributes and results that are instances of one come in a `Proxy` too.
        autowrap_names: Names of attributes, and of methods for their results, that do so whatever they are.
    """

    def __init__(self, obj: Any, autowrap: tuple[type, ...] = (), autowrap_names: tuple[str, ...] = ()) -> None:
        self._obj = obj
        self._autowrap = tuple(autowrap)
        self._autowrap_names = autowrap_names

    def __getattr__(self, attr_name: str) -> Any:
        if attr_name == "_obj":
            raise AttributeError(attr_name)  # a copy that is being made has none yet
        value = getattr(self._obj, attr_name)
        if not callable(value):
            if isinstance(value, self._autowrap) or attr_name in self._autowrap_names:
                return Proxy(value, self._autowrap)
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            result = proxy_call(self._autowrap, value, *args, **kwargs)
            if attr_name in self._autowrap_names and not isinstance(result, Proxy):
                return Proxy(result)
            return result

        return call

    # Python looks these up in the class, past __getattr__.

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = proxy_call(self._autowrap, self._obj, *args, **kwargs)
        return Proxy(result) if "__call__" in self._autowrap_names else result

    def __getitem__(self, key: Any) -> Any:
        return proxy_call(self._autowrap, self._obj.__getitem__, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        proxy_call(self._autowrap, self._obj.__setitem__, key, value)

    def __deepcopy__(self, memo: Any = None) -> Any:
        return proxy_call(self._autowrap, self._obj.__deepcopy__, memo)

    def __copy__(self) -> Any:
        return proxy_call(self._autowrap, self._obj.__copy__)

    def __enter__(self) -> Any:
        return proxy_call(self._autowrap, self._obj.__enter__)

    def __exit__(self, *exc: object) -> Any:
        return proxy_call(self._autowrap, self._obj.__exit__, *exc)

    def next(self) -> Any:
        """``next(obj)``, in a native thread. May switch."""
        item = proxy_call(self._autowrap, next, self._obj, _END)
        if item is _END:
            raise StopIteration
        return item

    def __next__(self) -> Any:
        return self.next()

    # These are called in place: nobody waits for a length.

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self._obj)
        return self if iterator is self._obj else Proxy(iterator)

    def __eq__(self, other: object) -> bool:
        return bool(self._obj == other)

    def __hash__(self) -> int:
        return hash(self._obj)

    def __len__(self) -> int:
        return len(self._obj)

    def __bool__(self) -> bool:
        return bool(self._obj)

    def __repr__(self) -> str:
        return repr(self._obj)

    def __str__(self) -> str:
        return str(self._obj)


_END = object()
