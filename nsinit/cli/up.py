"""nsinit up: checks everything, opens what only the host can open, and starts the supervisor in its namespaces."""

import _socket
import os
import sys

from nsinit.config import Project, load_project
from nsinit.control.runtime import Claim, claim, hidden_from_services
from nsinit.errors import NsinitError, OperationFailed
from nsinit.kernel import namespaces, signals
from nsinit.sandbox.launch import Launcher, without_missing
from nsinit.sandbox.main import say
from nsinit.sandbox.spec import SandboxSpec
from nsinit.sandbox.terminal import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_OVERFLOW_UID = 65534
_MAX_REPORT = 1 << 18
_SUPERVISE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "supervise.py")


def up(*, directory: str, name: str | None, detach: bool, no_unshare: bool, log_format: str | None) -> int:
    """Run the supervisor of `directory`; return its exit status, or with `detach` 0 as soon as all services are up.

    Raises:
        InvalidConfig: a service file is wrong; nothing was started.
        OperationFailed: one is running already, or (with `detach`) a service did not come up.
        LaunchError: this machine does not allow the namespaces.
    """
    blocked = signals.block_all()
    try:
        project = load_project(directory, os.environ)
        claimed = claim(name or project.name, project.directory)
        plan = _Plan(project, claimed, no_unshare, log_format or "")
        return _start_in_background(plan, blocked) if detach else plan.run(None)
    finally:
        signals.set_blocked(blocked)


class _Plan:
    """One start of a supervisor."""

    def __init__(self, project: Project, claimed: Claim, no_unshare: bool, log_format: str) -> None:
        self.claimed = claimed
        self._no_unshare = no_unshare
        self._directory = project.directory
        self._format = log_format
        self._hostname = project.sandbox.hostname
        sandboxes = [service.sandbox for service in project.services.values()]
        self._needed = [project.directory, *(sandbox.rootfs for sandbox in sandboxes if sandbox.rootfs)]
        self._needed += [bind.source for sandbox in sandboxes for bind in sandbox.binds]

    def _arguments(self, ready: int | None) -> list[str]:
        owners = {0, os.geteuid()} if self._no_unshare else {0}
        if not self._no_unshare and os.geteuid() != 0:
            # The host's root is not in our id map, and no more is anybody else; but nobody else can open the socket.
            owners.add(_OVERFLOW_UID)
        options = {
            "directory": self._directory,
            "name": self.claimed.name,
            "listener": self.claimed.listener.fileno(),
            "ready": "" if ready is None else ready,
            "private": "" if self._no_unshare else self.claimed.path,
            "isolated": int(not self._no_unshare),
            "format": self._format,
            "owners": ",".join(map(str, sorted(owners))),
            "runtime": self.claimed.path if self._no_unshare else "",
        }
        return [sys.executable, "-I", _SUPERVISE, *(f"{key}={value}" for key, value in options.items())]

    def run(self, ready: int | None) -> int:
        """Become the supervisor, or start it and wait for its end; return its exit status.

        The name is given back in any case: by the supervisor that we have become, else here.
        """
        try:
            if self._no_unshare:
                self._become_supervisor(ready)
            return self._launch(ready)
        finally:
            self.claimed.release()

    def _launch(self, ready: int | None) -> int:
        spec = SandboxSpec([os.fsencode(word) for word in self._arguments(ready)])
        spec.env = dict(os.environb)
        spec.unshare = spec.optional = namespaces.ALL
        without_missing(spec, say)
        spec.hostname = self._hostname
        spec.proc = True
        spec.init = False
        spec.tmpfs = [(path, "mode=711") for path in hidden_from_services(self.claimed.path, self._needed)]
        # Services may own this file, and get hold of it (/proc/self/exe, CVE-2019-5736): not by this way to change it.
        interpreter = os.path.realpath(sys.executable)
        spec.binds = [(interpreter, interpreter, True)]
        spec.blocked = sorted(signals.ALL)
        kept = [self.claimed.listener.fileno(), self.claimed.lock_fd, *([] if ready is None else [ready])]
        spec.fds = [(descriptor, descriptor) for descriptor in kept]
        status = Launcher(spec, Terminal(), say).run()
        if status > 128:
            killer = signals.signal_name(status - 128)
            say(f"the supervisor was killed by {killer}, and its services with it: start it again with `nsinit up`")
        return status

    def _become_supervisor(self, ready: int | None) -> None:
        for descriptor in (self.claimed.listener.fileno(), self.claimed.lock_fd, *([] if ready is None else [ready])):
            os.set_inheritable(descriptor, True)
        arguments = self._arguments(ready)
        os.execve(arguments[0], arguments, dict(os.environb))


def _start_in_background(plan: _Plan, blocked: list[int]) -> int:
    """Start the supervisor in a process of its own; return when all services are up.

    One that reports a failure has been told to stop, and is waited for: nothing of it is left when we say so.
    """
    try:
        # One record is one report, the end is the end of all who could report: the launcher and the supervisor.
        ready, report = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        pid = os.fork()
    except OSError:
        plan.claimed.release()
        raise
    if pid == 0:
        ready.close()
        _run_in_background(plan, report)
    report.close()
    plan.claimed.listener.close()
    os.close(plan.claimed.lock_fd)
    signals.set_blocked(blocked)  # whoever has no patience may interrupt us
    try:
        return _await_report(ready)
    except KeyboardInterrupt:
        os.kill(pid, signals.SIGTERM)
        _await_end(pid)
        raise
    except OperationFailed:
        _await_end(pid)
        raise


def _run_in_background(plan: _Plan, report: "_socket.socket") -> "NoReturn":
    status = 125
    try:
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        plan.claimed.announce(os.getpid())
        status = plan.run(report.fileno())
    except NsinitError as error:
        status = error.exit_code
        report.send(f"{status} {error}".encode())
    except Exception as error:
        report.send(f"{status} a bug in nsinit: {type(error).__name__}: {error}: please report it".encode())
    finally:
        os._exit(status)


def _await_report(ready: "_socket.socket") -> int:
    content = ready.recv(_MAX_REPORT)
    ready.close()
    code, _, message = content.decode("utf-8", "replace").partition(" ")
    if code == "0":
        return 0
    if not code.isdecimal():
        raise OperationFailed("the supervisor ended before its services were up: run `nsinit up` without --detach")
    error = OperationFailed(message)
    error.exit_code = int(code)
    raise error


def _await_end(pid: int) -> None:
    """Wait for the background process, which has been told to end; a further Ctrl-C hastens that."""
    while True:
        try:
            os.waitpid(pid, 0)
            return
        except KeyboardInterrupt:
            os.kill(pid, signals.SIGTERM)
