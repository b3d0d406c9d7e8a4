"""The supervisor's end of the spawner: asks for a sandbox, and learns what has become of it.

A launch has two halves. The spawner starts the sandbox up to its init and answers with the init's pid. The init then
mounts, forks and executes by itself; the exec pipe closes when the command has been executed, or has failed, and the
records on the channel tell which.
"""

import _socket
import array
import marshal
import os
from collections.abc import Sequence

import trio

from nsinit.errors import LaunchError, NsinitError
from nsinit.sandbox import report
from nsinit.sandbox.spawner import MAX_REQUEST
from nsinit.sandbox.spec import SandboxSpec
from nsinit.supervisor.reaper import Reaper


class SpawnerGone(NsinitError):
    """The spawner has ended; no service can be started any more."""


class Sandboxed:
    """A service's processes: its init, its command (0 until executed), and how they ended.

    `ended` is set once the init has been reaped: with a pid namespace, every process of the sandbox is gone then.
    `wait_status` is the command's, or the init's when the init was killed before it could tell.
    """

    def __init__(self, init_pid: int, channel: "_socket.socket", exec_fd: int) -> None:
        self.init_pid = init_pid
        self.pid = 0
        self.ended = trio.Event()
        self.wait_status: int | None = None
        self.failure: LaunchError | None = None
        self._channel = channel
        self._exec_fd = exec_fd

    async def executed(self) -> None:
        """Return when the command has been executed, or never will be; then `pid` or `failure` is set.

        Neither is when the init was killed meanwhile.
        """
        try:
            await trio.lowlevel.wait_readable(self._exec_fd)
        finally:
            os.close(self._exec_fd)
        self.read()

    def read(self) -> None:
        """Take the records that have come."""
        while True:
            try:
                record = report.receive(self._channel)
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


class Spawner:
    """Talks to the spawner process over `socket`."""

    def __init__(self, socket: "_socket.socket", reaper: Reaper) -> None:
        socket.setblocking(False)
        self._socket = socket
        self._reaper = reaper
        self._results: dict[int, int] = {}
        self._number = 0
        self._sending = trio.Lock()
        self._changed = trio.Event()
        self._gone = False

    async def run(self) -> None:
        """Take the spawner's answers until it ends or we are cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._socket.fileno())
            try:
                content = self._socket.recv(MAX_REQUEST)
            except BlockingIOError:
                continue
            except ConnectionError:
                content = b""
            self._gone = not content
            if content:
                number, pid = marshal.loads(content)
                self._results[number] = pid
            self._changed.set()
            self._changed = trio.Event()
            if self._gone:
                return

    async def start(self, spec: SandboxSpec, fds: Sequence[tuple[int, int]]) -> Sandboxed:
        """Start a sandbox up to its init; `fds` are (number inside, descriptor here).

        Raises:
            LaunchError: it could not even get that far.
            SpawnerGone: there is nobody to ask.
        """
        receiver, sender = report.channel()
        exec_read, exec_write = os.pipe2(os.O_CLOEXEC)
        self._reaper.launching(1)
        try:
            spec.fds = [(inside, index) for index, (inside, _) in enumerate(fds)]
            self._number += 1
            number = self._number
            content = marshal.dumps((number, spec.to_dict()))
            await self._send(content, [sender.fileno(), exec_write, *(fd for _, fd in fds)])
            sender.close()
            os.close(exec_write)
            exec_write = -1
            sandboxed = Sandboxed(await self._answer(number), receiver, exec_read)
            if sandboxed.init_pid:
                self._reaper.expect(sandboxed.init_pid, sandboxed.on_exit)
            else:
                sandboxed.on_exit(0)
        except BaseException:
            receiver.close()
            os.close(exec_read)
            raise
        finally:
            self._reaper.launching(-1)
            sender.close()
            if exec_write >= 0:
                os.close(exec_write)
        return sandboxed

    async def _send(self, content: bytes, fds: list[int]) -> None:
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds).tobytes())]
        async with self._sending:
            while True:
                if self._gone:
                    raise SpawnerGone("the spawner has ended: stop and start this supervisor")
                try:
                    self._socket.sendmsg([content], ancillary)
                    return
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._socket.fileno())
                except ConnectionError:
                    self._gone = True

    async def _answer(self, number: int) -> int:
        while number not in self._results:
            if self._gone:
                raise SpawnerGone("the spawner has ended: stop and start this supervisor")
            await self._changed.wait()
        return self._results.pop(number)
