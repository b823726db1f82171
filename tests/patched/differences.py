"""Tests of CPython's that pass unpatched and not under the patch, each with the reason. Data alone."""

from __future__ import annotations

_ONE_NATIVE_THREAD = "green threads share one native thread, and its number"
_NOT_PREEMPTED = "a green thread that never waits is not interrupted to let another one run"
_PYTHON_TYPE = "a type written in Python can be instantiated and derived from, and checks its arguments differently"
_STATES = "there is no thread state of the interpreter's for each green thread"
_STAND_IN = "the stand-in of a thread that threading did not start goes with its thread, as it does since Python 3.13"
_LOCALS = "a thread-local in a circle with its own value stays as long as its thread"

_IMPORT_LOCK = "fork waits for another OS thread that holds the import lock, and all green threads are one OS thread"
_NONBLOCKING = "a blocking green socket's fd is non-blocking for the system"
_LOOKED_UP = "a wrong address is noticed in another order, with another message or reference"
_TRACED = (
    "our locks are written in Python, and a tracer that leaves nothing out sees them, as those of the import system"
)
_SENT = "time.sleep is a function written in Python, and XML-RPC sends the attributes of one as a struct"
_TRACE_GOES = "a trace function stays until the next one is set, and may set another one as it goes"
_NO_SYSCALL = "setblocking() of a green socket does not ask the system"
_C_BUFFER = "buffered files in C tell threads apart by their OS thread, and refuse what looks like a reentrant call"
_SQLITE = "sqlite3 checks in C that it is used in one OS thread, which all green threads share"

_SOCKET = "test.test_socket"
_IO = "test.test_io"
_SQL = "test.test_sqlite3.test_dbapi.ThreadTests"
_THREADS = "test.test_threading.ThreadTests"

# Test id: why it can't pass, or need not.
DIFFERENCES: dict[str, str] = {
    "test.test_fork1.ForkTest.test_threaded_import_lock_fork": _IMPORT_LOCK,
    f"{_IO}.CBufferedRandomTest.test_slow_close_from_thread": _C_BUFFER,
    f"{_IO}.CBufferedWriterTest.test_slow_close_from_thread": _C_BUFFER,
    "test.test_multiprocessing_fork.test_manager.WithManagerTestRemoteManager.test_remote": _SENT,
    "test.test_multiprocessing_fork.test_processes.WithProcessesTestFinalize.test_thread_safety": _NOT_PREEMPTED,
    "test.test_multiprocessing_forkserver.test_manager.WithManagerTestRemoteManager.test_remote": _SENT,
    "test.test_multiprocessing_forkserver.test_processes.WithProcessesTestFinalize.test_thread_safety": _NOT_PREEMPTED,
    "test.test_multiprocessing_spawn.test_manager.WithManagerTestRemoteManager.test_remote": _SENT,
    "test.test_multiprocessing_spawn.test_processes.WithProcessesTestFinalize.test_thread_safety": _NOT_PREEMPTED,
    f"{_SOCKET}.GeneralModuleTests.testRefCountGetNameInfo": _LOOKED_UP,
    f"{_SOCKET}.GeneralModuleTests.testSendtoErrors": _LOOKED_UP,
    f"{_SOCKET}.NonBlockingTCPTests.testSetBlocking": _NONBLOCKING,
    f"{_SOCKET}.NonBlockingTCPTests.testSetBlocking_overflow": _NONBLOCKING,
    f"{_SOCKET}.NonblockConstantTest.test_SOCK_NONBLOCK": _NONBLOCKING,
    f"{_SOCKET}.TestExceptions.test_setblocking_invalidfd": _NO_SYSCALL,
    f"{_SQL}.test_check_connection_thread": _SQLITE,
    f"{_SQL}.test_check_cursor_thread": _SQLITE,
    "test.test_bdb.StateTestCase.test_skip": _TRACED,
    "test.test_select.SelectTestCase.test_disallow_instantiation": _PYTHON_TYPE,
    "test.test_threading.InterruptMainTests.test_can_interrupt_tight_loops": _NOT_PREEMPTED,
    "test.test_sys.SysModuleTest.test_current_exceptions": _STATES,
    "test.test_sys.SysModuleTest.test_current_frames": _STATES,
    "test.test_sys_settrace.TestEdgeCases.test_reentrancy": _TRACE_GOES,
    "test.test_threading_local.ThreadLocalTest.test_cycle_collection": _LOCALS,
    "test.test_trace.TestCoverage.test_coverage_ignore": _TRACED,
    f"{_THREADS}.test_PyThreadState_SetAsyncExc": _STATES,
    f"{_THREADS}.test_disallow_instantiation": _PYTHON_TYPE,
    f"{_THREADS}.test_foreign_thread": _STAND_IN,
    f"{_THREADS}.test_ident_of_no_threading_threads": _STAND_IN,
    f"{_THREADS}.test_various_ops": _ONE_NATIVE_THREAD,
    f"{_THREADS}.test_various_ops_large_stack": _ONE_NATIVE_THREAD,
    f"{_THREADS}.test_various_ops_small_stack": _ONE_NATIVE_THREAD,
}
