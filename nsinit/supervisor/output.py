"""What services and the supervisor say: captured line by line, kept in memory, and shown on the console.

A service's pipes are made once and outlive its restarts, so nothing is lost between a crash and its successor. Reading
never waits for the console: its queue is bounded, drops the oldest text when the reader is too slow, and says so.
"""

import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import msgspec
import trio

from nsinit.supervisor.lines import LineSplitter
from nsinit.supervisor.model import LogLine, Stream
from nsinit.supervisor.ring import Ring

_READ_BYTES = 65536
_CONSOLE_BYTES = 1 << 20
_CHUNK_BYTES = 4096  # PIPE_BUF: after poll says that a pipe is writable, that much does not block
_PIPE_BYTES = 1 << 16  # a pipe's capacity, unless somebody has changed it
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
_FOLLOWER_LINES = 4096


class Console:
    """Writes text to one descriptor without ever blocking the supervisor. `dropped` words what had to go."""

    def __init__(self, descriptor: int = 1, log_format: str = "console") -> None:
        self._fd = _reopened(descriptor)
        self._notice = _NOTICES[log_format]
        self.colour = log_format == "console" and os.isatty(descriptor)
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._more = trio.Event()
        self._idle = trio.Event()
        self._idle.set()

    def write(self, text: str) -> None:
        """Queue `text`; whole writes are dropped, oldest first, when the reader is too slow."""
        data = text.encode("utf-8", "replace")
        self._queue.append(data)
        self._size += len(data)
        while self._size > _CONSOLE_BYTES and len(self._queue) > 1:
            self._size -= len(self._queue.popleft())
            self._dropped += 1
        self._idle = trio.Event() if self._idle.is_set() else self._idle
        self._more.set()

    def flush(self) -> None:
        """Part of a file's interface; writing is the task's work."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is queued, until cancelled; a reader that has gone ends the console, not the supervisor."""
        task_status.started()
        try:
            while True:
                await self._more.wait()
                self._more = trio.Event()
                while self._queue:
                    await self._write(self._take())
                self._idle.set()
        except OSError:
            while True:
                self._queue.clear()
                self._size = 0
                self._idle.set()
                await self._more.wait()
                self._more = trio.Event()

    async def drained(self) -> None:
        """Return when everything has been written."""
        await self._idle.wait()

    def _take(self) -> bytes:
        data = self._queue.popleft()
        self._size -= len(data)
        if self._dropped:
            data = self._notice(self._dropped).encode() + data
            self._dropped = 0
        return data

    async def _write(self, data: bytes) -> None:
        while data:
            try:
                await trio.lowlevel.wait_writable(self._fd)
            except PermissionError:
                await trio.lowlevel.checkpoint()  # a regular file: epoll refuses it, and it never blocks
            try:
                data = data[os.write(self._fd, data[:_CHUNK_BYTES]) :]
            except BlockingIOError:
                pass  # others write to the same terminal


def _reopened(descriptor: int) -> int:
    """A terminal, opened anew and non-blocking; anything else as it is.

    A terminal that is nearly full says that it is writable, and then blocks a longer write. The flag can't be set on
    the descriptor that we were given: it would hold for the shell, too, which shares the open file.
    """
    if not os.isatty(descriptor):
        return descriptor
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return descriptor  # somebody else's terminal, or no /proc


def _notice_in_words(lines: int) -> str:
    return f"nsinit: the console is too slow: {lines} lines were not shown, see `nsinit logs`\n"


def _notice_in_json(lines: int) -> str:
    return msgspec.json.encode({"event": "console.too_slow", "level": "warning", "lines": lines}).decode() + "\n"


_NOTICES: dict[str, Callable[[int], str]] = {"console": _notice_in_words, "json": _notice_in_json}


