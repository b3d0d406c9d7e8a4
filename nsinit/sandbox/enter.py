"""Run a command in a sandbox that is already running, as its caller's child.

    caller      outside for good: forwards signals, relays the terminal, waits, and words every failure
      \\. stage  joins the namespaces, takes the root, forks (only a child enters a pid namespace), ends
           \\. command   adopted by the caller, a subreaper for that moment; told to go on once that is done, because
                        the stage's end would set off its parent-death signal

The sandbox may be hostile. All that has to be known of it is read before anything of it is entered, through a /proc
that can be trusted and about a process that a pidfd holds on to. Stage and command can't be traced by it (dumpable 0,
before the first setns: CVE-2016-9962), can import nothing (sealed), hold no descriptor but the channel, and take
nothing along that the target does not have: capabilities, groups, terminal, session keyring.

Source: setns(2), pid_namespaces(7), user_namespaces(7), prctl(2), signalfd(2).
"""

import _signal  # type: ignore[import-not-found]  # private to CPython, and stable since 3.2
import os
import select

from nsinit.errors import KernelError, LaunchError
from nsinit.inspect.target import Target
from nsinit.kernel import libc, process, signals
from nsinit.kernel.namespaces import NEWUSER
from nsinit.sandbox import command, passwd, pty, report
from nsinit.sandbox.init import exit_status
from nsinit.sandbox.rootfs import Stage
from nsinit.sandbox.seal import seal
from nsinit.sandbox.spec import SandboxSpec

_JOINED = "joined"  # from the stage: the command's pid, as the caller sees it
_ENOENT, _ESRCH = 2, 3
_PR_GET_CHILD_SUBREAPER = 37
_PR_CAPBSET_DROP = 24
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "i686": 288, "armv7l": 311, "ppc64le": 271, "s390x": 280}
_KEYCTL_JOIN_SESSION_KEYRING = 1
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
    the command gets a terminal of its own; None: if standard input and output are terminals. The command's parent is
    the caller, and when that is killed, so is the command.

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


def _run_stage(target: Target, spec: SandboxSpec, sender: report.Sender) -> None:
    """The stage: returns in the command's process only."""
    stage = Stage()
    try:
        stage.name = "prepare"
        process.set_parent_death_signal(signals.SIGKILL)
        slaves = {slave for _, slave in spec.fds}
        process.close_all_except({0, 1, 2, sender.fd, target.pidfd, target.root_fd} | slaves)
        seal()
        stage.name = "enter"
        target.join()
        target.close()
        stage.name = "fork"
        child = os.fork()
        if child:
            sender.send(_JOINED, child)
            os._exit(0)
    except BaseException as error:
        os._exit(sender.failed(stage.name, error))


def _run_command(target: Target, spec: SandboxSpec, sender: report.Sender) -> None:
    """The command's process, up to execve; does not return."""
    stage = Stage()
    try:
        if not os.read(sender.fd, 1):
            os._exit(125)  # the caller has ended
        stage.name = "start a session"
        _start_session(spec)
        stage.name = "change identity"
        _become(target, spec)
        stage.name = "change directory"
        os.chdir(spec.chdir or "/")
        if not os.getcwd().startswith("/"):  # "(unreachable)": outside the root (CVE-2024-21626)
            raise LaunchError("change directory", _ENOENT, spec.chdir or "", "it is outside the sandbox")
        stage.name = "prepare"
        # After the change of identity, which clears it; the record fails if the caller ended before it was set.
        process.set_parent_death_signal(signals.SIGKILL)
        if not sender.send(report.COMMAND):
            os._exit(125)
        command.place_descriptors(spec)
        command.restore_signals(spec)
        stage.name = "execute"
        command.execute(spec)
    except BaseException as error:
        os._exit(sender.failed(stage.name, error))


