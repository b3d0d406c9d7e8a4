"""The processes between a launcher and a command.

    launcher -- init -- command

The init is cloned straight into its new namespaces (clone3): as the launcher's child, or by the spawner as its sibling
(CLONE_PARENT), so that every sandbox belongs to the supervisor. No process in between is needed for that, and none
would come for free: what it touched would stay in the init's memory. Only to join existing namespaces there is one,
because setns(2) moves the next child into a pid namespace, never the caller:

    launcher -- joiner (ends) -- init -- command

The init does as little as it can, since every page that it writes to is its own for as long as its service lives: it
waits until the launcher has written the id maps, closes its memory to the sandbox, and forks the command's process.
That one furnishes the sandbox (pivot_root takes the init along), and executes.

Source: clone(2), setns(2), pivot_root(2), pid_namespaces(7), time_namespaces(7), PR_SET_PDEATHSIG(2const).
"""

import marshal
import os
from os import getpid, read, setpgid, setsid

from nsinit.errors import KernelError
from nsinit.kernel import mounts, namespaces, process, signals
from nsinit.kernel.libc import (
    CLONE3,
    CLONE_ARGUMENTS_SIZE,
    CLOSE_RANGE,
    last_errno,
    raw_clone,
    raw_prctl,
    raw_syscall,
    reference,
)
from nsinit.kernel.network import raise_loopback
from nsinit.kernel.signals import ALL as ALL_SIGNALS
from nsinit.kernel.signals import wait_signal
from nsinit.sandbox import command, report
from nsinit.sandbox.init import Init, Policy
from nsinit.sandbox.rootfs import Stage, build_root
from nsinit.sandbox.seal import seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any, NoReturn

    from nsinit.sandbox.spec import SandboxSpec

GO = b"g"  # the launcher's only word on the channel: the id maps are written
CLONED = "cloned"  # record of a joiner: the init's pid

_CLOCKS = {"monotonic": b"monotonic", "boottime": b"boottime"}
_EAFNOSUPPORT, _ENODEV = 97, 19
_INIT_AT, _SESSION_AT = 8, 9
_FORK = reference(process.clone_arguments(0))


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


def release(channel: "_socket.socket") -> None:
    """Let a sandbox whose id maps are written go on."""
    try:
        channel.send(GO)
    except OSError:
        pass  # it has ended already


def clone_flags(spec: "SandboxSpec") -> int:
    """What the init is cloned into. The clocks of a time namespace can only be set before anyone is in it."""
    return spec.unshare & ~(namespaces.NEWTIME if spec.time_offsets else 0)


def encode_request(spec: "SandboxSpec") -> bytes:
    """What a new init is given: 8 bytes of clone flags, two that it looks at at once, then (policy, spec)."""
    header = clone_flags(spec).to_bytes(_INIT_AT, "little") + bytes((spec.init, spec.session))
    return header + marshal.dumps((spec.policy(), spec.to_dict()))


def decode_request(request: bytes) -> "tuple[tuple[Any, ...], dict[str, Any]]":
    """The (policy, spec) of a request."""
    policy, spec = marshal.loads(request[_SESSION_AT + 1 :])
    return policy, spec


def clone_init(spec: "SandboxSpec", sender_fd: int, foreground: bool, sibling: bool = False) -> int:
    """Clone the init of `spec` into its namespaces and return its pid; the init itself does not return.

    Raises:
        KernelError: the namespaces can't be made.
    """
    flags = clone_flags(spec)
    extra = process.CLONE_PARENT if sibling else 0
    pid = process.clone(flags | extra, "+".join(namespaces.names(flags)))
    if pid:
        return pid
    status = 125
    try:
        if sibling and flags & namespaces.NEWUSER:
            process.set_dumpable(1)  # for the launcher to write the id maps; those we joined have no right in here
        process.close_all_except({0, 1, 2, sender_fd, *(fd for _, fd in spec.fds)})
        seal()
        sender = report.Sender(sender_fd)
        if spec.time_offsets and (status := _shift_clocks(spec, sender)):
            os._exit(status)
        status = run_init(
            encode_request(spec), sender_fd, lambda _: become_command(spec, sender, -1), foreground, has_stdio=True
        )
    finally:
        os._exit(status)


def _shift_clocks(spec: "SandboxSpec", sender: report.Sender) -> int:
    """Enter a new time namespace whose clocks are set; a failure is reported, and its exit status returned.

    The clocks can't be set once somebody is in it; nor by an ordinary user's process once it is not dumpable.
    """
    try:
        namespaces.unshare(namespaces.NEWTIME)
        for clock, seconds in spec.time_offsets.items():
            _write_offset(clock, seconds)
        descriptor = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
        try:
            namespaces.setns(descriptor, namespaces.NEWTIME)
        finally:
            os.close(descriptor)
    except OSError as error:
        status = sender.failed("shift clocks", error)
        read(sender.fd, 1)  # the launcher would take an end before the id maps are written for the failure
        return status
    return 0


def _write_offset(clock: str, seconds: int) -> None:
    try:
        descriptor = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"%s %d 0" % (_CLOCKS[clock], seconds))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KernelError("write timens_offsets", error.errno or 0, f"{clock} {seconds} s") from None


