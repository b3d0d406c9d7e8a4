"""The spawner: a small, single-threaded process that clones the init of every service of a supervisor.

It is forked before anything large is imported, and its loop is kept tiny on purpose. An init is a copy of it; a page
that either of them writes to afterwards is the init's own from then on. So the spawner does not even decode what it is
asked for: the request goes on to the new processes, and the supervisor writes the id maps.

    request   as stage.encode_request has it; with descriptors: the record channel, the exec pipe, then those of
              `spec.fds`, whose second half is an index
    answer    the pid of the init in decimal, or "-" and an errno

Source: clone(2), CLONE_PARENT.
"""

import _socket
import gc
import os

from nsinit.kernel import process, signals
from nsinit.kernel.libc import CLONE3, CLONE_ARGUMENTS_SIZE, CLOSE_RANGE, last_errno, raw_clone, raw_syscall, reference
from nsinit.sandbox import report
from nsinit.sandbox.seal import seal
from nsinit.sandbox.spec import SandboxSpec
from nsinit.sandbox.stage import become_command, decode_request, run_init

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

MAX_REQUEST = 1 << 20
_MAX_FDS = 64
# The spawner has no descriptor but these, so what comes with a request has the numbers that follow.
_REQUESTS_FD = 3
_CHANNEL_FD, _EXEC_FD, _FIRST_FD = 4, 5, 6


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
            _serve(_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, _REQUESTS_FD))
        finally:
            os._exit(125)
    theirs.close()
    return pid, ours


def _prepare(socket_fd: int) -> None:
    os.setsid()  # a service that signals its group must not reach us, nor a terminal
    for number in signals.ALL - {signals.SIGKILL, signals.SIGSTOP}:
        signals.set_default(number)  # a service starts clean, even if nsinit was started by nohup
    if socket_fd != _REQUESTS_FD:
        os.dup2(socket_fd, _REQUESTS_FD)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    process.close_range(_REQUESTS_FD + 1)
    seal()
    # Pages that nobody writes to stay shared with every init: no collector may touch the objects there are.
    gc.collect()
    gc.disable()
    gc.freeze()


def _serve(requests: "_socket.socket") -> "NoReturn":
    space = _socket.CMSG_SPACE(_MAX_FDS * 4)
    receive, reply, arguments = requests.recvmsg, requests.send, process.clone_arguments(process.CLONE_PARENT)
    pointer, sibling = reference(arguments), process.CLONE_PARENT
    while True:
        content, _, _, _ = receive(MAX_REQUEST, space, _socket.MSG_CMSG_CLOEXEC)
        if not content:
            os._exit(0)
        arguments.flags = int.from_bytes(content[0:8], "little") | sibling
        pid = raw_clone(CLONE3, pointer, CLONE_ARGUMENTS_SIZE)
        if pid == 0:
            break
        reply(b"%d" % (pid if pid > 0 else -last_errno()))
        raw_syscall(CLOSE_RANGE, _CHANNEL_FD, -1, 0)
    os._exit(run_init(content, _CHANNEL_FD, _become_command, False, False))


def _become_command(request: bytes) -> "NoReturn":
    spec = SandboxSpec.from_dict(decode_request(request)[1])
    spec.fds = [(inside, _FIRST_FD + index) for inside, index in spec.fds]
    become_command(spec, report.Sender(_CHANNEL_FD), _EXEC_FD)