def _start_session(spec: SandboxSpec) -> None:
    # Without a terminal of its own, too: it must not keep the caller's, whose input it could forge (CVE-2017-5226).
    os.setsid()
    if spec.fds:
        pty.take_controlling_terminal(spec.fds[0][1])
    number = _KEYCTL.get(os.uname().machine)
    if number is not None:
        try:
            libc.syscall(number, "keyctl", _KEYCTL_JOIN_SESSION_KEYRING, None)
        except KernelError:
            pass  # a kernel without keys, or a container that forbids them: then there are none to protect


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
    _command    the command's pid, known before the stage ends; a child of ours once the stage has ended
    _executed   the channel has closed: the command runs, or it has failed and `_failure` says why
    _ended_by   the signal that ended it before it ran
    _early      the other signals that came before it ran
    """

    def __init__(self, relay: pty.Relay | None) -> None:
        self._relay = relay
        self._stage = self._command = self._ended_by = 0
        self._executed = self._told_hangup = False
        self._early: list[int] = []
        self._failure: LaunchError | None = None
        self._wait_status: int | None = None
        self._signals_fd = -1

    def run(self, target: Target, spec: SandboxSpec) -> int:
        """Start the command and serve it until its end; the caller's signals are afterwards as they were."""
        spec.ignored = signals.started_with_ignored()
        previous = _signal.signal(signals.SIGCHLD, _signal.SIG_DFL)  # ignored, it would take the status away
        if previous == _signal.SIG_IGN:
            spec.ignored.append(signals.SIGCHLD)
        adopts = _is_subreaper()
        spec.blocked = signals.block_all()
        try:
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, set(_UNBLOCKED) - set(spec.blocked))
            taken = (number for number in signals.ALL if _signal.getsignal(number) != _signal.SIG_IGN)
            self._signals_fd = signals.open_signalfd(frozenset(taken) - set(_UNBLOCKED))
            process.set_subreaper()
            self._start(target, spec)
            return self._serve()
        finally:
            self._end()
            if not adopts:
                libc.call("prctl", process.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
            if previous is not None:
                _signal.signal(signals.SIGCHLD, previous)
            signals.set_blocked(spec.blocked)

    def _start(self, target: Target, spec: SandboxSpec) -> None:
        self._channel, sender = report.channel()
        self._stage = os.fork()
        if not self._stage:
            far_end = report.Sender(sender.fileno())
            _run_stage(target, spec, far_end)
            _run_command(target, spec, far_end)
        sender.close()

    def _serve(self) -> int:
        while self._stage or not self._executed or (self._command and self._wait_status is None):
            for fd in self._wait():
                if fd == self._signals_fd:
                    self._take_signals()
                elif fd == self._channel.fileno():
                    self._take_records()
                elif self._relay is not None:
                    self._relay.handle(fd)
        if self._relay is not None:
            self._relay.finish()
        if self._ended_by:
            return 128 + self._ended_by
        if self._failure is not None:
            raise self._failure
        if self._wait_status is None:
            raise LaunchError("enter", _ESRCH, "", "the process that was to join the sandbox was killed")
        return exit_status(self._wait_status)

    def _wait(self) -> list[int]:
        poller = select.poll()
        poller.register(self._signals_fd, select.POLLIN)
        if not self._executed:
            poller.register(self._channel.fileno(), select.POLLIN)
        if self._relay is not None:
            for fd, events in self._relay.interest():
                poller.register(fd, events)
            if self._relay.hung_up and self._executed and not self._told_hangup:
                self._told_hangup = True
                self._send(signals.SIGHUP, to_group=True)
        return [fd for fd, _ in poller.poll()]

    def _take_records(self) -> None:
        while not self._executed:
            try:
                record = report.receive(self._channel)
            except BlockingIOError:
                return
            if record is None:
                self._executed = True
                for number in self._early:
                    self._forward(number)
            elif record.kind == _JOINED:
                self._command = record.values[0]
                self._kill_if_ended()
            elif record.kind == report.FAILED:
                self._failure = report.launch_error(record)

    def _take_signals(self) -> None:
        for number, _ in signals.parse_signalfd(os.read(self._signals_fd, 4096)):
            if number == signals.SIGCHLD:
                self._reap()
            elif number == signals.SIGWINCH and self._relay is not None:
                self._relay.resize()
            elif number == signals.SIGTSTP:
                self._stop()
            elif number == signals.SIGCONT:
                self._continue()
            else:
                self._forward(number)

    def _reap(self) -> None:
        if self._stage and os.waitpid(self._stage, os.WNOHANG)[0]:
            self._stage = 0
            self._take_records()
            if self._command:
                try:
                    self._channel.send(b"!")
                except OSError:
                    pass  # killed in the sandbox already
        if self._command and not self._stage and self._wait_status is None:
            ended, status = os.waitpid(self._command, os.WNOHANG)
            if ended:
                self._wait_status = status

    def _forward(self, number: int) -> None:
        if self._executed:
            self._send(number, to_group=number in _KEYBOARD)
        elif number in _ENDING:
            # It still blocks signals, and could hang in the sandbox's file system: no way to ask it.
            self._ended_by = self._ended_by or number
            self._kill_if_ended()
        else:
            self._early.append(number)

    def _kill_if_ended(self) -> None:
        if self._ended_by:
            self._send(signals.SIGKILL)

    def _send(self, number: int, to_group: bool = False) -> None:
        # Not reaped, so the pid is its own; as a session's leader it can't have left its group.
        if self._command and self._wait_status is None:
            try:
                (os.killpg if to_group else os.kill)(self._command, number)
            except OSError:
                pass  # a zombie, or one that a setuid program has taken out of our reach

    def _stop(self) -> None:
        """Ctrl-Z of a caller without a relay, or kill -TSTP: stop the command, then ourselves, as our shell's job."""
        self._send(signals.SIGSTOP, to_group=self._executed)
        if self._relay is not None:
            self._relay.suspend()
        signals.raise_with_default(signals.SIGTSTP)
        self._continue()

    def _continue(self) -> None:
        if self._relay is not None:
            self._relay.resume()
        self._send(signals.SIGCONT, to_group=self._executed)

    def _end(self) -> None:
        """Leave nothing behind, also when the caller failed in the middle."""
        if self._signals_fd >= 0:
            os.close(self._signals_fd)
        if self._stage:
            os.kill(self._stage, signals.SIGKILL)
            os.waitpid(self._stage, 0)
        if self._command and self._wait_status is None:
            self._send(signals.SIGKILL)
            os.waitpid(self._command, 0)


def _is_subreaper() -> bool:
    answer = libc.buffer(bytes(4))
    libc.call("prctl", _PR_GET_CHILD_SUBREAPER, answer, 0, 0, 0)
    return any(answer.raw)
