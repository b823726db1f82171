"""The master: keeps so many workers running, each at its place, and does what signals ask for. Serves nobody itself.

It forks on its main greenlet, which runs `Master.run`; everything else in it only notes something and wakes that. What
it wants is stated anew each time round (`Master._fill`): at each place one worker of the present generation that is not
about to retire, and of the others those that have to serve until that one is ready. So a death, a reload, a retirement
and a change of the number are one thing.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from greenserve import monkey
from greenserve._bus.place import remove_folder
from greenserve._kinds import InheritedFd
from greenserve._originals import monotonic, os_waitpid, set_signal_handler
from greenserve._words import counted
from greenserve.binds import BindError
from greenserve.config import Config
from greenserve.core.greenthreads import spawn
from greenserve.core.hub import get_hub
from greenserve.core.waiters import WaitQueue
from greenserve.errors import GreenserveError
from greenserve.supervisor.balance import Shares
from greenserve.supervisor.child import WorkerProcess
from greenserve.supervisor.deaths import Deaths
from greenserve.supervisor.identity import Owner, PidFile, has_terminal, set_title
from greenserve.supervisor.listeners import ACTIVATED, Listeners, activated_addresses, take_handed_on
from greenserve.supervisor.notify import Notifier
from greenserve.supervisor.site import Site
from greenserve.supervisor.sticky import Exchange, check_settings
from greenserve.supervisor.upgrade import Start
from greenserve.supervisor.workers import State, Worker, describe_exit
from greenserve.wsgi.run import WSGIApp

__all__ = ["BootError", "Master"]

log = logging.getLogger("greenserve.supervisor")

# How often the master looks at its workers, in seconds, when nothing else happens.
_LOOK_INTERVAL = 1.0

# Who has looked so much later than that was stopped itself: its workers may have been, too, and get time to answer.
_LATE = 3.0

# A worker cuts its connections off by itself when graceful_timeout is over, and then has so long to end, in seconds.
_EXIT_GRACE = 5.0

# How long one has that was told to end at once, or to show where it hangs.
_ABORT_GRACE = 2.0

# What the name of a second master's PID file ends in. gunicorn's.
_SECOND = ".2"

_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGWINCH,
    signal.SIGCHLD,
)


class BootError(GreenserveError):
    """No worker could start. The message says why."""


class _Forked(Exception):
    """Raised in a new worker, out of all that the master was doing."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker


