"""The control server: varlink on a given listening socket, on trio, inside the supervisor.

It owns the listener and its connections and nothing else: every decision about services is the SupervisorApi's. One
task reads a connection and one answers it, so calls are answered in order, and a client that stops reading holds up
only itself. No client can end the supervisor: whatever it sends ends in a reply or in its connection being closed.
"""

import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable, Collection

import structlog
import trio

from nsinit.control import wire
from nsinit.control.interface import NAME
from nsinit.control.methods import Refused, answer
from nsinit.supervisor.model import SupervisorApi

CONNECTION_LIMIT = 64
# Calls that a client may send ahead of their answers; then its messages stay in the socket.
PIPELINE_LIMIT = 16
_RECEIVE_BYTES = 65536

_UCRED = struct.Struct("3i")


async def serve(
    api: SupervisorApi,
    listener_fd: int,
    allowed_uids: Collection[int],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the control interface until cancelled; owns and closes `listener_fd`, a listening unix socket.

    `allowed_uids` are user ids as this process's user namespace numbers them: there, everybody outside the id map
    is the overflow uid (65534).
    """
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=listener_fd)))
    server = _Server(api, allowed_uids)
    async with listener:
        await trio.serve_listeners(server.handle, [listener], task_status=_StartedOnce(task_status))


class _StartedOnce:
    """Passes serve_listeners' "started" on without its value."""

    def __init__(self, task_status: trio.TaskStatus[None]) -> None:
        self._task_status = task_status

    def started(self, value: object = None) -> None:
        self._task_status.started()


def may_control(pid: int, uid: int, allowed_uids: Collection[int], outside_only: bool) -> bool:
    """Whether a peer with these credentials, as SO_PEERCRED shows them here, may control the supervisor.

    A process that is not in the reader's pid namespace, nor in one below it, has pid 0. So a supervisor that is
    PID 1 of its own namespace tells its own services, whose uid 0 may well be its own, from callers outside.
    """
    return uid in allowed_uids and (pid == 0 or not outside_only)


class _Server:
    def __init__(self, api: SupervisorApi, allowed_uids: Collection[int]) -> None:
        self._api = api
        self._allowed_uids = allowed_uids
        self._outside_only = os.getpid() == 1 and api.info().namespaces
        self._connections = 0

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end; never raises for anything that a client did."""
        self._connections += 1
        try:
            refusal = self._refusal(stream)
            if refusal is None:
                await _Connection(stream, self._api).run()
            else:
                await stream.send_all(wire.encode(refusal.reply()))
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has gone: nobody is left to tell
        except* Exception as group:
            structlog.get_logger().error("control.bug", exc_info=group)
        finally:
            self._connections -= 1

    def _refusal(self, stream: trio.SocketStream) -> Refused | None:
        credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, _gid = _UCRED.unpack(credentials)
        if not may_control(pid, uid, self._allowed_uids, self._outside_only):
            return Refused(f"{NAME}.PermissionDenied", reason="only the supervisor's owner and root may control it")
        if self._connections > CONNECTION_LIMIT:
            return Refused(f"{NAME}.Busy", reason=f"the supervisor already has {CONNECTION_LIMIT} connections")
        return None


class _Connection:
    def __init__(self, stream: trio.SocketStream, api: SupervisorApi) -> None:
        self._stream = stream
        self._api = api

    async def run(self) -> None:
        """Read and answer until the client hangs up or breaks the protocol."""
        incoming, calls = trio.open_memory_channel[wire.Call](PIPELINE_LIMIT)
        async with trio.open_nursery() as nursery, calls:
            nursery.start_soon(self._read, incoming, nursery.cancel_scope.cancel)
            async for call in calls:
                await answer(self._api, call, self._sender(call))
            nursery.cancel_scope.cancel()

    async def _read(self, incoming: trio.MemorySendChannel[wire.Call], hang_up: Callable[[], None]) -> None:
        frames = wire.Frames(wire.CALL_LIMIT)
        async with incoming:
            try:
                while data := await self._stream.receive_some(_RECEIVE_BYTES):
                    for message in frames.feed(data):
                        await incoming.send(wire.decode_call(message))
            except (wire.WireError, trio.BrokenResourceError):
                hang_up()
            # The end of the client's calls may be only that (shutdown(SHUT_WR)): those it made get their answers.
            # When it has gone altogether, what it waits for, maybe for ever, is given up.
            if self._has_gone():
                hang_up()

    def _has_gone(self) -> bool:
        poll = select.poll()
        poll.register(self._stream.socket.fileno(), 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))

    def _sender(self, call: wire.Call) -> Callable[[wire.Reply], Awaitable[None]]:
        async def send(reply: wire.Reply) -> None:
            if not call.oneway:
                await self._stream.send_all(wire.encode(reply))

        return send
