"""The small init: the parent of one command. It forwards signals, reaps every orphan, and passes the status on.

It is the same code as PID 1 of a sandbox, as PID 1 of a container, and as an ordinary process (with or without
adopting orphans). All signals stay blocked and are taken one by one with sigwaitinfo: none can be lost, no handler
runs, and nothing happens while nothing happens.

    signal that arrives       what happens
    SIGCHLD                   reap all that have ended; the command's end begins the end
    any other                 forwarded, as `rewrite` says, to the command, its process group, or all
    TERM, INT, QUIT           once the command has ended: what is left is killed at once

When the command has ended, whatever else lives in the namespace gets TERM, `grace_s` seconds, then KILL. That needs a
pid namespace of our own, or the orphans that a subreaper adopts; elsewhere the rest isn't ours to touch.

Source: pid_namespaces(7), signal(7), sigwaitinfo(2), kill(2), waitpid(2).
"""

import os
from time import monotonic

from nsinit.kernel import process, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Observer(Protocol):
        """Who is told what the init sees."""

        def stopped(self, signal: int) -> bool: ...
        def resuming(self) -> None: ...
        def ended(self, wait_status: int) -> None: ...
        def note(self, text: str, *numbers: int) -> None: ...


# si_code of a signal that a launcher or supervisor passes on, and for whom it is meant, whatever the spec says.
# What a terminal sends is meant for the whole foreground group.
FROM_TERMINAL = -77
ADDRESSED = {"main": -78, "group": -79, "all": -80}
_ADDRESSES = {code: target for target, code in ADDRESSED.items()}
_HASTENS = (signals.SIGTERM, signals.SIGINT, signals.SIGQUIT)
_STOPS = (signals.SIGTSTP, signals.SIGTTIN, signals.SIGTTOU, signals.SIGSTOP)
_TERMINAL_SIGNALS = (
    signals.SIGINT,
    signals.SIGQUIT,
    signals.SIGTSTP,
    signals.SIGHUP,
    signals.SIGWINCH,
    signals.SIGCONT,
)


def exit_status(wait_status: int) -> int:
    """What a shell would report: the exit status, or 128 plus the number of the signal."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


class Policy:
    """How an init treats its command: a spec's attributes of the same names, and no more."""

    __slots__ = ("grace_s", "init", "map_exit", "rewrite", "session", "subreaper", "target", "verbose")

    def __init__(
        self,
        init: bool,
        session: bool,
        target: str,
        rewrite: dict[int, int],
        map_exit: dict[int, int],
        grace_s: float,
        subreaper: bool,
        verbose: bool,
    ) -> None:
        self.target = target
        self.rewrite = rewrite
        self.map_exit = map_exit
        self.grace_s = grace_s
        self.init = init
        self.session = session
        self.subreaper = subreaper
        self.verbose = verbose


class Init:
    """Runs until the command and everything it left behind have ended. See the module's text."""

    __slots__ = ("_child", "_observer", "_policy", "_status")

    def __init__(self, child: int, policy: Policy, observer: "Observer") -> None:
        self._child = child
        self._policy = policy
        self._observer = observer
        self._status: int | None = None

    def run(self, first: "tuple[int, int] | None" = None) -> int:
        """Serve the command until its end; return the exit status to end with. `first` has been taken already."""
        if first is not None:
            self._take(*first)
        while self._status is None:
            if pending := signals.wait():
                self._take(*pending)
        self._finish()
        status = exit_status(self._status)
        return self._policy.map_exit.get(status, status)

    def _take(self, number: int, code: int) -> None:
        if number == signals.SIGCHLD:
            self._reap()
            return
        if number == signals.SIGCONT:
            self._observer.resuming()
            if code not in _ADDRESSES:
                code = FROM_TERMINAL  # what the terminal has stopped is the whole group
        self.forward(number, code)

    def forward(self, number: int, code: int = 0) -> None:
        """Pass a signal on, to whom and as what the spec says."""
        outgoing = self._policy.rewrite.get(number, number)
        if outgoing == 0:
            self._observer.note("dropped signal", number)
            return
        from_terminal = code in (FROM_TERMINAL, signals.SI_KERNEL) and number in _TERMINAL_SIGNALS
        target = _ADDRESSES.get(code, self._policy.target)
        if target == "main" and from_terminal:
            target = "group"
        self._observer.note("forwards signal", number, outgoing)
        self._send(outgoing, target)

    def _send(self, number: int, target: str) -> None:
        # The child is ours and not reaped: its pid is still its own.
        try:
            if target == "all" and os.getpid() == 1:
                os.kill(-1, number)
            elif target == "main":
                os.kill(self._child, number)
            else:
                os.killpg(self._child, number)
        except ProcessLookupError:
            # It has no group of its own (any more): a shell may have moved it.
            try:
                os.kill(self._child, number)
            except ProcessLookupError:
                pass
        except PermissionError:
            self._observer.note("may not signal with", number)

    def _reap(self) -> bool:
        """Reap all that have ended; False when no child is left at all."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if os.WIFSTOPPED(status):
                by = os.WSTOPSIG(status)
                if pid == self._child and by in _STOPS and self._observer.stopped(by):
                    self.forward(signals.SIGCONT, FROM_TERMINAL)
            elif pid == self._child:
                self._status = status
                self._observer.ended(status)
            else:
                self._observer.note("reaped orphan", pid, exit_status(status))

    def _finish(self) -> None:
        """Let what is left end: TERM, the grace period, KILL."""
        if not (os.getpid() == 1 or self._policy.subreaper) or not self._reap():
            return
        self._observer.note("asks the rest to end with signal", signals.SIGTERM)
        self._signal_rest(signals.SIGTERM)
        self._signal_rest(signals.SIGCONT)
        deadline = monotonic() + self._policy.grace_s
        while self._reap():
            pending = signals.wait(max(0.0, deadline - monotonic()))
            if pending is None or pending[0] in _HASTENS:
                break
        self._observer.note("kills the rest with signal", signals.SIGKILL)
        # Whoever forks while being killed leaves an orphan, which is ours: as many rounds as there are forks.
        while self._reap():
            self._signal_rest(signals.SIGKILL)
            signals.wait(_KILL_ROUND_S)

    def _signal_rest(self, number: int) -> None:
        targets = [-1] if os.getpid() == 1 else descendants(os.getpid())
        for pid in targets:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                pass


_KILL_ROUND_S = 0.1


def descendants(pid: int) -> list[int]:
    """All living processes below `pid`, parents before children.

    Source: proc(5), /proc/PID/task/TID/children.
    """
    found: list[int] = []
    pending = [pid]
    while pending:
        parent = pending.pop()
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children", "rb") as file:
                    children = list(map(int, file.read().split()))
                found += children
                pending += children
        except OSError:
            continue
    return found


def fork_command(session: bool, foreground: bool) -> int:
    """Fork; in the child (0 is returned) the command has a process group of its own, in the foreground if asked.

    Both sides set the group, so that neither can see it unset.
    """
    pid = process.clone(0)
    if pid == 0:
        if session:
            os.setsid()
        else:
            os.setpgid(0, 0)
        if foreground:
            os.tcsetpgrp(0, os.getpid())
        return 0
    try:
        if not session:
            os.setpgid(pid, pid)
    except OSError:
        pass  # it has done so itself, and has executed or ended already
    return pid


def adopt_orphans() -> None:
    """Be the parent of every orphan below, also without being PID 1."""
    process.set_subreaper()
