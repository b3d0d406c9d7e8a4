"""The errors a user may see, and the exit status each stands for.

Every message is a sentence that says what was tried, on what, the errno's name and the remedy. Standard library
only, and almost none of it: this module is on the start-up path of `nsinit -- CMD`.
"""

from errno import errorcode


class NsinitError(Exception):
    """The root of the tree: nsinit itself failed."""

    exit_code = 125


class UsageError(NsinitError):
    """The command line makes no sense."""

    exit_code = 2


class KernelError(NsinitError, OSError):
    """A system call failed.

    `call` is its name, `path` what it was about (may be empty), `remedy` what the user can do (may be empty);
    `errno` is OSError's.
    """

    def __init__(self, call: str, errno: int, path: str = "", remedy: str = "") -> None:
        super().__init__(errno, call)
        self.call = call
        self.path = path
        self.remedy = remedy

    def __str__(self) -> str:
        number = self.errno or 0
        name = errorcode.get(number, str(number))
        subject = f" {self.path}" if self.path else ""
        return f"cannot {self.call}{subject}: {name}" + (f": {self.remedy}" if self.remedy else "")


class LaunchError(NsinitError):
    """A sandbox could not be set up, or its command could not be executed.

    `stage` names the step ("mount proc", "exec", ...), `errno` and `path` say why; `exit_code` is 127 when the
    command was not found, 126 when it can't be executed, 125 for everything else.
    """

    def __init__(self, stage: str, errno: int, path: str = "", remedy: str = "", exit_code: int = 125) -> None:
        super().__init__(stage, errno, path, remedy)
        self.stage = stage
        self.errno = errno
        self.path = path
        self.remedy = remedy
        self.exit_code = exit_code

    def __str__(self) -> str:
        reason = errorcode.get(self.errno, str(self.errno))
        subject = f" {self.path}" if self.path else ""
        return f"cannot {self.stage}{subject}: {reason}" + (f": {self.remedy}" if self.remedy else "")


class OperationFailed(NsinitError):
    """What was asked for was tried and did not work."""

    exit_code = 1


class Inactive(NsinitError):
    """The service is not running, or not healthy."""

    exit_code = 3


class NoSuchService(NsinitError):
    """The supervisor has no service of that name."""

    exit_code = 4


class Denied(NsinitError):
    """The caller may not control this supervisor."""

    exit_code = 5


class InvalidConfig(NsinitError):
    """One or more service files are wrong; the message has one line an error, `FILE:LINE: TEXT`."""

    exit_code = 6


class NoSupervisor(NsinitError):
    """No supervisor runs under that name or directory."""

    exit_code = 7


class TimedOut(NsinitError):
    """It took longer than the caller was ready to wait."""

    exit_code = 124
