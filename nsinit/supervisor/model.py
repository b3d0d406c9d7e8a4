"""What a supervisor tells the world about itself, and the interface that the control server drives it by.

Data and one protocol: nothing here does any I/O, so the control socket, the command line and the tests can share it
without importing trio.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import msgspec

Stream = Literal["stdout", "stderr"]


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One service as it is now.

    `pid` is the main process, `init_pid` the service's PID 1, both as the supervisor's pid namespace numbers them;
    None when there is no such process. `exit_code` or `signal` ("SIGKILL") say how the last run ended.
    """

    name: str
    state: str
    reason: str
    ready: bool
    pid: int | None = None
    init_pid: int | None = None
    restarts: int = 0
    uptime_s: float | None = None
    exit_code: int | None = None
    signal: str | None = None
    type: str = "simple"
    startup: str = "enabled"


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line that a service wrote; `seq` grows by one with each line of the supervisor, `time` is Unix time."""

    seq: int
    time: float
    service: str
    stream: Stream
    text: str


class SupervisorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor itself. `pid` is its own view (1 when it has a pid namespace)."""

    name: str
    directory: str
    version: str
    pid: int
    namespaces: bool
    orphans_reaped: int
    uptime_s: float


class ReloadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload did, by service name: `updated` got a new policy and kept its process."""

    added: list[str]
    removed: list[str]
    restarted: list[str]
    updated: list[str]


class ExecContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a command needs to run beside a service: where, as whom, with which environment.

    `pid` is the main process, which has been executed in the sandbox: its PID 1 was only forked, and the kernel lets
    an ordinary user look into the namespaces of none whose memory is still nsinit's.
    """

    name: str
    pid: int
    env: dict[str, str]
    user: str
    working_dir: str


class SupervisorApi(Protocol):
    """What the control server asks of a supervisor. All names are service names.

    Every method may raise NoSuchService. The coroutines return when the work is done and raise OperationFailed,
    naming who failed and why; a caller that is cancelled leaves the work going on.
    """

    @property
    def name(self) -> str:
        """The supervisor's name."""

    def list(self) -> Sequence[ServiceStatus]:
        """All services, by name."""

    def status(self, name: str) -> ServiceStatus:
        """One service."""

    def exec_context(self, name: str) -> ExecContext:
        """Where and how a further command of this service would run.

        Raises:
            Inactive: its main process is not running.
        """

    async def start(self, names: Sequence[str]) -> None:
        """Start them and what they need; return when they are up (a oneshot: completed)."""

    async def stop(self, names: Sequence[str]) -> None:
        """Stop their dependents, then them; return when all are stopped."""

    async def restart(self, names: Sequence[str]) -> None:
        """Stop and start them; return when they are up again."""

    async def reload(self) -> ReloadReport:
        """Read the configuration again and apply what changed.

        Raises:
            InvalidConfig: nothing was changed.
        """

    def info(self) -> SupervisorInfo:
        """The supervisor itself."""

    def logs(self, names: Sequence[str], tail: int | None) -> Sequence[LogLine]:
        """The lines kept in memory, in order: of all services when `names` is empty, the last `tail` of each."""

    def follow(self, names: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[LogLine]]:
        """The lines from now on. A reader that is too slow loses lines; it never holds up the supervisor."""

    async def wait_up(self) -> None:
        """Return when all enabled services are up; OperationFailed names those which will not be."""

    def shutdown(self) -> None:
        """Begin the ordered shutdown; return at once."""
