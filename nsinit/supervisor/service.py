"""One service in the world: its state machine, and what the machine's actions do to processes, timers and logs.

The machine decides, this class acts. It never looks at the machine's state to decide anything itself.
"""

import os
from collections.abc import Awaitable, Callable
from errno import errorcode
from itertools import count
from random import Random

import structlog
import trio

from nsinit.config.model import ServiceConfig
from nsinit.errors import NsinitError
from nsinit.inspect.procfs import descendants
from nsinit.kernel import process, signals
from nsinit.sandbox.init import ADDRESSED
from nsinit.sandbox.launch import without_missing
from nsinit.supervisor import events as ev
from nsinit.supervisor.machine import ServiceMachine
from nsinit.supervisor.notify import NotifySocket
from nsinit.supervisor.output import Capture, Journal
from nsinit.supervisor.plan import sandbox_spec
from nsinit.supervisor.spawner_client import Sandboxed, Spawner

_MAX_EXTENSION_S = 24 * 3600.0
# Between two rounds of killing what has been killed already: it may take its time, but must not take ours.
_FIRST_ROUND_S, _LONGEST_ROUND_S = 0.01, 1.0


class Context:
    """What all services of a supervisor share.

    `isolated` is false with --no-unshare; `notify_directory` is then "" (abstract sockets). `dev_template` is where a
    minimal /dev is prepared, None where it isn't. `failed` is told of every exception in a service's task.
    """

    def __init__(self, spawner: Spawner, journal: Journal, nursery: trio.Nursery, isolated: bool, notify: str) -> None:
        self.spawner = spawner
        self.journal = journal
        self.nursery = nursery
        self.isolated = isolated
        self.dev_template: str | None = None
        self.notify_directory = notify
        self.null_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.failed: Callable[[Exception, Service | None], None] = _raise
        self.numbers = count()

    def use_dev(self, template: str | None) -> None:
        """Give services copies of this prepared /dev. Its mounts are read-only: nobody can change its devices' mode."""
        self.dev_template = template
        if template is not None:
            os.close(self.null_fd)
            self.null_fd = os.open(f"{template}/null", os.O_RDONLY | os.O_CLOEXEC)

    def start(self, service: "Service | None", task: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Start a task; an exception in it is the service's, and not the end of the supervisor."""

        async def run() -> None:
            try:
                await task(*arguments)
            except Exception as error:
                self.failed(error, service)

        self.nursery.start_soon(run, name=task)


def _raise(error: Exception, service: "Service | None") -> None:
    raise error


class Service:
    """One service. `post` hands an event to the machine through the manager.

    What the manager notes here: `been_up` since it was last asked to start; `returning`, how many verbs stop it only
    to start it again; `retired`, it is leaving the configuration; `broken`, a bug of ours has left it undefined.
    """

    def __init__(self, config: ServiceConfig, context: Context, post: Callable[["Service", ev.AnyEvent], None]) -> None:
        self.machine = ServiceMachine(config, Random())
        self.been_up = False
        self.returning = 0
        self.retired = False
        self.broken = False
        self._context = context
        self._post = post
        self._capture = Capture(config.name, context.journal)
        self._notify: NotifySocket | None = None
        self._notify_name = str(next(context.numbers))
        self._launched = config  # the configuration that the run was launched with
        self._sandboxed: Sandboxed | None = None
        self._kill_wanted = False
        self._timer: trio.CancelScope | None = None
        self._scope = trio.CancelScope()
        self.log = structlog.get_logger().bind(service=config.name)

    @property
    def name(self) -> str:
        """The service's name."""
        return self.machine.name

    @property
    def config(self) -> ServiceConfig:
        """The configuration that counts now."""
        return self.machine.config

    @property
    def down(self) -> bool:
        """Nothing of it runs, or nothing can be known of what does."""
        return self.broken or self.machine.at_rest

    async def run(self) -> None:
        """Read what the service writes, until `close`."""
        with self._scope:
            await self._capture.run()

    def close(self) -> None:
        """Forget the service, which is at rest."""
        self._scope.cancel()
        self.cancel_timer()
        self._capture.close()
        self._drop_notify()

    # Actions

    def spawn(self) -> None:
        """Launch it; the answer is an event."""
        self._kill_wanted = False
        self._launched = self.config
        self._context.start(self, self._launch)

    def send_signal(self, number: int, scope: str) -> None:
        """Have its init pass a signal on; without one of ours, or one that reaches all, send it ourselves."""
        init_pid = self._init_pid()
        if not init_pid:
            return
        self.log.info("service.signalled", signal=signals.signal_name(number), scope=scope)
        if self._launched.init and (scope != "all" or self._has_pid_namespace):
            _signal(init_pid, number, ADDRESSED[scope])
            return
        if scope == "group" and not self._launched.init:
            _signal_group(init_pid, number)  # it leads a session of its own, and is not reaped
            return
        others = descendants(init_pid) if scope == "all" else []
        for pid in [*([] if self._launched.init else [init_pid]), *others]:
            _signal(pid, number)

    def kill_all(self) -> None:
        """SIGKILL to everything in its sandbox, or to its launch."""
        self._kill_wanted = True
        init_pid = self._init_pid()
        if not init_pid:
            return
        self.log.warning("service.killed")
        if self._has_pid_namespace:
            _signal(init_pid, signals.SIGKILL)
        else:
            assert self._sandboxed is not None
            self._context.start(self, self._kill_tree, self._sandboxed)

    def start_timer(self, seconds: float, event: ev.AnyExpiry) -> None:
        """Post `event` in `seconds`."""
        self.cancel_timer()
        self._timer = trio.CancelScope()
        self._context.start(self, self._expire, self._timer, seconds, event)

    def cancel_timer(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _has_pid_namespace(self) -> bool:
        return self._context.isolated and "pid" in self._launched.sandbox.unshare

    def _init_pid(self) -> int:
        """The pid of its init, for as long as it is ours; 0 without one."""
        sandboxed = self._sandboxed
        return 0 if sandboxed is None or sandboxed.ended.is_set() else sandboxed.init_pid

    # Tasks

    async def _expire(self, scope: trio.CancelScope, seconds: float, event: ev.AnyExpiry) -> None:
        with scope:
            await trio.sleep(seconds)
            self._post(self, event)

    async def _launch(self) -> None:
        try:
            sandboxed = await self._start()
        except NsinitError as error:
            self._post(self, ev.SpawnFailed(str(error), error.exit_code))
            return
        except OSError as error:
            why = errorcode.get(error.errno or 0, str(error))
            self._post(self, ev.SpawnFailed(f"cannot launch {self.name}: {why}: {os.strerror(error.errno or 0)}"))
            return
        self._sandboxed = sandboxed
        if self._kill_wanted:
            self.kill_all()
        await sandboxed.executed()
        if sandboxed.pid and sandboxed.failure is None:
            self._post(self, ev.Spawned(sandboxed.init_pid, sandboxed.pid))
        await sandboxed.ended.wait()
        self._capture.drain()
        self._sandboxed = None
        self._drop_notify()
        self._report_end(sandboxed)

    async def _start(self) -> Sandboxed:
        path = self._open_notify()
        spec = sandbox_spec(self._launched, path, self._context.isolated, self._context.dev_template)
        without_missing(spec, lambda text: self.log.warning("service.degraded", reason=text))
        out, err = self._capture.write_fds
        return await self._context.spawner.start(spec, [(0, self._context.null_fd), (1, out), (2, err)])

    async def _kill_tree(self, sandboxed: Sandboxed) -> None:
        """Kill what no pid namespace ends with its init: until nobody is left who could fork, then the init.

        The init stays until then, because orphans become its children, and so can be found.
        """
        pause_s, seen = _FIRST_ROUND_S, set[int]()
        while not sandboxed.ended.is_set():
            living = {pid for pid in descendants(sandboxed.init_pid) if not _is_zombie(pid)}
            if not living:
                _signal(sandboxed.init_pid, signals.SIGKILL)
                return
            for pid in living:
                _signal(pid, signals.SIGKILL)
            if living <= seen:
                with trio.move_on_after(pause_s):
                    await sandboxed.ended.wait()
                pause_s = min(2 * pause_s, _LONGEST_ROUND_S)
            seen |= living
            await trio.lowlevel.checkpoint()

    def _report_end(self, sandboxed: Sandboxed) -> None:
        if sandboxed.failure is not None:
            self._post(self, ev.SpawnFailed(str(sandboxed.failure), sandboxed.failure.exit_code))
        elif not sandboxed.pid:
            self._post(self, ev.SpawnFailed("its init ended before the command was executed"))
        else:
            status = sandboxed.wait_status or 0
            signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
            self._post(self, ev.Exited(exit_code=code, signal=signal))

    # Readiness

    def _open_notify(self) -> str:
        self._drop_notify()
        if self._launched.readiness.method != "notify":
            return ""
        self._notify = NotifySocket(self._notify_name, self._context.notify_directory)
        self._context.start(self, self._listen, self._notify)
        return self._notify.path

    async def _listen(self, notify: NotifySocket) -> None:
        try:
            await notify.run(self._init_pid, self._notified)
        except trio.ClosedResourceError:
            pass  # the run it belonged to has ended

    def _notified(self, message: dict[str, str]) -> None:
        if message.get("READY") == "1":
            self._post(self, ev.Ready())
        extension = message.get("EXTEND_TIMEOUT_USEC", "")
        if extension.isascii() and extension.isdecimal():
            self._post(self, ev.ExtendReady(min(int(extension[:20]) / 1e6, _MAX_EXTENSION_S)))
        if status := message.get("STATUS"):
            self.log.info("service.status", text=status[:200])

    def _drop_notify(self) -> None:
        if self._notify is not None:
            self._notify.close()
            self._notify = None


def _signal(pid: int, number: int, code: int = 0) -> None:
    """Signal a process; one that has ended needs none."""
    try:
        pidfd = process.pidfd_open(pid)
    except OSError:
        return
    try:
        process.pidfd_send_signal(pidfd, number, code)
    except OSError:
        pass
    finally:
        os.close(pidfd)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except OSError:
        pass  # it has ended


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True
