"""Job control for a command that has a process group of its own.

The shell knows nsinit's group, not the command's. So nsinit stands between them:

- Started in the foreground by an interactive shell, alone on the terminal, the command's group becomes the
  foreground group at once. Otherwise (in the background, in a pipeline, in a script) the terminal is left alone;
  what it sends to nsinit is passed on.
- A command that touches the terminal from the background is stopped by the kernel (SIGTTIN, SIGTTOU). If nsinit is in
  the foreground, the command gets the terminal then, and goes on.
- A command stopped by Ctrl-Z stops nsinit the same way, so that the shell sees its job stop; `fg` continues nsinit,
  which hands the terminal over again and continues the command. If the command had the terminal from us, the terminal
  has stopped it alone, so we stop our whole group: a pipeline's other members, the script that nsinit runs in. Where
  nobody could continue nsinit (its group is orphaned, or it is PID 1) the kernel ignores the stop, and the command
  simply goes on.
- A command that stops itself for good (SIGSTOP: a shell's `suspend`) while it has the terminal stops nsinit as well,
  or nobody would ever get the terminal back. Without the terminal that is between it and who stopped it.
- At the end the terminal goes back, unless the shell has it already.

Source: setpgid(2), tcsetpgrp(3), credentials(7), signal(7).
"""

import os

from nsinit.kernel import signals


class Terminal:
    """The controlling terminal as nsinit sees it; every method does nothing when there is none.

    `group` is the command's process group, 0 while unknown; `given` says whether it has the terminal from us.
    """

    __slots__ = ("_fd", "_own", "given", "group")

    def __init__(self) -> None:
        self._own = os.getpgrp()
        self._fd = next((fd for fd in (0, 1, 2) if self._foreground(fd) is not None), -1)
        if self._fd < 0:
            self._fd = self._open()  # all three are redirected: the command may open it just as well
        self.group = 0
        self.given = False

    @staticmethod
    def _open() -> int:
        try:
            return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return -1

    @staticmethod
    def _foreground(fd: int) -> int | None:
        try:
            return os.tcgetpgrp(fd)
        except OSError:
            return None

    def _is_ours(self) -> bool:
        return self._fd >= 0 and self._foreground(self._fd) == self._own

    def may_lead(self) -> bool:
        """Whether the command may take the terminal at its start."""
        alone = self._own == os.getpid() or os.getpid() == 1
        return self._fd == 0 and alone and self._is_ours() and os.isatty(1) and os.isatty(2)

    def stop_with(self, number: int) -> bool:
        """The command was stopped by `number`: stop likewise, unless the terminal is ours to hand over now.

        Returns whether the command is to be continued now: else a SIGCONT of ours is pending, or it is to stay stopped.
        """
        if number in (signals.SIGTTIN, signals.SIGTTOU) and self._is_ours():
            return True
        given = self.given and self._fd >= 0
        if number == signals.SIGSTOP and not given:
            return False
        if given and (foreground := self._foreground(self._fd)):
            self.group = foreground  # a shell inside may have made another group the foreground
        self.given = False
        signals.raise_with_default(number, group=given)
        return not signals.is_pending(signals.SIGCONT)

    def hand_over(self) -> None:
        """Give the terminal to the command if it is ours to give."""
        if self.group and self._is_ours():
            try:
                os.tcsetpgrp(self._fd, self.group)
                self.given = True
            except OSError:
                pass  # that group has ended, or the terminal has gone

    def take_back(self) -> None:
        """At the end: be the foreground group again if we gave that away."""
        if self.given:
            self.given = False
            try:
                os.tcsetpgrp(self._fd, self._own)
            except OSError:
                pass
