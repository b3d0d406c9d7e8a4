"""The processes between a launcher and a command.

    launcher -- stage one -- init -- command

Stage one unshares the namespaces and waits for its id map; a process can't enter a new pid namespace itself, so it
forks the init and ends: the init then belongs to the launcher (a child subreaper or PID 1), and is PID 1 inside.

The parent-death signal is set by the init only after stage one was reaped: set earlier, stage one's own end would
trigger it. That the launcher still lives is checked afterwards, by sending it a record.

Source: unshare(2), pid_namespaces(7), time_namespaces(7), PR_SET_PDEATHSIG(2const).
"""

import os

from nsinit.errors import KernelError, LaunchError
from nsinit.kernel import mounts, namespaces, process, signals
from nsinit.kernel.network import raise_loopback
from nsinit.sandbox import command, report
from nsinit.sandbox.init import Init, adopt_orphans, fork_command
from nsinit.sandbox.rootfs import Stage, build_root
from nsinit.sandbox.seal import seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from nsinit.sandbox.spec import SandboxSpec

# The handshake between stage one or the init, and the launcher.
WANTS_MAPS, MAPPED, GO = b"u", b"m", b"g"
INIT = "init"  # record: the init lives and its parent-death signal is set

_CLOCKS = {"monotonic": b"monotonic", "boottime": b"boottime"}
_EAFNOSUPPORT, _ENODEV = 97, 19


class ChannelObserver:
    """Tells the launcher what the init sees."""

    __slots__ = ("_sender", "_verbose")

    def __init__(self, sender: report.Sender, verbose: bool) -> None:
        self._sender = sender
        self._verbose = verbose

    def stopped(self, signal: int) -> bool:
        """The command was stopped by a job-control signal: the launcher, who has the terminal, decides."""
        self._sender.send(report.STOPPED, signal)
        return False

    def resuming(self) -> None:
        """The terminal is the launcher's: there is nothing to hand over here."""

    def ended(self, wait_status: int) -> None:
        """The command has ended."""
        self._sender.send(report.ENDED, wait_status)

    def note(self, text: str, *numbers: int) -> None:
        """Something worth a line with --verbose."""
        if self._verbose:
            self._sender.send(report.NOTE, text, *numbers)


def stage_one(spec: "SandboxSpec", sender_fd: int, exec_fd: int, handshake_fd: int, foreground: bool) -> "NoReturn":
    """Become the launcher's stage one. Runs in a fresh fork and never returns."""
    stage, sender, status = Stage(), report.Sender(sender_fd), 125
    try:
        kept = {0, 1, 2, sender_fd, handshake_fd, *(fd for _, fd in spec.fds), *(fd for _, fd in spec.join)}
        process.close_all_except(kept | {exec_fd} - {-1})
        stage.name = "join"
        for flag, descriptor in spec.join:
            namespaces.setns(descriptor, flag)
            os.close(descriptor)
        stage.name = "unshare"
        if spec.unshare:
            namespaces.unshare(spec.unshare)
        if spec.unshare & namespaces.NEWUSER:
            _await_maps(handshake_fd)
        stage.name = "shift clocks"
        _shift_clocks(spec)
        stage.name = "fork"
        pid = os.fork()
        if pid:
            os.write(handshake_fd, b"%d" % pid)
            status = 0
        else:
            _await(handshake_fd, GO)
            os.close(handshake_fd)
            status = _init(spec, sender, exec_fd, foreground, stage)
    except BaseException as error:
        status = sender.failed(stage.name, error)
    finally:
        os._exit(status)


def _await(handshake_fd: int, answer: bytes) -> None:
    if os.read(handshake_fd, 1) != answer:
        os._exit(125)  # the launcher has gone, or has said why itself


def _await_maps(handshake_fd: int) -> None:
    os.write(handshake_fd, WANTS_MAPS)
    _await(handshake_fd, MAPPED)
    if os.getuid() != 0 and _maps_root():
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def _maps_root() -> bool:
    with open("/proc/self/uid_map", "rb") as lines:
        return any(line.split()[0] == b"0" for line in lines)


def _shift_clocks(spec: "SandboxSpec") -> None:
    for clock, seconds in spec.time_offsets.items():
        try:
            descriptor = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, b"%s %d 0" % (_CLOCKS[clock], seconds))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise KernelError("shift", error.errno or 0, clock) from None


def _init(spec: "SandboxSpec", sender: report.Sender, exec_fd: int, foreground: bool, stage: Stage) -> int:
    """Set up the sandbox from inside, start the command, and serve it; return the exit status."""
    # A group of its own: what a terminal or a kill sends to the launcher's group reaches the launcher alone.
    stage.name = "start a session"
    if spec.session:
        os.setsid()
    else:
        os.setpgid(0, 0)
    process.set_parent_death_signal(signals.SIGKILL)
    if not sender.send(INIT):
        return 125
    stage.name = "set the hostname to"
    if spec.hostname is not None:
        mounts.set_hostname(spec.hostname)
    if spec.loopback and spec.unshare & namespaces.NEWNET:
        stage.name = "bring up the network"
        _raise_loopback()
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    seal()
    build_root(spec, stage)
    if not spec.init:
        _become_command(spec, sender, exec_fd, foreground, stage)
    if os.getpid() != 1:
        spec.subreaper = True
        adopt_orphans()
    stage.name = "fork"
    process.set_dumpable(0)
    child = fork_command(spec, foreground)
    if child == 0:
        _become_command(spec, sender, exec_fd, False, stage)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    process.close_all_except({0, 1, 2, sender.fd})
    return Init(child, spec, ChannelObserver(sender, spec.verbose)).run()


def _raise_loopback() -> None:
    try:
        raise_loopback()
    except KernelError as error:
        if error.errno not in (_EAFNOSUPPORT, _ENODEV):  # a kernel without IPv4 or loopback has nothing to bring up
            raise


def _become_command(
    spec: "SandboxSpec", sender: report.Sender, exec_fd: int, foreground: bool, stage: Stage
) -> "NoReturn":
    status = 125
    try:
        if foreground:
            os.tcsetpgrp(0, os.getpid())
        command.prepare(spec, stage)
        stage.name = "place descriptors"
        sender.fd, *_ = command.lift(spec, [sender.fd, *([exec_fd] if exec_fd >= 0 else [])])
        sender.send(report.COMMAND)
        command.place_descriptors(spec)
        stage.name = "restore signals"
        command.restore_signals(spec)
        stage.name = "execute"
        command.execute(spec)
    except LaunchError as error:
        status = error.exit_code
        sender.failed(stage.name, error)
    except BaseException as error:
        status = sender.failed(stage.name, error)
    finally:
        os._exit(status)
