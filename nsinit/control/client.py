"""The control client: synchronous, on a plain socket, because the command line has to start fast.

One client is one connection. Varlink errors come out as the exceptions of `nsinit.errors` that the supervisor raised.
"""

import errno
import socket
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from nsinit.control import wire
from nsinit.control.interface import (
    NAME,
    Lines,
    LogsQuery,
    Nothing,
    Service,
    ServiceName,
    ServiceNames,
    Services,
    error_from,
)
from nsinit.errors import Denied, NoSupervisor, OperationFailed, TimedOut
from nsinit.supervisor.model import ExecContext, LogLine, ReloadReport, ServiceStatus, SupervisorInfo

R = TypeVar("R")

_RECEIVE_BYTES = 65536


class Client:
    """A connection to a supervisor.

    `timeout_s` limits each call; None waits for as long as it takes.
    """

    def __init__(self, connection: socket.socket, timeout_s: float | None = None) -> None:
        self._socket = connection
        self._timeout_s = timeout_s
        self._frames = wire.Frames(wire.REPLY_LIMIT)
        self._messages: list[bytes] = []

    @classmethod
    def connect(cls, path: str, timeout_s: float | None = None) -> Self:
        """Connect to a supervisor's socket.

        Raises:
            NoSupervisor: nobody listens there.
            Denied: the socket belongs to someone else.
        """
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except OSError as error:
            connection.close()
            raise _connect_error(path, error) from error
        return cls(connection, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; what the supervisor was asked to do goes on."""
        self._socket.close()

    def info(self) -> SupervisorInfo:
        """The supervisor itself."""
        return self._call("Info", Nothing(), SupervisorInfo)

    def list(self) -> Sequence[ServiceStatus]:
        """All services, by name."""
        return self._call("List", Nothing(), Services).services

    def status(self, name: str) -> ServiceStatus:
        """One service."""
        return self._call("Status", ServiceName(name), Service).service

    def exec_context(self, name: str) -> ExecContext:
        """Where and how a further command of this service would run."""
        return self._call("ExecContext", ServiceName(name), ExecContext)

    def start(self, names: Sequence[str]) -> None:
        """Start services; returns when they are up."""
        self._call("Start", ServiceNames([*names]), Nothing)

    def stop(self, names: Sequence[str]) -> None:
        """Stop services; returns when they have stopped."""
        self._call("Stop", ServiceNames([*names]), Nothing)

    def restart(self, names: Sequence[str]) -> None:
        """Stop and start services; returns when they are up again."""
        self._call("Restart", ServiceNames([*names]), Nothing)

    def reload(self) -> ReloadReport:
        """Have the configuration read again."""
        return self._call("Reload", Nothing(), ReloadReport)

    def wait_up(self) -> None:
        """Return when all enabled services are up."""
        self._call("WaitUp", Nothing(), Nothing)

    def shutdown(self) -> None:
        """Begin the ordered shutdown."""
        self._call("Shutdown", Nothing(), Nothing)

    def logs(self, names: Sequence[str], tail: int | None = None, *, follow: bool = False) -> Iterator[LogLine]:
        """The lines kept in memory; with `follow` also those to come, until the supervisor ends."""
        query = LogsQuery([*names], tail, follow)
        self._send(wire.Call(f"{NAME}.Logs", wire.raw(query), more=True))
        continues = True
        while continues:
            message = self._receive(None if follow else self._deadline())
            if message is None and follow:
                return
            reply = self._reply("Logs", message)
            continues = reply.continues
            yield from _decode(reply, Lines).lines

    def wait_closed(self) -> None:
        """Return when the supervisor has closed the connection.

        Raises:
            TimedOut: it hasn't within the client's timeout.
        """
        deadline = self._deadline()
        while self._receive(deadline) is not None:
            pass

    def _call(self, method: str, parameters: object, result: type[R]) -> R:
        deadline = self._deadline()
        self._send(wire.Call(f"{NAME}.{method}", wire.raw(parameters)))
        return _decode(self._reply(method, self._receive(deadline)), result)

    def _deadline(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s

    def _send(self, call: wire.Call) -> None:
        self._socket.settimeout(self._timeout_s)
        try:
            self._socket.sendall(wire.encode(call))
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before it was asked: the reason is there to be read
        except TimeoutError as error:
            raise self._timed_out() from error

    def _receive(self, deadline: float | None) -> bytes | None:
        """The next message, or None at the end of the connection."""
        while not self._messages:
            self._socket.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except ConnectionResetError:
                data = b""
            except TimeoutError as error:
                raise self._timed_out() from error
            if not data:
                return None
            self._messages = self._frames.feed(data)
        return self._messages.pop(0)

    def _timed_out(self) -> TimedOut:
        return TimedOut(f"the supervisor did not answer within {self._timeout_s:g} s; what was begun goes on")

    @staticmethod
    def _reply(method: str, message: bytes | None) -> wire.Reply:
        if message is None:
            raise OperationFailed(f"the supervisor ended before it answered {method}")
        reply = wire.decode_reply(message)
        if reply.error is not None:
            parameters = _decode(reply, dict[str, object])
            raise error_from(reply.error, str(parameters.get("reason", "")))
        return reply


def _decode(reply: wire.Reply, kind: type[R]) -> R:
    try:
        return msgspec.json.decode(reply.parameters, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise wire.WireError(f"the supervisor's answer is not understood: {error}") from error


def _connect_error(path: str, error: OSError) -> Exception:
    name = errno.errorcode.get(error.errno or 0, str(error))
    if error.errno in (errno.EACCES, errno.EPERM):
        return Denied(f"cannot connect to {path}: {name}: only the supervisor's owner and root may control it")
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
        return NoSupervisor(f"cannot connect to {path}: {name}: no supervisor there: start one with `nsinit up`")
    return OperationFailed(f"cannot connect to {path}: {name}")
