"""nsinit up: checks everything, opens what only the host can open, and starts the supervisor in its namespaces."""

import os
import sys

from nsinit.config import load_project
from nsinit.control.runtime import Claim, claim
from nsinit.errors import NsinitError, OperationFailed
from nsinit.kernel import namespaces, signals
from nsinit.sandbox.launch import Launcher, without_missing
from nsinit.sandbox.main import say
from nsinit.sandbox.spec import SandboxSpec
from nsinit.sandbox.terminal import Terminal

_OVERFLOW_UID = 65534
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
        plan = _Plan(project.directory, claimed, no_unshare, log_format or "", project.sandbox.hostname)
        if detach:
            return _start_in_background(plan)
        if no_unshare:
            plan.become_supervisor()
        return plan.launch(None)
    finally:
        signals.set_blocked(blocked)


class _Plan:
    """One start of a supervisor."""

    def __init__(self, directory: str, claimed: Claim, no_unshare: bool, log_format: str, hostname: str) -> None:
        self.claimed = claimed
        self.no_unshare = no_unshare
        self._directory = directory
        self._format = log_format
        self._hostname = hostname

    def _arguments(self, ready: int | None) -> list[str]:
        owners = {0, os.geteuid()} if self.no_unshare else {0}
        if not self.no_unshare and os.geteuid() != 0:
            # The host's root is not in our id map, and no more is anybody else; but nobody else can open the socket.
            owners.add(_OVERFLOW_UID)
        options = {
            "directory": self._directory,
            "name": self.claimed.name,
            "listener": self.claimed.listener.fileno(),
            "ready": "" if ready is None else ready,
            "private": "" if self.no_unshare else f"{self.claimed.path}/notify",
            "isolated": int(not self.no_unshare),
            "format": self._format,
            "owners": ",".join(map(str, sorted(owners))),
            "runtime": self.claimed.path if self.no_unshare else "",
        }
        return [sys.executable, "-I", _SUPERVISE, *(f"{key}={value}" for key, value in options.items())]

    def launch(self, ready: int | None) -> int:
        """Start the supervisor as PID 1 of new namespaces and wait for its end; return its exit status."""
        spec = SandboxSpec([os.fsencode(word) for word in self._arguments(ready)])
        spec.env = dict(os.environb)
        spec.unshare = spec.optional = namespaces.ALL
        without_missing(spec, say)
        spec.hostname = self._hostname
        spec.proc = True
        spec.init = False
        spec.tmpfs = [(self.claimed.path, "mode=700")]
        spec.blocked = sorted(signals.ALL)
        kept = [self.claimed.listener.fileno(), self.claimed.lock_fd, *([] if ready is None else [ready])]
        spec.fds = [(descriptor, descriptor) for descriptor in kept]

        def started() -> None:
            if ready is not None:
                os.close(ready)

        try:
            return Launcher(spec, Terminal(), say).run(started)
        finally:
            self.claimed.release()

    def become_supervisor(self, ready: int | None = None) -> None:
        """Replace this process by the supervisor, which then cleans up after itself."""
        for descriptor in (self.claimed.listener.fileno(), self.claimed.lock_fd, *([] if ready is None else [ready])):
            os.set_inheritable(descriptor, True)
        arguments = self._arguments(ready)
        os.execve(arguments[0], arguments, dict(os.environb))


def _start_in_background(plan: _Plan) -> int:
    ready, report = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        status = 125
        try:
            os.close(ready)
            status = _run_in_background(plan, report)
        finally:
            os._exit(status)
    os.close(report)
    plan.claimed.listener.close()
    os.close(plan.claimed.lock_fd)
    return _await_report(ready)


def _run_in_background(plan: _Plan, report: int) -> int:
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    plan.claimed.announce(os.getpid())
    try:
        if plan.no_unshare:
            plan.become_supervisor(report)
        return plan.launch(report)
    except NsinitError as error:
        os.write(report, f"{error.exit_code} {error}".encode())
        return error.exit_code


def _await_report(ready: int) -> int:
    content = b""
    with open(ready, "rb") as pipe:
        content = pipe.read()
    code, _, message = content.decode("utf-8", "replace").partition(" ")
    if code == "0":
        return 0
    if not code.isdecimal():
        raise OperationFailed("the supervisor ended before its services were up: run `nsinit up` without --detach")
    error = OperationFailed(message)
    error.exit_code = int(code)
    raise error
