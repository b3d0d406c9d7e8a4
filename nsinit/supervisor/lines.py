"""Bytes as they come out of a pipe, cut into lines.

Nothing is lost and nothing is invented: the pieces, joined with a newline between lines, are what went in. The buffer
never holds more than one line, and a line never more than `max_line_bytes`, whatever a service writes.
"""


class LineSplitter:
    """One stream's lines. A line without end is kept for its rest, up to `max_line_bytes`, and then cut."""

    __slots__ = ("_cut", "_max_line_bytes", "_partial")

    def __init__(self, max_line_bytes: int = 16 << 10) -> None:
        if max_line_bytes < 1:
            raise ValueError(f"a line needs room for one byte at least, not {max_line_bytes}")
        self._max_line_bytes = max_line_bytes
        self._partial = bytearray()
        # The line so far was cut exactly at its newline, if that comes next: then it has no further piece.
        self._cut = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read; return the lines that are whole now, without their newlines."""
        lines: list[bytes] = []
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._extend(piece, lines)
            if self._partial or not self._cut:
                lines.append(bytes(self._partial))
                self._partial.clear()
            self._cut = False
        self._extend(rest, lines)
        return lines

    def flush(self) -> list[bytes]:
        """At the end of the stream: the last line, if it had no newline."""
        lines = [bytes(self._partial)] if self._partial else []
        self._partial.clear()
        self._cut = False
        return lines

    def _extend(self, piece: bytes, lines: list[bytes]) -> None:
        """Add to the line so far; cut off full pieces."""
        self._partial += piece
        if len(self._partial) < self._max_line_bytes:
            return
        whole = len(self._partial) - len(self._partial) % self._max_line_bytes
        for at in range(0, whole, self._max_line_bytes):
            lines.append(bytes(self._partial[at : at + self._max_line_bytes]))
        del self._partial[:whole]
        self._cut = True
