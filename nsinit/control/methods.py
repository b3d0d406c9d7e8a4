"""The methods of the control interface: from a decoded call to the SupervisorApi, and back to replies."""

import difflib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import msgspec
import structlog
import trio

from nsinit import __version__
from nsinit.control import wire
from nsinit.control.interface import (
    DESCRIPTIONS,
    NAME,
    VARLINK_NAME,
    InterfaceName,
    Lines,
    LogsQuery,
    Nothing,
    Service,
    ServiceName,
    ServiceNames,
    Services,
    error_name,
)
from nsinit.errors import NoSuchService, NsinitError
from nsinit.supervisor.model import LogLine, ReloadReport, SupervisorApi

Send = Callable[[wire.Reply], Awaitable[None]]
Handler = Callable[[SupervisorApi, wire.Call, Send], Awaitable[None]]
P = TypeVar("P")
P_contra = TypeVar("P_contra", contravariant=True)

# Replies to Logs are cut at about this size, so that no client has to hold all lines at once.
_BATCH_BYTES = 256 << 10


class Refused(Exception):
    """A call that is answered with the varlink error of this name and these parameters."""

    def __init__(self, error: str, **parameters: str) -> None:
        super().__init__(error)
        self.error = error
        self.parameters = parameters

    def reply(self) -> wire.Reply:
        """The error as it goes over the wire."""
        return wire.Reply(error=self.error, parameters=wire.raw(self.parameters))


async def answer(api: SupervisorApi, call: wire.Call, send: Send) -> None:
    """Carry a call out and send its replies, or the error that it ends in; raises only what `send` raises."""
    try:
        await _handler(call.method)(api, call, send)
    except Exception as caught:
        error = _innermost(caught)
        if isinstance(error, (trio.BrokenResourceError, trio.ClosedResourceError)):
            raise
        await send(_refusal(call, error).reply())


def _handler(method: str) -> Handler:
    if method in _HANDLERS:
        return _HANDLERS[method]
    interface, _, _ = method.rpartition(".")
    if interface in DESCRIPTIONS:
        raise Refused(f"{VARLINK_NAME}.MethodNotFound", method=method)
    raise Refused(f"{VARLINK_NAME}.InterfaceNotFound", interface=interface)


