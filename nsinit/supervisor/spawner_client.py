"""The supervisor's end of the spawner: asks for a sandbox, and learns what has become of it.

A launch has two halves. The spawner clones the sandbox's init and answers with its pid; the supervisor writes the id
maps and says go. The rest happens in the sandbox; the exec pipe closes when the command has been executed, or has
failed, and the records on the channel tell which.
"""

import _socket
import array
import os
from collections import deque
from collections.abc import Sequence

import structlog
import trio

from nsinit.errors import KernelError, LaunchError, NsinitError
from nsinit.kernel import namespaces
from nsinit.sandbox import report
from nsinit.sandbox.ids import IdMaps
from nsinit.sandbox.spec import SandboxSpec
from nsinit.sandbox.stage import encode_request, release
from nsinit.supervisor.reaper import Reaper

log = structlog.get_logger()

_GONE = "cannot start any service: the spawner process has ended: stop this supervisor and start it again"


class SpawnerGone(NsinitError):
    """The spawner has ended; no service can be started any more."""


class Sandboxed:
    """A service's processes: its init, its command (0 until executed), and how they ended.

    `ended` is set once the init has been reaped: with a pid namespace, every process of the sandbox is gone then.
    `wait_status` is the command's, or the init's when the init was killed before it could tell.
    """

    def __init__(self, channel: "_socket.socket", exec_fd: int) -> None:
        self.init_pid = 0
        self.pid = 0
        self.ended = trio.Event()
        self.wait_status: int | None = None
        self.failure: LaunchError | None = None
        self._channel = channel
        self._exec_fd = exec_fd

    async def executed(self) -> None:
        """Return when the command has been executed, or never will be; then `pid` or `failure` is set.

        Neither is when the init was killed meanwhile. All may have ended by then.
        """
        try:
            await trio.lowlevel.wait_readable(self._exec_fd)
        finally:
            os.close(self._exec_fd)
        self.read()

    def go(self) -> None:
        """Its id maps are written: let it furnish the sandbox and execute."""
        release(self._channel)

    def hang_up(self) -> None:
        """It must not go on: without a word from us it ends."""
        try:
            self._channel.shutdown(_socket.SHUT_WR)
        except OSError:
            pass  # it has ended already

    def abandon(self) -> None:
        """Nothing was started."""
        os.close(self._exec_fd)
        self._channel.close()

    def read(self) -> None:
        """Take the records that have come."""
        while not self.ended.is_set():
            try:
                record = report.receive(self._channel)
            except ConnectionResetError:
                continue  # said once when the other side ended without having read all; what it wrote still comes
            except (BlockingIOError, ConnectionError):
                return
            if record is None:
                return
            if record.kind == report.COMMAND:
                self.pid = record.pid
            elif record.kind == report.FAILED:
                self.failure = report.launch_error(record)
            elif record.kind == report.ENDED:
                self.wait_status = record.values[0]

    def on_exit(self, status: int) -> None:
        """The init has been reaped."""
        self.read()
        self._channel.close()
        if self.wait_status is None:
            self.wait_status = status
        self.ended.set()


class _Answer:
    """What the spawner said to one request: a pid, a negative errno, or None when it has gone."""

    def __init__(self) -> None:
        self.given = trio.Event()
        self.value: int | None = None

    def give(self, value: int | None) -> None:
        self.value = value
        self.given.set()


class Spawner:
    """Talks to the spawner process over `socket`."""

    def __init__(self, socket: "_socket.socket", reaper: Reaper) -> None:
        socket.setblocking(False)
        self._socket = socket
        self._reaper = reaper
        self._answers: deque[_Answer] = deque()  # in the order of the requests
        self._sending = trio.Lock()
        self._gone = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take the spawner's answers until it ends or we are cancelled."""
        task_status.started()
        while True:
            await trio.lowlevel.wait_readable(self._socket.fileno())
            try:
                content = self._socket.recv(64)
            except BlockingIOError:
                continue
            except ConnectionError:
                content = b""
            if not content:
                self._lose()
                return
            self._answers.popleft().give(int(content))

    async def start(self, spec: SandboxSpec, fds: Sequence[tuple[int, int]]) -> Sandboxed:
        """Start a sandbox up to its init; `fds` are (number inside, descriptor here).

        Raises:
            LaunchError: its namespaces can't be made, or its ids can't be mapped.
            SpawnerGone: there is nobody to ask.
        """
        maps = IdMaps(spec.uid_map, spec.gid_map) if spec.unshare & namespaces.NEWUSER else None
        spec.fds = [(inside, index) for index, (inside, _) in enumerate(fds)]
        exec_read, exec_write = os.pipe2(os.O_CLOEXEC)
        try:
            receiver, sender = report.channel()
        except OSError:
            os.close(exec_read)
            os.close(exec_write)
            raise
        sandboxed = Sandboxed(receiver, exec_read)
        self._reaper.launching(1)
        try:
            # An answer that was asked for is awaited in any case: it may be the pid of a process that is ours.
            with trio.CancelScope(shield=True):
                sent = [sender.fileno(), exec_write, *(fd for _, fd in fds)]
                answer = await self._ask(encode_request(spec), sent)
            self._begin(sandboxed, answer, spec, maps)
        except BaseException:
            sandboxed.abandon()
            raise
        finally:
            self._reaper.launching(-1)
            sender.close()
            os.close(exec_write)
        return sandboxed

    def _begin(self, sandboxed: Sandboxed, answer: int | None, spec: SandboxSpec, maps: IdMaps | None) -> None:
        if answer is None or answer <= 0:
            if answer is None:
                raise SpawnerGone(_GONE)
            made = "+".join(namespaces.names(spec.unshare))
            raise report.start_error(KernelError("clone3", -answer, made))
        sandboxed.init_pid = answer
        self._reaper.expect(answer, sandboxed.on_exit)
        try:
            if maps is not None:
                maps.write(answer)
        except LaunchError as error:
            sandboxed.failure = error
            sandboxed.hang_up()
        else:
            sandboxed.go()

    async def _ask(self, content: bytes, fds: list[int]) -> int | None:
        answer = _Answer()
        async with self._sending:
            await self._send(content, fds)
            self._answers.append(answer)
        await answer.given.wait()
        return answer.value

    def _lose(self) -> None:
        self._gone = True
        log.error("supervisor.spawner_lost", reason=_GONE)
        while self._answers:
            self._answers.popleft().give(None)

    async def _send(self, content: bytes, fds: list[int]) -> None:
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds).tobytes())]
        while True:
            if self._gone:
                raise SpawnerGone(_GONE)
            try:
                self._socket.sendmsg([content], ancillary)
                return
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket.fileno())
            except ConnectionError:
                raise SpawnerGone(_GONE) from None  # `run` will see it, too
