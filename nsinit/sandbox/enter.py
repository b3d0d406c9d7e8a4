"""Run a command in a sandbox that is already running.

    caller      outside for good: forwards signals, relays the terminal, waits, and words every failure
      \\. stage  joins the namespaces, takes the root, forks (only a child enters a pid namespace), then passes signals
           |   on and reaps
           \\. command

The stage stays because PID 1 of a pid namespace can't end before all its members are reaped: with the caller for a
parent, `nsinit exec` in a stopped terminal would keep a service from being stopped. It has a session of its own, so
that no terminal stops it, and ends the command when the caller has gone, however that came.

The sandbox may be hostile. All that has to be known of it is read before anything of it is entered (see Target). Stage
and command can't be traced by it (dumpable 0, before the first setns: CVE-2016-9962), can import nothing (sealed), hold
no descriptor but their channels, and take nothing along that the target does not have: capabilities, groups, terminal,
session keyring.

Source: setns(2), pid_namespaces(7), user_namespaces(7), prctl(2), signalfd(2).
"""

import _signal  # type: ignore[import-not-found]  # private to CPython, and stable since 3.2
import os
import select

from nsinit.errors import LaunchError
from nsinit.inspect.target import Target
from nsinit.kernel import libc, process, signals
from nsinit.kernel.namespaces import NEWUSER
from nsinit.sandbox import command, passwd, pty, report
from nsinit.sandbox.init import exit_status
from nsinit.sandbox.rootfs import Stage
from nsinit.sandbox.seal import seal
from nsinit.sandbox.spec import SandboxSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_EXECUTED = "executed"  # record from the stage: the command's process has executed it, or has ended
_ENOENT, _ESRCH = 2, 3
_PR_CAPBSET_DROP = 24

# Left to their default action, so that a caller in the background that touches its terminal stops.
_UNBLOCKED = (signals.SIGTTIN, signals.SIGTTOU)
_KEYBOARD = (signals.SIGINT, signals.SIGQUIT)
_ENDING = (signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGTERM)


def enter_and_run(
    pid: int,
    argv: list[bytes],
    *,
    env: dict[bytes, bytes],
    user: str | None = None,
    chdir: str | None = None,
    tty: bool | None = None,
) -> int:
    """Run `argv` in all namespaces and in the root of process `pid`; return its exit status (128+N for signal N).

    `pid` is as the caller sees it; a process that has been executed in the sandbox, since one that was only forked
    there still has its launcher's memory, which an ordinary user may not look into. `env` is the whole environment.
    `user` is "NAME|UID[:NAME|GID]" of the sandbox's own files, None its root. `chdir` None is its /. `tty`: whether
    the command gets a terminal of its own; None: if standard input and output are terminals. When the caller is killed,
    so is the command.

    Raises:
        LaunchError: 127 not found, 126 not executable, 125 the sandbox could not be entered.
        KernelError: ESRCH when there is no process `pid`.
    """
    _open_standard_descriptors()
    spec = SandboxSpec(argv)
    spec.env, spec.user, spec.chdir = dict(env), user, chdir or "/"
    target = Target(pid)
    try:
        relay = pty.Relay() if (os.isatty(0) and os.isatty(1) if tty is None else tty) else None
        try:
            if relay is not None:
                relay.start()
                spec.fds = [(fd, relay.slave) for fd in (0, 1, 2) if fd < 2 or os.isatty(fd)]
            return _Attendant(relay).run(target, spec)
        finally:
            if relay is not None:
                relay.close()
    finally:
        target.close()


