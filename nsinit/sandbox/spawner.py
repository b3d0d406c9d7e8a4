"""The spawner: a small, single-threaded process that forks every service of a supervisor.

It is forked before anything large is imported and never starts a thread, so a service's init, which is a copy of it,
costs little memory, and fork is fast and safe. It takes one request at a time from its socket, starts the sandbox up
to its init, and answers; what the init then does (mounts, which may hang) holds nobody up.

    request   marshal (id, spec), with descriptors: the record channel, the exec pipe, then those of `spec.fds`
    answer    marshal (id, pid of the init; 0 if there is none, then a FAILED record on the channel says why)

The spawner ends when its socket closes.
"""

import _socket
import array
import gc
import marshal
import os

from nsinit.errors import LaunchError
from nsinit.kernel import process, signals
from nsinit.sandbox import report
from nsinit.sandbox.launch import start
from nsinit.sandbox.spec import SandboxSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

MAX_REQUEST = 1 << 20
_MAX_FDS = 64


def fork_spawner() -> "tuple[int, _socket.socket]":
    """Fork the spawner; return its pid and a socket to it. Signals must be blocked, threads must not exist."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    for end in (ours, theirs):
        end.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, MAX_REQUEST)
    pid = os.fork()
    if pid == 0:
        try:
            process.set_parent_death_signal(signals.SIGKILL)
            ours.close()
            _prepare(theirs.fileno())
            _serve(theirs)
        finally:
            os._exit(125)
    theirs.close()
    return pid, ours


def _prepare(socket_fd: int) -> None:
    os.setsid()  # a service that signals its group must not reach us, nor a terminal
    for number in signals.ALL - {signals.SIGKILL, signals.SIGSTOP}:
        signals.set_default(number)  # a service starts clean, even if nsinit was started by nohup
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    process.close_all_except({0, 1, 2, socket_fd})
    # Pages that nobody writes to stay shared with every init: no collector may touch the objects there are.
    gc.collect()
    gc.disable()
    gc.freeze()


def _serve(requests: "_socket.socket") -> "NoReturn":
    space = _socket.CMSG_SPACE(_MAX_FDS * 4)
    while True:
        content, ancillary, _, _ = requests.recvmsg(MAX_REQUEST, space, _socket.MSG_CMSG_CLOEXEC)
        if not content:
            os._exit(0)
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data[: len(data) - len(data) % 4])
        number, values = marshal.loads(content)
        requests.send(marshal.dumps((number, _start(values, fds.tolist()))))
        for descriptor in fds:
            os.close(descriptor)


def _start(values: "dict[str, Any]", fds: list[int]) -> int:
    channel_fd, exec_fd, *others = fds
    try:
        spec = SandboxSpec.from_dict(values)
        spec.fds = [(inside, others[index]) for inside, index in spec.fds]
        return start(spec, channel_fd, exec_fd)
    except LaunchError as error:
        report.Sender(channel_fd).failed(error.stage, error)
    except BaseException as error:
        report.Sender(channel_fd).failed("start", error)
    return 0