class Master:
    """The master process.

    Attributes:
        workers: All workers by their process numbers, those that leave among them.
        count: How many places there are for workers.
        generation: How many reloads there were.
        pid: This process.
        cfg: The settings, under gunicorn's name.
        log: Where hooks may log, under gunicorn's name.
        shares: How many connections each worker has.
        exchange: Where workers hand each other connections, if they do.
        bus: The folder for the workers' message bus, which is there once one of them uses it.
        in_worker: Called in each worker right after the fork, to close what is the master's.
        on_end: Called with why a worker has ended, in a word or two: ``died``, ``blocked``, what retired it, …
        figures: The fd of the figures that the next master takes over, or None.
    """

    def __init__(self, site: Site, start: Start) -> None:
        self.site = site
        self.workers: dict[int, Worker] = {}
        self.count = 0
        self.generation = 0
        self.pid = os.getpid()
        self.log = log
        self.in_worker: list[Callable[[], object]] = []
        self.on_end: list[Callable[[str], object]] = []
        self.figures: int | None = None
        self.app: WSGIApp | None = None
        self.exchange: Exchange | None = None
        self.bus = start.bus
        self.shares = Shares()
        self._age = 0
        self._wake = WaitQueue()
        self._signals: deque[int] = deque()
        self._deaths = Deaths()
        self._stopping = False
        self._was_announced = False
        self._is_starting = True  # or reloading: somebody is told when it is done
        self._looked_at = 0.0
        self._notified_at = 0.0
        self._new_master = 0
        self._start = start
        self._is_second = False  # there is another master, which has the PID file's name and the service manager's ear
        self._notifier = Notifier(os.environ)
        self._pidfile: PidFile | None = None
        self._opened: Listeners | None = None

    @property
    def cfg(self) -> Config:
        return self.site.config

    @property
    def listeners(self) -> Listeners:
        """The listening sockets."""
        assert self._opened is not None, "the master has not been set up"
        return self._opened

    @property
    def num_workers(self) -> int:
        """``count``, under gunicorn's name."""
        return self.count

    # Life -----------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Do all of it, and return the exit status. Returns in workers too, with theirs. May switch.

        Raises:
            GreenserveError: It could not start; in the master alone.
        """
        try:
            self._set_up()
            self._loop()
        except _Forked as forked:
            worker = forked.worker
        except BaseException:
            self._tear_down()
            raise
        else:
            self._tear_down()
            if self._deaths.error is not None:
                raise BootError(self._deaths.error)
            return 0
        return WorkerProcess(self, worker).run()

    def _set_up(self) -> None:
        config = self.cfg
        activated = activated_addresses(os.environ)
        handed_on = take_handed_on(os.environ)
        activated += [InheritedFd(fd) for fd in handed_on.pop(ACTIVATED, ())]
        if activated and config.is_set("bind"):
            log.warning("the service manager has opened the sockets: bind (%s) is not used", config.origin("bind"))
        Owner(config).give_logs(config)  # whether there are such a user and group is told first
        check_settings(config)
        self._opened = Listeners(config, config.workers, activated, handed_on)
        self._is_second = self._start.lives_with_old_master()
        if config.pidfile is not None:
            self._pidfile = PidFile(config.pidfile + _SECOND if self._is_second else config.pidfile)
        set_title(config, "master")
        for function in self.site.on_master:
            function(self)
        self.site.hooks.call("on_starting", self)
        if config.preload:
            if config.patch:
                monkey.patch_all()
            self.app = self.site.load(config)
        hub = get_hub()

        def receive(number: int, frame: FrameType | None) -> None:
            self._signals.append(number)
            hub.call_soon(self._wake.wake_all)

        for number in _SIGNALS:
            set_signal_handler(number, receive)
        self._resize(config.workers, config)

    def _tear_down(self) -> None:
        for worker in self.workers.values():  # after a failure of our own: nobody is to be left behind
            worker.send(signal.SIGTERM)
        if self._opened is not None:
            self.listeners.close(unlink=not self._has_other_master())
        if self.exchange is not None:
            self.exchange.close()
        if not self._has_other_master():
            remove_folder(self.bus)
        if self._pidfile is not None:
            self._pidfile.remove()
        self.site.hooks.call_safely("on_exit", self)

    def _has_other_master(self) -> bool:
        return bool(self._new_master) or self._start.lives_with_old_master()

    def _loop(self) -> None:
        while True:
            while self._signals:
                self._act(self._signals.popleft())
            self._reap()
            now = monotonic()
            self._look_after(now)
            self._fill(now)
            if self._stopping and not self.workers:
                return
            self._tell_progress(now)
            self._wake.wait(self._pause(now))

    def _pause(self, now: float) -> float:
        """Return after how many seconds there is something to do, whatever happens."""
        deadlines = [worker.kill_at for worker in self.workers.values()]
        deadlines += self._deaths.next_starts(now)
        return max(0.0, min([_LOOK_INTERVAL, *(deadline - now for deadline in deadlines)]))

    def _tell_progress(self, now: float) -> None:
        if self._notifier.watchdog is not None and now - self._notified_at >= self._notifier.watchdog - _LOOK_INTERVAL:
            self._notified_at = now
            self._notifier.alive()
        if self._is_second and not self._start.lives_with_old_master():
            self._is_second = False
            if self._pidfile is not None:
                try:
                    self._pidfile.rename(self._pidfile.path.removesuffix(_SECOND))
                except OSError as exc:
                    log.error("the PID file stays %s: %s", self._pidfile.path, exc.strerror)
            log.info("this is the only master now")
            self._notifier.ready(counted(self.count, "worker"))
        if self._stopping or not self._is_starting or not self._is_complete():
            return
        self._is_starting = False
        self._notifier.ready(counted(self.count, "worker"))
        if not self._was_announced:
            self._was_announced = True
            self.site.hooks.call_safely("when_ready", self)
            self.site.announce(self.cfg, str(self.listeners), self.count)
        else:
            log.info("the reload is done: %s", counted(self.count, "new worker serves", "new workers serve"))

    def _is_complete(self) -> bool:
        ready = {worker.number for worker in self.workers.values() if self._is_fresh(worker) and is_ready(worker)}
        return len(ready) >= self.count

    # Signals --------------------------------------------------------------------------------------------------------

    def _act(self, number: int) -> None:
        if number == signal.SIGTERM:
            self.stop()
        elif number == signal.SIGINT:
            self.stop(at_once=self._stopping)
        elif number == signal.SIGQUIT:
            self.stop(at_once=True)
        elif self._stopping:
            return
        elif number == signal.SIGHUP:
            self.reload()
        elif number == signal.SIGUSR1:
            self._reopen_logs()
        elif number == signal.SIGUSR2:
            self._upgrade()
        elif number == signal.SIGTTIN:
            self._resize(self.count + 1, self.cfg)
        elif number == signal.SIGTTOU:
            self._resize(max(min(1, self.count), self.count - 1), self.cfg)  # the last one stays; WINCH has left none
        elif number == signal.SIGWINCH and not has_terminal():
            # A terminal sends it whenever its window changes.
            log.info("stopping the workers; HUP starts them again")
            self._resize(0, self.cfg)

    def stop(self, at_once: bool = False) -> None:
        """Begin to stop: when the requests that run have been answered, or ``at_once``."""
        if not self._stopping:
            self._stopping = True
            if self._deaths.error is None:
                graceful = f"within {self.cfg.graceful_timeout:g} s; Ctrl-C or QUIT stops at once"
                log.info("stopping %s", "at once" if at_once else graceful)
            if self._new_master:
                self._notifier.main_process(self._new_master)
            else:
                self._notifier.stopping()
            if self._opened is not None:
                # The workers have their own fds, and take what still waits there; nobody is to wait there after them.
                self.listeners.close(unlink=not self._has_other_master())
            self.count = 0
            self._deaths.forget_failures()
        now = monotonic()
        for worker in self.workers.values():
            if at_once:
                worker.stop(signal.SIGQUIT, now + _ABORT_GRACE)
            elif worker.state is not State.LEAVING:
                self._retire(worker, now)

    def reload(self) -> None:
        """Read the settings again, and replace all workers, each one once its replacement is ready."""
        log.info("reloading")
        self._notifier.reloading()
        self._is_starting = True
        self._reopen_logs()
        try:
            config, hooks = self.site.reread()
            Owner(config)
            check_settings(config)
            self._rebind(config)
        except (GreenserveError, OSError) as exc:
            log.error("the settings stay as they were: %s", exc)
        else:
            self.site.config, self.site.hooks = config, hooks
        self.generation += 1
        self._deaths.forget_failures()
        self.site.hooks.call_safely("on_reload", self)
        self._resize(self.cfg.workers, self.cfg)

    def _rebind(self, config: Config) -> None:
        if self.listeners.fits(config):
            return
        self._opened = self.listeners.renewed(config, config.workers)
        log.info("the sockets are now those at %s", self.listeners)

    def _resize(self, count: int, config: Config) -> None:
        before: int | None = self.count if self._age else None
        try:
            self.listeners.resize(max(count, 1))
            if config.sticky == "cookie":
                if self.exchange is None:
                    self.exchange = Exchange(Owner(config))
                self.exchange.resize(count)
        except (BindError, OSError) as exc:
            if not self._age:
                raise
            log.error("there are as many workers as before: %s", exc)
            return
        self.count = count
        if count != before:
            self.site.hooks.call_safely("nworkers_changed", self, count, before)

    def _reopen_logs(self) -> None:
        try:
            Owner(self.cfg).give_logs(self.cfg)  # first, or the new files would be root's
        except OSError as exc:
            log.error("can't open the logs again: %s", exc)
        self.site.logs.reopen()
        for worker in self.workers.values():
            if worker.state is not State.BOOTING:
                worker.send(signal.SIGUSR1)

    def _upgrade(self) -> None:
        if self._has_other_master():
            log.warning("there is another master beside this one already: no new one is started")
            return
        self.site.hooks.call_safely("pre_exec", self)
        sockets = self.listeners.handed_on()
        try:
            pid = self._fork()
        except OSError as exc:
            log.error("can't start a new master: %s", exc.strerror)
            return
        if pid == 0:
            status = 127
            with suppress(BaseException):
                for number in _SIGNALS:
                    set_signal_handler(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                try:
                    self._start.execute(sockets, self.figures)
                except OSError as exc:
                    log.error("can't start a new master: %s", exc)
                    self.site.logs.flush()
            os._exit(status)
        self._new_master = pid
        log.info("started a new master, process %d; TERM to this one leaves the service to it", pid)

    # Workers --------------------------------------------------------------------------------------------------------

    def _is_fresh(self, worker: Worker) -> bool:
        return worker.generation == self.generation and worker.retiring is None and worker.state is not State.LEAVING

    def _fill(self, now: float) -> None:
        """Fork what is missing, and let go of what has been replaced."""
        places: dict[int, list[Worker]] = {number: [] for number in range(self.count)}
        for worker in list(self.workers.values()):
            if worker.state is State.LEAVING:
                continue
            if worker.number in places:
                places[worker.number].append(worker)
            else:
                self._retire(worker, now)
        for number, here in places.items():
            fresh = [worker for worker in here if self._is_fresh(worker)]
            serves = any(is_ready(worker) for worker in fresh)
            for worker in here:
                if worker not in fresh and (serves or not is_ready(worker)):
                    self._retire(worker, now)
            if not fresh and self._deaths.may_start(number, now):
                self._start_worker(number)

    def _retire(self, worker: Worker, now: float) -> None:
        worker.stop(signal.SIGTERM, now + self.cfg.graceful_timeout + _EXIT_GRACE)

    def _start_worker(self, number: int) -> None:
        try:
            worker = Worker(number, self._age + 1, self.generation)
        except OSError as exc:
            self._put_off(number, exc.strerror)
            return
        if not self._was_announced:
            self.site.hooks.call("pre_fork", self, worker)
        elif not self.site.hooks.call_safely("pre_fork", self, worker):
            worker.abandon()  # those that serve go on all the same
            self._put_off(number, "the hook pre_fork failed")
            return
        try:
            worker.pid = self._fork()
        except OSError as exc:
            worker.abandon()
            self._put_off(number, exc.strerror)
            return
        self._age += 1
        if worker.pid == 0:
            raise _Forked(worker)
        worker.other_end.close()
        self.workers[worker.pid] = worker
        spawn(self._listen_to, worker)
        log.info("started %s", worker)

    def _put_off(self, number: int, why: str | None) -> None:
        pause = self._deaths.note_failed_fork(number, monotonic())
        log.error("can't fork a worker: %s; trying again in %g s", why, pause)

    def _fork(self) -> int:
        # In the child they stay blocked until it has handlers of its own: in the master's they would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return pid

    def _listen_to(self, worker: Worker) -> None:
        for what, text in worker.messages():
            if what == "ready" and worker.state is State.BOOTING:
                worker.state = State.READY
                worker.ready_at = monotonic()
                self._deaths.note_ready()
                log.info("%s is ready after %.1f s", worker, worker.ready_at - worker.started)
            elif what == "failed":
                worker.failure = text
            elif what == "retire" and worker.retiring is None:
                worker.retiring = text
                log.info("replacing %s: %s", worker, text)
            elif what == "leaving" and worker.state is State.READY:
                now = monotonic()
                if text:
                    self._deaths.note_exit(worker, text, now)
                worker.state = State.LEAVING
                worker.kill_at = now + self.cfg.graceful_timeout + _EXIT_GRACE
            elif what == "changed":
                log.info("%s has changed", text)
                self._signals.append(signal.SIGHUP)
            self._wake.wake_all()

    def _look_after(self, now: float) -> None:
        is_late = now - self._looked_at > _LOOK_INTERVAL + _LATE
        self._looked_at = now
        timeout = self.cfg.timeout
        for worker in self.workers.values():
            if now >= worker.kill_at:
                log.error("%s does not end: killing it", worker)
                worker.kill()
            elif timeout is not None and is_ready(worker) and not is_late and worker.silent_for(now) > timeout:
                log.error(
                    "%s has not answered for %.1f s, and is replaced: its application blocks it, or it was stopped",
                    worker,
                    worker.silent_for(now),
                )
                worker.retiring = "blocked"
                worker.stop(signal.SIGABRT, now + _ABORT_GRACE)

    # Ends -----------------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        # As process 1 of a container everybody who lost a parent is our child. Otherwise only our own are asked for:
        # a hook may have started others, whose end is its own to see.
        while self.pid == 1:
            try:
                pid, status = os_waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            self._on_end(pid, status)
        for pid in [*self.workers, *([self._new_master] if self._new_master else [])]:
            try:
                ended, status = os_waitpid(pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has reaped it
                ended, status = pid, 0
            if ended:
                self._on_end(pid, status)

    def _on_end(self, pid: int, status: int) -> None:
        if pid == self._new_master:
            self._new_master = 0
            if not self._stopping:
                level = logging.ERROR if status else logging.INFO  # it was told to go
                log.log(level, "the new master, process %d, %s; this one serves on", pid, describe_exit(status))
        worker = self.workers.pop(pid, None)
        if worker is None:
            return
        now = monotonic()
        if not any(other.number == worker.number for other in self.workers.values()):
            self.shares.withdraw(worker.number)
        why = self._deaths.note(worker, status, now, has_others=bool(self.workers))
        for function in self.on_end:
            function(why)
        if self._deaths.error is not None and not self._stopping:
            self.stop()
        worker.forget()
        self.site.hooks.call_safely("child_exit", self, worker)


def is_ready(worker: Worker) -> bool:
    """Whether a worker accepts connections."""
    return worker.state is State.READY