class Journal:
    """All lines of all services, numbered in the order of their arrival."""

    def __init__(self, show: Callable[[LogLine], None]) -> None:
        self._show = show
        self._rings: dict[str, Ring] = {}
        self._seq = 0
        self._followers: set[trio.MemorySendChannel[LogLine]] = set()

    def add(self, service: str, stream: Stream, data: bytes) -> None:
        """Take one line of a service."""
        self._seq += 1
        text = data.decode("utf-8", "replace")
        line = LogLine(seq=self._seq, time=time.time(), service=service, stream=stream, text=text)
        self._rings.setdefault(service, Ring()).append(line)
        self._show(line)
        for follower in list(self._followers):
            try:
                follower.send_nowait(line)
            except (trio.WouldBlock, trio.BrokenResourceError):
                pass  # too slow, or gone: it sees the gap in `seq`

    def tail(self, services: Iterable[str], count: int | None) -> list[LogLine]:
        """The last `count` lines of each service, merged in order."""
        found = [line for name in services if name in self._rings for line in self._rings[name].tail(count)]
        return sorted(found, key=lambda line: line.seq)

    def forget(self, service: str) -> None:
        """The service has been removed."""
        self._rings.pop(service, None)

    @asynccontextmanager
    async def follow(self, names: Iterable[str]) -> AsyncIterator[AsyncIterator[LogLine]]:
        """The lines from now on, of `names`, or of all when that is empty."""
        send, receive = trio.open_memory_channel[LogLine](_FOLLOWER_LINES)
        self._followers.add(send)
        try:
            yield _Lines(receive, set(names))
        finally:
            self._followers.discard(send)
            send.close()
            receive.close()


class _Lines(AsyncIterator[LogLine]):
    """The lines of some services; no generator, because nobody can be made to close one."""

    def __init__(self, receive: trio.MemoryReceiveChannel[LogLine], wanted: set[str]) -> None:
        self._receive = receive
        self._wanted = wanted

    async def __anext__(self) -> LogLine:
        async for line in self._receive:
            if not self._wanted or line.service in self._wanted:
                return line
        raise StopAsyncIteration


class Capture:
    """The two pipes that a service writes to, for as long as the supervisor knows it."""

    def __init__(self, service: str, journal: Journal) -> None:
        self._service = service
        self._journal = journal
        self._pipes: dict[Stream, tuple[int, int]] = {}
        for stream in ("stdout", "stderr"):
            read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(read_fd, False)
            self._pipes[stream] = (read_fd, write_fd)
        self._splitters: dict[Stream, LineSplitter] = {stream: LineSplitter() for stream in self._pipes}

    @property
    def write_fds(self) -> tuple[int, int]:
        """The descriptors for stdout and stderr."""
        return self._pipes["stdout"][1], self._pipes["stderr"][1]

    async def run(self) -> None:
        """Read until cancelled."""
        async with trio.open_nursery() as nursery:
            for stream in self._pipes:
                nursery.start_soon(self._follow, stream)

    async def _follow(self, stream: Stream) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._pipes[stream][0])
            self._read(stream)

    def _read(self, stream: Stream) -> bool:
        try:
            data = os.read(self._pipes[stream][0], _READ_BYTES)
        except BlockingIOError:
            return False
        for line in self._splitters[stream].feed(data):
            self._journal.add(self._service, stream, line)
        return bool(data)

    def drain(self) -> None:
        """Take what is in the pipes now, and what had no newline: the run has ended."""
        for stream, splitter in self._splitters.items():
            # No more than a pipe holds: a process that has escaped may write for ever.
            for _ in range(_PIPE_BYTES // _READ_BYTES + 1):
                if not self._read(stream):
                    break
            for line in splitter.flush():
                self._journal.add(self._service, stream, line)

    def close(self) -> None:
        """Close the pipes."""
        for ends in self._pipes.values():
            for descriptor in ends:
                trio.lowlevel.notify_closing(descriptor)
                os.close(descriptor)


def console_renderer(console: Console, log_format: str) -> Callable[[LogLine], None]:
    """How a service's line is shown: "NAME | text", in colour in a terminal, or as one JSON object."""
    if log_format == "json":
        return lambda line: console.write(msgspec.json.encode(line).decode() + "\n")

    def show(line: LogLine) -> None:
        name = f"{line.service:<12}"
        if console.colour:
            name = f"\x1b[{_COLOURS[sum(line.service.encode()) % len(_COLOURS)]}m{name}\x1b[0m"
        console.write(f"{name} | {line.text}\n")

    return show
