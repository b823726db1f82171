"""CPython's own tests, run under the patch, and held test by test against the same run without it.

``python -m tests.patched.cpython [MODULE ...]`` runs the interpreter's test modules, each in a process of its own. It
fails when a test that passes without the patch does not pass under it and `differences` has no reason for that, or when
the share of those that pass is below `REQUIRED`. ``python -m tests.long cpython --record`` notes the figures.

A test that brings nothing for so many seconds is a hang: its process is ended, and the module goes on after it in
another one, patched or not.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.patched.differences import DIFFERENCES

ROOT = Path(__file__).parent.parent.parent

# Those that an interpreter does not have are left out.
MODULES = """
test_asyncgen test_asynchat test_asyncio test_asyncore test_atexit test_audit test_bdb test_code_module
test_concurrent_futures test_context test_contextlib test_contextlib_async test_coroutines test_cprofile
test_docxmlrpc test_eintr test_epoll test_faulthandler test_fcntl test_file test_fileio test_finalization test_fork1
test_ftplib test_functools test_gc test_generators test_getpass test_http_cookiejar test_httplib test_httpservers
test_imaplib test_io test_logging test_mailbox test_mmap test_multiprocessing_fork test_multiprocessing_forkserver
test_multiprocessing_main_handling test_multiprocessing_spawn test_nntplib test_openpty test_os test_pdb test_pipes
test_poll test_popen test_poplib test_posix test_profile test_pty test_queue test_readline test_robotparser test_runpy
test_sched test_select test_selectors test_shutil test_signal test_smtpd test_smtplib test_socket test_socketserver
test_sqlite3 test_ssl test_subprocess test_sys test_sys_setprofile test_sys_settrace test_telnetlib test_tempfile
test_thread test_threadedtempfile test_threading test_threading_local test_threadsignals test_time test_timeout
test_trace test_traceback test_tty test_urllib test_urllib2 test_urllib2_localnet test_urllib_response test_uuid
test_wait3 test_wait4 test_warnings test_weakref test_weakset test_wsgiref test_xmlrpc
""".split()

REQUIRED = 0.98
_MAX_HANGS = 12  # of one module: more say nothing new

PASSED = {"ok", "skip", "xfail"}


# A shell that starts something in the background lets it ignore these two, and so whatever that starts.
_AS_IN_FRONT = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "signal.signal(signal.SIGQUIT, signal.SIG_DFL); "
)

# In the child ---------------------------------------------------------------------------------------------------------


class Reporter(unittest.TestResult):
    """Writes what begins and what it comes to, a line of JSON each, as it happens."""

    def __init__(self, out: int) -> None:
        super().__init__()
        self._out = out
        self._write = os.write  # the patch must not switch here
        self._outcome: dict[str, str] = {}

    def _say(self, *words: str) -> None:
        self._write(self._out, (json.dumps(words) + "\n").encode())

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        super().startTest(test)
        self._say("start", test.id())

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's name
        super().stopTest(test)
        self._say("end", test.id(), self._outcome.pop(test.id(), "ok"))

    def _note(self, test: Any, outcome: str, err: Any = None) -> None:
        name = test.id()
        if name.split(" ")[0] in {"setUpClass", "setUpModule", "tearDownClass", "tearDownModule"}:
            self._say("end", name, outcome)
        elif self._outcome.get(name) not in {"fail", "error"}:
            self._outcome[name] = outcome
        if err is not None:
            sys.__stderr__.write(f"\n=== {outcome} {name}\n{self._exc_info_to_string(err, test)}\n")  # type: ignore[union-attr,attr-defined]
            sys.__stderr__.flush()  # type: ignore[union-attr]

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802 - unittest's name
        self._note(test, "error", err)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802 - unittest's name
        self._note(test, "fail", err)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802 - unittest's name
        self._note(test, "skip")

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802 - unittest's name
        self._note(test, "xfail")

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802 - unittest's name
        self._note(test, "fail")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802 - unittest's name
        if err is not None:
            self._note(test, "fail", err)


def run_child(module: str, out: int, skip: set[str], only: str | None) -> None:
    """Run one module's tests in this process."""
    suite = unittest.defaultTestLoader.loadTestsFromName(f"test.{module}")
    wanted = unittest.TestSuite(_without(suite, skip, only))
    wanted.run(Reporter(out))


def _without(suite: Any, skip: set[str], only: str | None) -> Iterator[Any]:
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield type(item)(_without(item, skip, only))
        elif item.id() not in skip and (only is None or only in item.id()):
            yield item


# In the parent --------------------------------------------------------------------------------------------------------


def run_module(
    python: str, module: str, patched: bool, log: Path, only: str | None = None, idle: float = 60.0
) -> dict[str, str]:
    """Run a module, in as many processes as it takes, and return the outcome of each test."""
    outcomes: dict[str, str] = {}
    hangs = 0
    with log.open("wb") as errors:
        while hangs < _MAX_HANGS:
            running, ended = _run_once(python, module, patched, outcomes, errors, only, idle)
            if ended or running is None:
                break
            outcomes[running] = "hang"
            hangs += 1
    return outcomes


