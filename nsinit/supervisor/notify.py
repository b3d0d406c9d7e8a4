"""sd_notify: how a service tells that it is ready.

Each service has a socket of its own, and every datagram is checked against the sender's credentials: it counts only
when the kernel says that the sender lives below this service's init.

Source: sd_notify(3), unix(7).
"""

import array
import os
import secrets
import socket
import stat
from collections.abc import Callable

import trio

from nsinit.errors import KernelError
from nsinit.inspect.procfs import read_status

_SO_PASSCRED = 16
_MAX_MESSAGE = 4096
# A process whose parent ends while we look has another one afterwards.
_LOOKS = 3
# Whoever sends from further down is not heard: the search must end soon, however deep a service nests its processes.
_MAX_DEPTH = 128
# As many as a message can carry (SCM_MAX_FD). The kernel closes what finds no room, and would do it in our name.
_MAX_FDS = 253


class NotifySocket:
    """One service's notification socket.

    With a directory it is a file there, for a mount namespace to show; without one it is an abstract name. The file
    is called `name`, which is short: a socket's path has 107 bytes at most.
    """

    def __init__(self, name: str, directory: str) -> None:
        self.path = f"{directory}/{name}" if directory else f"@nsinit/{secrets.token_hex(16)}"
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        plain.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 1)
        plain.bind(self.path if directory else "\0" + self.path[1:])
        if directory:
            os.chmod(self.path, 0o666)  # the service may run as anybody; the directory is closed to others
        self._socket = trio.socket.from_stdlib_socket(plain)
        self._closing = trio.CapacityLimiter(1)
        self._is_file = bool(directory)

    async def run(self, init_pid: Callable[[], int | None], received: Callable[[dict[str, str]], None]) -> None:
        """Hand every message of this service's own processes to `received`, until cancelled or closed."""
        space = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(_MAX_FDS * 4)
        while self._socket.fileno() >= 0:  # closed, perhaps, while something of it was being closed
            data, ancillary, _, _ = await self._socket.recvmsg(_MAX_MESSAGE, space)
            sender, passed = _parse(ancillary)
            owner = init_pid()
            if owner and sender and is_below(sender, owner):
                pairs = (line.partition("=") for line in data.decode("utf-8", "replace").split("\n"))
                received({key: value for key, _, value in pairs})
            # Only now: BARRIER=1 keeps the sender alive until its descriptor is closed, so that it can be looked up.
            await self._close(passed)

    async def _close(self, descriptors: list[int]) -> None:
        """Close what a service has sent. To close a socket can take as long as its owner wants (SO_LINGER)."""
        slow = [fd for fd in descriptors if not stat.S_ISFIFO(os.fstat(fd).st_mode)]
        for fd in descriptors:
            if fd not in slow:
                os.close(fd)
        if slow:
            await trio.to_thread.run_sync(_close_all, slow, abandon_on_cancel=True, limiter=self._closing)

    def close(self) -> None:
        """Close the socket and remove its file."""
        # With the socket go the messages in it, and with these what they carry.
        last = os.dup(self._socket.fileno())
        self._socket.close()
        trio.lowlevel.start_thread_soon(lambda: os.close(last), lambda _: None)
        if self._is_file:
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass


def is_below(pid: int, ancestor: int) -> bool:
    """Whether `pid` is `ancestor`, or descends from it."""
    for _ in range(_LOOKS):
        here = pid
        try:
            for _ in range(_MAX_DEPTH):
                if here in (0, 1, ancestor):
                    break
                here = read_status(here).ppid
        except KernelError:
            continue
        return here == ancestor
    return False


def _close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def _parse(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, list[int]]:
    """The sender's pid, and the descriptors that came along."""
    pid, descriptors = 0, array.array("i")
    for level, kind, data in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS:
            pid = int.from_bytes(data[:4], "little")
        elif kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return pid, descriptors.tolist()