def _open_standard_descriptors() -> None:
    """Whichever of 0, 1 and 2 is closed becomes /dev/null: nothing of ours may get such a number."""
    while (fd := os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


# --- in the stage and in the command: nothing is imported or formatted here, failures are data


def _run_stage(target: Target, spec: SandboxSpec, sender: report.Sender) -> "NoReturn":
    stage = Stage()
    try:
        stage.name = "prepare"
        os.setsid()
        slaves = {slave for _, slave in spec.fds}
        process.close_all_except({0, 1, 2, sender.fd, target.pidfd, target.root_fd} | slaves)
        null_fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        alive_fd, executed_fd = os.pipe()
        seal()
        stage.name = "enter"
        target.join()
        target.close()
        stage.name = "fork"
        child = os.fork()
        if not child:
            os.close(alive_fd)
            _run_command(target, spec, sender, executed_fd)
        for fd in (0, 1, 2):
            os.dup2(null_fd, fd)
        process.close_all_except({0, 1, 2, sender.fd, alive_fd})
        stage.name = "wait for"
        _tend(child, sender, alive_fd)
    except BaseException as error:
        sender.failed(stage.name, error)
    finally:
        os._exit(125)


def _tend(child: int, sender: report.Sender, alive_fd: int) -> None:
    """Do what the caller says to the command, tell it what becomes of it, and return once it was reaped."""
    ended_fd = os.pidfd_open(child)
    poller = select.poll()
    for fd in (sender.fd, alive_fd, ended_fd):
        poller.register(fd, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            if fd == ended_fd:
                sender.send(report.ENDED, os.waitpid(child, 0)[1])
                return
            if fd == alive_fd and not os.read(alive_fd, 1):
                poller.unregister(alive_fd)
                sender.send(_EXECUTED)
            if fd == sender.fd:
                order = _read_order(sender.fd)
                if order is None:
                    poller.unregister(sender.fd)
                _signal_command(child, *(order or (signals.SIGKILL, False)))


def _read_order(fd: int) -> tuple[int, int] | None:
    """The caller's next (signal, whether to the group); None when the caller has gone."""
    try:
        order = os.read(fd, 2)
    except ConnectionResetError:  # it had not read all that it was told
        return None
    return (order[0], order[1]) if order else None


def _signal_command(child: int, number: int, to_group: int) -> None:
    # Not reaped yet, so the pid is its own; as a session's leader it can't have left its group.
    try:
        (os.killpg if to_group else os.kill)(child, number)
    except OSError:
        pass  # it has no group yet, or a setuid program has taken it out of our reach


def _run_command(target: Target, spec: SandboxSpec, sender: report.Sender, executed_fd: int) -> "NoReturn":
    """The command's process, up to execve."""
    stage, status = Stage(), 125
    try:
        process.set_parent_death_signal(signals.SIGKILL)
        stage.name = "start a session"
        _start_session(spec)
        stage.name = "change identity"
        _become(target, spec)
        process.set_parent_death_signal(signals.SIGKILL)  # a change of identity clears it
        os.write(executed_fd, b"!")  # EPIPE if the stage had ended before
        stage.name = "change directory"
        os.chdir(spec.chdir or "/")
        if not os.getcwd().startswith("/"):  # "(unreachable)": outside the root (CVE-2024-21626)
            raise LaunchError("change directory", _ENOENT, spec.chdir or "", "it is outside the sandbox")
        stage.name = "place descriptors"
        command.place_descriptors(spec)
        command.restore_signals(spec)
        stage.name = "execute"
        command.execute(spec)
    except BaseException as error:
        status = sender.failed(stage.name, error)
    finally:
        os._exit(status)


def _start_session(spec: SandboxSpec) -> None:
    # Without a terminal of its own, too: it must not keep the caller's, whose input it could forge (CVE-2017-5226).
    os.setsid()
    if spec.fds:
        pty.take_controlling_terminal(spec.fds[0][1])
    command.leave_keyring()


def _become(target: Target, spec: SandboxSpec) -> None:
    """Take the identity asked for, and no more than the target could have."""
    user = _find_user(target, spec)
    if target.no_new_privs:
        process.set_no_new_privs()
    for capability in target.lacks:
        libc.call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0, path=f"capability {capability}")
    if user is None:
        return
    if spec.fds:
        try:
            os.fchown(spec.fds[0][1], user.uid, -1)  # so that it can be opened anew, by way of /dev/stdin
        except OSError:
            pass  # not ours to give away in a user namespace without the group tty
    if target.may_set_groups:
        os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def _find_user(target: Target, spec: SandboxSpec) -> passwd.User | None:
    """Whom to become, None: nobody else. What a login would set is set where the environment has it not."""
    if spec.user is None:
        return passwd.User(0, 0, []) if target.flags & NEWUSER and target.has_root else None
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user = passwd.find_user(spec.user, root_fd)
    finally:
        os.close(root_fd)
    for key, value in ((b"HOME", user.home or b"/"), (b"USER", user.name), (b"LOGNAME", user.name)):
        if value:
            spec.env.setdefault(key, value)
    return user


# --- in the caller, outside


class _Attendant:
    """The caller, from the fork to the command's end: one loop around what may happen.

    _stage      the stage's pid; 0 once it was reaped
    _executed   the command runs, or `_failure` says why it doesn't
    _ended_by   the signal that ended it before it ran
    _early      the other signals that came before it ran
    """

    def __init__(self, relay: pty.Relay | None) -> None:
        self._relay = relay
        self._stage = self._ended_by = 0
        self._executed = self._channel_open = self._told_hangup = False
        self._early: list[int] = []
        self._failure: LaunchError | None = None
        self._wait_status: int | None = None

    def run(self, target: Target, spec: SandboxSpec) -> int:
        """Start the command and serve it until its end; the caller's signals are afterwards as they were."""
        spec.ignored = signals.started_with_ignored()
        previous = _signal.signal(signals.SIGCHLD, _signal.SIG_DFL)  # ignored, it would reap the stage
        if previous == _signal.SIG_IGN:
            spec.ignored.append(signals.SIGCHLD)
        spec.blocked = signals.block_all()
        taken = {number for number in signals.ALL if _signal.getsignal(number) != _signal.SIG_IGN}
        self._signals_fd = signals.open_signalfd(frozenset(taken - set(_UNBLOCKED)))
        self._channel, sender = report.channel()
        try:
            self._stage = os.fork()
            if not self._stage:
                _run_stage(target, spec, report.Sender(sender.fileno()))
            sender.close()
            self._channel_open = True
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, set(_UNBLOCKED) - set(spec.blocked))
            return self._serve()
        finally:
            self._channel.close()
            if self._stage:
                os.waitpid(self._stage, 0)  # something failed here: it ends the command, and itself
            os.close(self._signals_fd)
            if previous is not None:
                _signal.signal(signals.SIGCHLD, previous)
            signals.set_blocked(spec.blocked)

    def _serve(self) -> int:
        while self._stage or self._channel_open:
            for fd in self._wait():
                if fd == self._signals_fd:
                    self._take_signals()
                elif self._relay is None or fd == self._channel.fileno():
                    self._take_records()
                else:
                    self._relay.handle(fd)
        if self._relay is not None:
            self._relay.finish()
        if self._ended_by:
            return 128 + self._ended_by
        if self._failure is not None:
            raise self._failure
        if self._wait_status is None:
            raise LaunchError("wait for the command", _ESRCH, "", "nsinit's process in the sandbox was killed")
        return exit_status(self._wait_status)

    def _wait(self) -> list[int]:
        poller = select.poll()
        poller.register(self._signals_fd, select.POLLIN)
        if self._channel_open:
            poller.register(self._channel.fileno(), select.POLLIN)
        if self._relay is not None:
            for fd, events in self._relay.interest():
                poller.register(fd, events)
            if self._relay.hung_up and self._executed and not self._told_hangup:
                self._told_hangup = True
                self._send(signals.SIGHUP, to_group=True)
        return [fd for fd, _ in poller.poll()]

    def _take_records(self) -> None:
        while self._channel_open:
            try:
                record = report.receive(self._channel)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # said once when the stage has ended with an order unread; its records follow
            if record is None:
                self._channel_open = False
            elif record.kind == report.FAILED:
                self._failure = report.launch_error(record)
            elif record.kind == report.ENDED:
                self._wait_status = record.values[0]
            elif record.kind == _EXECUTED:
                self._executed = True
                for number in self._early:
                    self._forward(number)

    def _take_signals(self) -> None:
        for number, _ in signals.parse_signalfd(os.read(self._signals_fd, 4096)):
            if number == signals.SIGCHLD:
                if self._stage and os.waitpid(self._stage, os.WNOHANG)[0]:
                    self._stage = 0
            elif number == signals.SIGWINCH and self._relay is not None:
                self._relay.resize()
            elif number == signals.SIGTSTP:
                self._stop()
            elif number == signals.SIGCONT:
                self._continue()
            else:
                self._forward(number)

    def _forward(self, number: int) -> None:
        if self._executed:
            self._send(number, to_group=number in _KEYBOARD)
        elif number not in _ENDING:
            self._early.append(number)
        elif not self._ended_by:
            # The command's process still blocks signals, and could hang in the sandbox's file system.
            self._ended_by = number
            self._send(signals.SIGKILL)
        elif self._stage:
            os.kill(self._stage, signals.SIGKILL)  # a second one, since even the stage seems to hang there

    def _send(self, number: int, to_group: bool = False) -> None:
        try:
            self._channel.send(bytes((number, to_group)))
        except OSError:
            pass  # the stage has ended; or the sandbox is frozen, and hundreds of signals wait already

    def _stop(self) -> None:
        """Ctrl-Z of a caller without a relay, or kill -TSTP: stop the command, then ourselves, as our shell's job."""
        self._send(signals.SIGSTOP, to_group=True)
        if self._relay is not None:
            self._relay.suspend()
        signals.raise_with_default(signals.SIGTSTP)
        self._continue()

    def _continue(self) -> None:
        if self._relay is not None:
            self._relay.resume()
        self._send(signals.SIGCONT, to_group=True)