def _run_once(
    python: str, module: str, patched: bool, outcomes: dict[str, str], errors: Any, only: str | None, idle: float
) -> tuple[str | None, bool]:
    """Run what has no outcome yet. Returns the test that ran last, and whether the process ended by itself."""
    begin = "from greenserve import monkey; monkey.patch_all(); " if patched else ""
    read_end, write_end = os.pipe()
    with tempfile.TemporaryDirectory() as folder:
        skip = Path(folder) / "skip.json"
        skip.write_text(json.dumps(sorted(outcomes)))
        code = (
            f"{_AS_IN_FRONT}{begin}import json; from tests.patched.cpython import run_child; "
            f"run_child({module!r}, {write_end}, set(json.load(open({str(skip)!r}))), {only!r})"
        )
        process = subprocess.Popen(
            [python, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"},
            pass_fds=[write_end],
            start_new_session=True,
        )
        os.close(write_end)
        running, ended = None, False
        with open(read_end, "rb", buffering=0) as pipe:
            rest = b""
            while True:
                if not select.select([pipe], [], [], idle)[0]:
                    break
                block = pipe.read(65536)
                if not block:
                    ended = True
                    break
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    kind, name, *outcome = json.loads(line)
                    if kind == "start":
                        running = name
                    else:
                        outcomes[name] = outcome[0]
                        running = None
        # A crash in the middle of a test is no end.
        ended = ended and running is None
        if not ended or process.poll() is None:
            _end(process, grace=5 if ended else 0)
    return running, ended


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    try:
        process.wait(grace or 0.1)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler writes into the log where it hangs
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def compare(plain: dict[str, str], patched: dict[str, str]) -> tuple[list[str], int]:
    """Return what passes unpatched and not patched, and how many pass unpatched."""
    passing = [name for name, outcome in plain.items() if outcome in PASSED and "Class " not in name]
    return [f"{name}: {patched.get(name, 'missing')}" for name in passing if patched.get(name) not in PASSED], len(
        passing
    )


@dataclass
class Comparison:
    """What an interpreter's tests came to, counted in tests that pass unpatched."""

    version: str
    modules: list[str] = field(default_factory=list)
    passing: int = 0  # without the patch
    failing: list[str] = field(default_factory=list)  # of these, under the patch: "id: outcome"

    @property
    def share(self) -> float:
        return (self.passing - len(self.failing)) / self.passing if self.passing else 1.0

    @property
    def unexplained(self) -> list[str]:
        return [line for line in self.failing if line.partition(":")[0] not in DIFFERENCES]

    @property
    def is_good(self) -> bool:
        return not self.unexplained and self.share >= REQUIRED

    def __str__(self) -> str:
        hanging = sum(line.endswith(": hang") for line in self.failing)
        return (
            f"{self.passing - len(self.failing):,} of {self.passing:,} ({self.share:.2%}), {hanging} hang; "
            f"modules: {len(self.modules)}"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `compare_modules` reads."""
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="by default all that are worth it")
    parser.add_argument("--keep", type=Path, help="a folder for logs, and for unpatched outcomes that are used again")
    parser.add_argument("--only", help="only tests with this in their names")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds without news that are a hang")


def compare_modules(python: str, args: argparse.Namespace) -> Comparison:
    """Run the modules that this interpreter has, with the patch and without, and print each as it comes."""
    folder = args.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    version, modules = _ask(python, args.modules or MODULES)
    comparison = Comparison(version)
    for module in modules:
        stored = folder / f"{version}-{module}.json"
        if args.only is None and stored.exists():
            plain = json.loads(stored.read_text())
        else:
            plain = run_module(python, module, False, folder / f"{version}-{module}-plain.log", args.only, args.idle)
            if args.only is None:
                stored.write_text(json.dumps(plain))
        began = time.monotonic()
        patched = run_module(python, module, True, folder / f"{version}-{module}-patched.log", args.only, args.idle)
        differences, count = compare(plain, patched)
        print(f"{module}: {count - len(differences)} of {count} in {time.monotonic() - began:.0f} s", flush=True)
        for line in differences:
            reason = DIFFERENCES.get(line.partition(":")[0])
            print(f"  {line}{f' ({reason})' if reason else ''}", flush=True)
        comparison.modules.append(module)
        comparison.passing += count
        comparison.failing += differences
    return comparison


def _ask(python: str, modules: Sequence[str]) -> tuple[str, list[str]]:
    """Return the interpreter's version, as in ``3.13``, and those of the test modules that it has."""
    code = (
        "import importlib.util, json, platform, sys; "
        "print(json.dumps(['.'.join(platform.python_version_tuple()[:2]), "
        "[name for name in sys.argv[1:] if importlib.util.find_spec('test.' + name)]]))"
    )
    said = subprocess.run([python, "-c", code, *modules], capture_output=True, text=True, check=True).stdout
    version, present = json.loads(said)
    return version, present


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="the interpreter, which has greenlet")
    add_arguments(parser)
    args = parser.parse_args()
    comparison = compare_modules(args.python, args)
    print(f"{comparison.version}: {comparison}; {len(comparison.unexplained)} without a reason")
    return 0 if comparison.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
