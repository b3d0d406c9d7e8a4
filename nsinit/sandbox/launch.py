"""Starting a sandbox: the launcher's half of the handshake, and a launcher that then only waits.

The supervisor has its own half of the same handshake (supervisor/spawner_client.py).
"""

import _socket
import os
import select

from nsinit.errors import KernelError, LaunchError
from nsinit.kernel import namespaces, process, signals
from nsinit.sandbox import report
from nsinit.sandbox.ids import IdMaps
from nsinit.sandbox.init import FROM_TERMINAL, exit_status
from nsinit.sandbox.stage import CLONED, clone_init, join_and_clone_init, release

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nsinit.sandbox.spec import SandboxSpec
    from nsinit.sandbox.terminal import Terminal


def start(spec: "SandboxSpec", receiver: "_socket.socket", sender_fd: int, foreground: bool) -> int:
    """Start `spec`; return the pid of its init, or 0 when it failed early (a FAILED record says why).

    The init is a child of the caller, which has no threads and has all signals blocked.

    Raises:
        LaunchError: the namespaces can't be made, or the ids can't be mapped.
    """
    maps = IdMaps(spec.uid_map, spec.gid_map) if spec.unshare & namespaces.NEWUSER else None
    if spec.join:
        pid = _start_joiner(spec, receiver, sender_fd, foreground)
    else:
        try:
            pid = clone_init(spec, sender_fd, foreground)
        except KernelError as error:
            raise report.start_error(error) from None
    if pid:
        if maps is not None:
            maps.write(pid)
        release(receiver)
    return pid


def _start_joiner(spec: "SandboxSpec", receiver: "_socket.socket", sender_fd: int, foreground: bool) -> int:
    if process.clone(0) == 0:
        join_and_clone_init(spec, sender_fd, foreground)
    receiver.setblocking(True)
    record = report.receive(receiver)
    receiver.setblocking(False)
    if record is not None and record.kind == report.FAILED:
        raise report.launch_error(record)
    return record.values[0] if record is not None and record.kind == CLONED else 0


def without_missing(spec: "SandboxSpec", warn: "Callable[[str], None]") -> None:
    """Leave out the optional namespace types that this kernel lacks, with one warning."""
    missing = [
        name
        for name, flag in namespaces.TYPES.items()
        if spec.unshare & spec.optional & flag and not os.path.exists(f"/proc/self/ns/{namespaces.FILES[name]}")
    ]
    for name in missing:
        spec.unshare &= ~namespaces.TYPES[name]
    if missing and os.path.exists("/proc/self/ns/pid"):
        warn(f"this kernel has no {', '.join(missing)} namespaces: running without")


class Launcher:
    """The waiting parent of one sandbox, in the namespaces of its caller.

    Passes signals and the terminal on, and ends with the sandbox's exit status.
    """

    def __init__(self, spec: "SandboxSpec", terminal: "Terminal", say: "Callable[[str], None]") -> None:
        self._spec = spec
        self._terminal = terminal
        self._say = say
        self._init = 0
        self._pidfd = -1
        self._status: int | None = None
        self._failure: LaunchError | None = None

    def run(self, on_started: "Callable[[], None] | None" = None) -> int:
        """Start the sandbox and wait for its end; all signals are blocked. Returns the exit status.

        Raises:
            LaunchError: it could not be started.
        """
        signal_fd = signals.open_signalfd(signals.ALL)
        receiver, sender = report.channel()
        foreground = self._terminal.may_lead()
        try:
            self._init = start(self._spec, receiver, sender.fileno(), foreground)
            sender.close()
            if self._init:
                self._pidfd = process.pidfd_open(self._init)
                self._terminal.given = foreground
            if on_started is not None:
                on_started()
            self._serve(signal_fd, receiver)
            self._drain(receiver)
        finally:
            self._terminal.take_back()
            receiver.close()
            os.close(signal_fd)
        if self._failure is not None:
            raise self._failure
        return exit_status(self._status) if self._status is not None else 125

    def _serve(self, signal_fd: int, receiver: "_socket.socket") -> None:
        poller = select.poll()
        poller.register(signal_fd, select.POLLIN)
        poller.register(receiver.fileno(), select.POLLIN)
        while self._init and self._status is None:
            for descriptor, _ in poller.poll():
                if descriptor == signal_fd:
                    for number, code in signals.parse_signalfd(os.read(signal_fd, 4096)):
                        self._on_signal(number, code)
                elif not self._drain(receiver):
                    poller.unregister(descriptor)

    def _on_signal(self, number: int, code: int) -> None:
        if number == signals.SIGCHLD:
            self._reap()
        elif number == signals.SIGCONT:
            self._resume()
        else:
            self._pass_on(number, FROM_TERMINAL if code == signals.SI_KERNEL else 0)

    def _pass_on(self, number: int, code: int) -> None:
        try:
            process.pidfd_send_signal(self._pidfd, number, code)
        except OSError:
            pass  # it has ended: SIGCHLD is on its way

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._init:
                self._status = status

    def _drain(self, receiver: "_socket.socket") -> bool:
        """Take all records there are; False at the end of the channel."""
        while True:
            try:
                record = report.receive(receiver)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                continue  # said once when the other side ended without having read all; what it wrote still comes
            except OSError:
                return False
            if record is None:
                return False
            self._on_record(record)

    def _on_record(self, record: report.Record) -> None:
        if record.kind == report.FAILED:
            self._failure = report.launch_error(record)
        elif record.kind == report.COMMAND:
            self._terminal.group = record.pid
            if self._spec.verbose:
                self._say(f"{os.fsdecode(self._spec.argv[0])} runs as process {record.pid}, its init as {self._init}")
        elif record.kind == report.STOPPED:
            if self._terminal.stop_with(record.values[0]):
                self._resume()
        elif record.kind == report.NOTE:
            self._say(report.note_text(record.values))

    def _resume(self) -> None:
        self._terminal.hand_over()
        self._pass_on(signals.SIGCONT, FROM_TERMINAL)
