"""The last log lines, kept in memory for `logs`: bounded in bytes, in order, with numbers that show what is missing."""

from collections import deque
from itertools import islice, takewhile

from nsinit.supervisor.model import LogLine

# What a LogLine costs beside its text: the struct, the string's header, an int and a float (CPython, 64 bits).
OVERHEAD_BYTES = 200


class Ring:
    """The newest lines that fit into `limit_bytes`, and always the newest. `dropped` counts those that had to go."""

    __slots__ = ("_limit_bytes", "_lines", "_size_bytes", "dropped")

    def __init__(self, limit_bytes: int = 256 << 10) -> None:
        self._limit_bytes = limit_bytes
        self._lines: deque[LogLine] = deque()
        self._size_bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._lines)

    def append(self, line: LogLine) -> None:
        """Keep a line, which must have a higher `seq` than all before; let the oldest ones go to make room."""
        self._lines.append(line)
        self._size_bytes += _cost(line)
        while self._size_bytes > self._limit_bytes and len(self._lines) > 1:
            self._size_bytes -= _cost(self._lines.popleft())
            self.dropped += 1

    def tail(self, count: int | None = None) -> list[LogLine]:
        """The last `count` lines, oldest first; None: all."""
        return list(islice(reversed(self._lines), count and max(count, 0)))[::-1]

    def since(self, seq: int) -> list[LogLine]:
        """The lines with a number of `seq` or higher, oldest first."""
        # From the newest end: whoever has read all but the last few must not cost a walk over all of them.
        return list(takewhile(lambda line: line.seq >= seq, reversed(self._lines)))[::-1]


def _cost(line: LogLine) -> int:
    # UTF-8 length would be a copy of the text each time; a character counts as one byte, as most are.
    return len(line.text) + OVERHEAD_BYTES
