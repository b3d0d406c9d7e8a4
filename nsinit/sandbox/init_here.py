"""The small init without a sandbox: `--no-unshare`, and the entry point of a container, where nsinit is PID 1 already.

No namespace is made and no privilege is needed.
"""

import os

from nsinit.errors import LaunchError
from nsinit.sandbox import command, report
from nsinit.sandbox.init import Init, Policy, adopt_orphans, exit_status, fork_command
from nsinit.sandbox.rootfs import Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nsinit.sandbox.spec import SandboxSpec
    from nsinit.sandbox.terminal import Terminal


class LocalObserver:
    """Acts on what the init sees with the terminal that is its own."""

    __slots__ = ("_say", "_terminal")

    def __init__(self, terminal: "Terminal", say: "Callable[[str], None] | None") -> None:
        self._terminal = terminal
        self._say = say

    def stopped(self, signal: int) -> bool:
        """The command was stopped: stop with it; True when it is to go on at once."""
        again = self._terminal.stop_with(signal)
        if again:
            self._terminal.hand_over()
        return again

    def resuming(self) -> None:
        """We were continued, and the command will be: it may have the terminal."""
        self._terminal.hand_over()

    def ended(self, wait_status: int) -> None:
        """The command has ended."""
        self.note("the command ended with status", exit_status(wait_status))

    def note(self, text: str, *numbers: int) -> None:
        """Something worth a line with --verbose."""
        if self._say is not None:
            self._say(report.note_text([text, *numbers]))


def run_here(spec: "SandboxSpec", terminal: "Terminal", say: "Callable[[str], None]") -> int:
    """Run the command of `spec` under the small init, in this process; return the exit status.

    Raises:
        LaunchError: the command could not be executed.
    """
    if spec.subreaper and os.getpid() != 1:
        adopt_orphans()
    receiver, sender = report.channel()
    foreground = terminal.may_lead()
    child = fork_command(spec.session, foreground)
    if child == 0:
        _become_command(spec, report.Sender(sender.fileno()))
    sender.close()
    terminal.group = child
    terminal.given = foreground
    observer = LocalObserver(terminal, say if spec.verbose else None)
    observer.note("runs process", child)
    try:
        status = Init(child, Policy(*spec.policy()), observer).run()
    finally:
        terminal.take_back()
    try:
        record = report.receive(receiver)
    except BlockingIOError:
        record = None
    if record is not None and record.kind == report.FAILED:
        raise report.launch_error(record)
    return status


def _become_command(spec: "SandboxSpec", sender: report.Sender) -> None:
    stage, status = Stage(), 125
    try:
        command.prepare(spec, stage, command.may_set_groups())
        stage.name = "execute"
        [sender.fd] = command.lift(spec, [sender.fd])
        command.place_descriptors(spec)
        command.restore_signals(spec)
        command.execute(spec)
    except LaunchError as error:
        status = error.exit_code
        sender.failed(stage.name, error)
    except BaseException as error:
        status = sender.failed(stage.name, error)
    finally:
        os._exit(status)