def _innermost(error: Exception) -> Exception:
    """The only error of a group, and of the groups in it: what a nursery of the supervisor's wraps."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _refusal(call: wire.Call, error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, NsinitError):
        return Refused(error_name(error), reason=str(error))
    structlog.get_logger().error("control.bug", method=call.method, exc_info=error)
    return Refused(f"{NAME}.InternalError", reason=f"a bug in nsinit: {type(error).__name__}: {error}")


def _parameters(call: wire.Call, kind: type[P]) -> P:
    given = b"{}" if bytes(call.parameters) == b"null" else call.parameters
    try:
        return msgspec.json.decode(given, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        named = re.search(r"`\$\.(\w+)|field `(\w+)`", str(error))
        name = (named[1] or named[2]) if named else "parameters"
        raise Refused(f"{VARLINK_NAME}.InvalidParameter", parameter=name) from error


class _Method(Protocol[P_contra]):
    """One reply to one call."""

    async def __call__(self, api: SupervisorApi, given: P_contra, /) -> object: ...


def _single(kind: type[P], method: _Method[P]) -> Handler:
    async def handle(api: SupervisorApi, call: wire.Call, send: Send) -> None:
        result = await method(api, _parameters(call, kind))
        await send(wire.Reply(parameters=wire.raw(result)))

    return handle


def _known(api: SupervisorApi, names: Sequence[str]) -> Sequence[str]:
    known = [service.name for service in api.list()]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known) or 'none'}"
            raise NoSuchService(f"no service {name}: {hint}")
    return names


async def _get_info(api: SupervisorApi, given: Nothing) -> object:
    return {
        "vendor": "nsinit",
        "product": "nsinit",
        "version": __version__,
        "url": "",
        "interfaces": list(DESCRIPTIONS),
    }


async def _get_interface_description(api: SupervisorApi, given: InterfaceName) -> object:
    if given.interface not in DESCRIPTIONS:
        raise Refused(f"{VARLINK_NAME}.InterfaceNotFound", interface=given.interface)
    return {"description": DESCRIPTIONS[given.interface]}


async def _info(api: SupervisorApi, given: Nothing) -> object:
    return api.info()


async def _list(api: SupervisorApi, given: Nothing) -> object:
    return Services(list(api.list()))


async def _status(api: SupervisorApi, given: ServiceName) -> object:
    _known(api, [given.name])
    return Service(api.status(given.name))


async def _exec_context(api: SupervisorApi, given: ServiceName) -> object:
    _known(api, [given.name])
    return api.exec_context(given.name)


async def _start(api: SupervisorApi, given: ServiceNames) -> object:
    await api.start(_known(api, given.names))
    return Nothing()


async def _stop(api: SupervisorApi, given: ServiceNames) -> object:
    await api.stop(_known(api, given.names))
    return Nothing()


async def _restart(api: SupervisorApi, given: ServiceNames) -> object:
    await api.restart(_known(api, given.names))
    return Nothing()


async def _reload(api: SupervisorApi, given: Nothing) -> ReloadReport:
    return await api.reload()


async def _wait_up(api: SupervisorApi, given: Nothing) -> object:
    await api.wait_up()
    return Nothing()


async def _shutdown(api: SupervisorApi, given: Nothing) -> object:
    api.shutdown()
    return Nothing()


async def _logs(api: SupervisorApi, call: wire.Call, send: Send) -> None:
    query = _parameters(call, LogsQuery)
    names = _known(api, query.names or [])
    if query.tail is not None and query.tail < 0:
        raise Refused(f"{VARLINK_NAME}.InvalidParameter", parameter="tail")
    if not query.follow:
        lines = api.logs(names, query.tail)
        await _send_lines(list(_batches(lines)) if call.more else [lines], send, last=True)
    elif call.more:
        await _follow(api, names, query.tail, send)
    else:
        raise Refused(f"{VARLINK_NAME}.InvalidParameter", parameter="follow")


async def _follow(api: SupervisorApi, names: Sequence[str], tail: int | None, send: Send) -> None:
    async with api.follow(names) as coming:
        # Nothing is awaited between following and looking back, so no line is lost between them; one that is in
        # both is known by its number.
        past = api.logs(names, tail)
        newest = max((line.seq for line in past), default=-1)
        await _send_lines(_batches(past), send, last=False)
        async for line in coming:
            if line.seq > newest:
                await _send_lines([[line]], send, last=False)
    await _send_lines([[]], send, last=True)


async def _send_lines(batches: Iterable[Sequence[LogLine]], send: Send, *, last: bool) -> None:
    waiting: Sequence[LogLine] | None = None
    for batch in batches:
        if waiting is not None:
            await send(wire.Reply(parameters=wire.raw(Lines(list(waiting))), continues=True))
        waiting = batch
    await send(wire.Reply(parameters=wire.raw(Lines(list(waiting or []))), continues=not last))


def _batches(lines: Sequence[LogLine]) -> Iterator[Sequence[LogLine]]:
    batch: list[LogLine] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line.text) + len(line.service) + 80
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


_HANDLERS: dict[str, Handler] = {
    f"{VARLINK_NAME}.GetInfo": _single(Nothing, _get_info),
    f"{VARLINK_NAME}.GetInterfaceDescription": _single(InterfaceName, _get_interface_description),
    f"{NAME}.Info": _single(Nothing, _info),
    f"{NAME}.List": _single(Nothing, _list),
    f"{NAME}.Status": _single(ServiceName, _status),
    f"{NAME}.ExecContext": _single(ServiceName, _exec_context),
    f"{NAME}.Start": _single(ServiceNames, _start),
    f"{NAME}.Stop": _single(ServiceNames, _stop),
    f"{NAME}.Restart": _single(ServiceNames, _restart),
    f"{NAME}.Reload": _single(Nothing, _reload),
    f"{NAME}.Logs": _logs,
    f"{NAME}.WaitUp": _single(Nothing, _wait_up),
    f"{NAME}.Shutdown": _single(Nothing, _shutdown),
}
