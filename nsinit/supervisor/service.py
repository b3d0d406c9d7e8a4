"""One service in the world: its state machine, and what the machine's actions do to processes, timers and logs.

The machine decides, this class acts. It never looks at the machine's state to decide anything itself.
"""

import os
from collections.abc import Callable
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


class Context:
    """What all services of a supervisor share.

    `isolated` is false with --no-unshare; `notify_directory` is then "" (abstract sockets). `dev_template` is where a
    minimal /dev is prepared, None where it isn't.
    """

    def __init__(self, spawner: Spawner, journal: Journal, nursery: trio.Nursery, isolated: bool, notify: str) -> None:
        self.spawner = spawner
        self.journal = journal
        self.nursery = nursery
        self.isolated = isolated
        self.dev_template: str | None = None
        self.notify_directory = notify
        self.null_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


class Service:
    """One service. `post` hands an event to the machine through the manager."""

    def __init__(self, config: ServiceConfig, context: Context, post: Callable[["Service", ev.AnyEvent], None]) -> None:
        self.machine = ServiceMachine(config, Random())
        self.been_up = False
        self._context = context
        self._post = post
        self._capture = Capture(config.name, context.journal)
        self._notify: NotifySocket | None = None
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

    async def run(self) -> None:
        """Read what the service writes, until `close`."""
        with self._scope:
            await self._capture.run()

    def close(self) -> None:
        """Forget the service, which is at rest."""
        self._scope.cancel()
        self._cancel_timer()
        self._capture.close()
        self._drop_notify()

    # Actions

    def spawn(self) -> None:
        """Launch it; the answer is an event."""
        self._kill_wanted = False
        self._context.nursery.start_soon(self._launch)

    def send_signal(self, number: int, scope: str) -> None:
        """Have its init pass a signal on (or, without one of ours, send it to the command)."""
        sandboxed = self._sandboxed
        if sandboxed is None or not sandboxed.init_pid or sandboxed.ended.is_set():
            return
        self.log.info("service.signalled", signal=signals.signal_name(number), scope=scope)
        if self.config.init:
            self._signal(sandboxed.init_pid, number, ADDRESSED[scope])
            return
        targets = [sandboxed.init_pid, *(descendants(sandboxed.init_pid) if scope == "all" else [])]
        for pid in targets:
            self._signal(pid, number, 0)

    def kill_all(self) -> None:
        """SIGKILL to everything in its sandbox, or to its launch."""
        self._kill_wanted = True
        sandboxed = self._sandboxed
        if sandboxed is None or not sandboxed.init_pid or sandboxed.ended.is_set():
            return
        self.log.warning("service.killed")
        if not self._context.isolated or "pid" not in self.config.sandbox.unshare:
            # No pid namespace ends with its init: kill until nobody is left who could fork.
            while living := [pid for pid in descendants(sandboxed.init_pid) if self._signal(pid, signals.SIGKILL, 0)]:
                if all(_is_zombie(pid) for pid in living):
                    break
        self._signal(sandboxed.init_pid, signals.SIGKILL, 0)

    def start_timer(self, seconds: float, event: ev.AnyExpiry) -> None:
        """Post `event` in `seconds`."""
        self._cancel_timer()
        self._timer = trio.CancelScope()
        self._context.nursery.start_soon(self._expire, self._timer, seconds, event)

    def cancel_timer(self) -> None:
        """Forget the timer."""
        self._cancel_timer()

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
            self._post(self, ev.SpawnFailed(f"cannot launch: {os.strerror(error.errno or 0)}"))
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
        spec = sandbox_spec(self.config, path, self._context.isolated, self._context.dev_template)
        without_missing(spec, lambda text: self.log.warning("service.degraded", reason=text))
        out, err = self._capture.write_fds
        return await self._context.spawner.start(spec, [(0, self._context.null_fd), (1, out), (2, err)])

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

    def _signal(self, pid: int, number: int, code: int) -> bool:
        try:
            pidfd = process.pidfd_open(pid)
        except OSError:
            return False
        try:
            process.pidfd_send_signal(pidfd, number, code)
        except OSError:
            return False
        finally:
            os.close(pidfd)
        return True

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Readiness

    def _open_notify(self) -> str:
        self._drop_notify()
        if self.config.readiness.method != "notify":
            return ""
        self._notify = NotifySocket(self.name, self._context.notify_directory)
        self._context.nursery.start_soon(self._listen, self._notify)
        return self._notify.path

    async def _listen(self, notify: NotifySocket) -> None:
        try:
            await notify.run(lambda: self._sandboxed.init_pid if self._sandboxed else None, self._notified)
        except trio.ClosedResourceError:
            pass  # the run it belonged to has ended

    def _notified(self, message: dict[str, str]) -> None:
        if message.get("READY") == "1":
            self._post(self, ev.Ready())
        extension = message.get("EXTEND_TIMEOUT_USEC", "")
        if extension.isascii() and extension.isdecimal():
            self._post(self, ev.ExtendReady(min(int(extension) / 1e6, _MAX_EXTENSION_S)))
        if status := message.get("STATUS"):
            self.log.info("service.status", text=status[:200])

    def _drop_notify(self) -> None:
        if self._notify is not None:
            self._notify.close()
            self._notify = None


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True