def join_and_clone_init(spec: "SandboxSpec", sender_fd: int, foreground: bool) -> "NoReturn":
    """Be the joiner: enter the namespaces, clone the init as a sibling, tell its pid, end."""
    sender, step, status = report.Sender(sender_fd), "join", 125
    try:
        # Whoever is in there may be hostile: it must not look into us (CVE-2016-9962), nor give us a module to import.
        seal()
        process.set_dumpable(0)
        for flag, descriptor in spec.join:
            namespaces.setns(descriptor, flag)
        process.set_dumpable(0)  # /proc/sys/fs/suid_dumpable decides what new credentials have made of it
        step = "unshare"
        sender.send(CLONED, clone_init(spec, sender_fd, foreground, sibling=True))
        status = 0
    except BaseException as error:
        status = sender.failed(step, error)
    finally:
        os._exit(status)


def run_init(
    request: bytes,
    sender_fd: int,
    become: "Callable[[bytes], NoReturn]",
    foreground: bool,
    has_stdio: bool,
) -> int:
    """Fork the process that is to `become` the command, and serve it; return the exit status. Sealed already.

    Written with bare calls, and without decoding the request, on purpose: until the first signal arrives, this and
    the spawner's loop are all that an init has run, and so all that its memory differs in.
    """
    init, session = request[_INIT_AT], request[_SESSION_AT]
    # A session or group of its own: what a terminal or a kill sends to the launcher's group reaches that alone.
    if session:
        setsid()
    else:
        setpgid(0, 0)
    if not init:
        if foreground:
            os.tcsetpgrp(0, getpid())
        become(request)
    if getpid() != 1:
        raw_prctl(process.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    raw_prctl(process.PR_SET_PDEATHSIG, 9, 0, 0, 0)
    # Now, while the root is the trusted one: the command's process will take us along into another.
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC) if has_stdio else -1
    if read(sender_fd, 1) != GO:
        return 125  # the launcher has gone, or says itself why it won't go on
    # A sandbox must not look into nsinit's memory. Not before the id maps are written: from here on the files of
    # /proc/PID belong to the machine's root, and an ordinary launcher could not. Not after the fork: on a busy machine
    # the command could run before we do.
    raw_prctl(process.PR_SET_DUMPABLE, 0, 0, 0, 0)
    child = raw_clone(CLONE3, _FORK, CLONE_ARGUMENTS_SIZE)
    if child <= 0:
        if child < 0:
            return report.Sender(sender_fd).failed("fork", KernelError("clone3", last_errno()))
        if session:
            setsid()
        else:
            setpgid(0, 0)
        if foreground:
            os.tcsetpgrp(0, getpid())
        become(request)
    if has_stdio:
        _let_go_of_stdio(null)
    raw_syscall(CLOSE_RANGE, 3, sender_fd - 1, 0)
    raw_syscall(CLOSE_RANGE, sender_fd + 1, -1, 0)
    first = wait_signal(ALL_SIGNALS)
    policy = Policy(*decode_request(request)[0])
    observer = ChannelObserver(report.Sender(sender_fd), policy.verbose)
    return Init(child, policy, observer).run((first.si_signo, first.si_code))


def _let_go_of_stdio(null_fd: int) -> None:
    for descriptor in (0, 1, 2):
        os.dup2(null_fd, descriptor)


def _become_root() -> None:
    """Take id 0 of the new user namespace, if there is one: the launcher's own id may be another."""
    with open("/proc/self/uid_map", "rb") as lines:
        if not any(line.split()[0] == b"0" for line in lines):
            return
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _furnish(spec: "SandboxSpec", stage: Stage) -> None:
    """Set up the new namespaces from inside."""
    stage.name = "set the hostname to"
    if spec.hostname is not None:
        mounts.set_hostname(spec.hostname)
    if spec.loopback and spec.unshare & namespaces.NEWNET:
        stage.name = "bring up the network"
        _raise_loopback()
    build_root(spec, stage)


def _raise_loopback() -> None:
    try:
        raise_loopback()
    except KernelError as error:
        if error.errno not in (_EAFNOSUPPORT, _ENODEV):  # a kernel without IPv4 or loopback has nothing to bring up
            raise


def become_command(spec: "SandboxSpec", sender: report.Sender, exec_fd: int) -> "NoReturn":
    """Furnish the sandbox and execute its command; a failure is reported, and ends this process."""
    stage, status = Stage(), 125
    try:
        if not spec.init and read(sender.fd, 1) != GO:
            os._exit(125)
        if spec.unshare & namespaces.NEWUSER and os.getuid() != 0:
            stage.name = "become root"
            _become_root()
        if not spec.init:
            process.set_parent_death_signal(signals.SIGKILL)  # a change of ids has cleared it
        groups = command.may_set_groups()
        _furnish(spec, stage)
        if not (spec.init and spec.unshare & namespaces.NEWPID):
            spec.pdeathsig = spec.pdeathsig or signals.SIGKILL  # no pid namespace ends with the init
        stage.name = "start a session keyring"
        command.leave_keyring(shared=exec_fd >= 0)  # a supervisor has left its launcher's
        command.prepare(spec, stage, groups)
        stage.name = "place descriptors"
        sender.fd, *_ = command.lift(spec, [sender.fd, *([exec_fd] if exec_fd >= 0 else [])])
        if not sender.send(report.COMMAND):
            os._exit(125)  # the launcher ended before the parent-death signal was set
        command.place_descriptors(spec)
        stage.name = "restore signals"
        command.restore_signals(spec)
        stage.name = "execute"
        command.execute(spec)
    except BaseException as error:
        status = sender.failed(stage.name, error)
    finally:
        os._exit(status)
