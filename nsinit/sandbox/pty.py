"""The user's terminal on one side, a pseudo-terminal of the command's own on the other, and what goes between.

The command never sees the user's terminal: whoever holds a terminal as its controlling one can type into it (TIOCSTI,
CVE-2017-5226). It gets the slave of a pair that was made outside, so that nothing in the sandbox could pose as one
(CVE-2025-52565); the price is that its /dev/pts does not list it.

The user's terminal is raw meanwhile: keys, Ctrl-C and Ctrl-Z too, are bytes for the slave to interpret. It gets back
what it had on every way out but SIGKILL, and it is only touched by whoever is in its foreground.

Source: pty(7), termios(3), tty_ioctl(2).
"""

import fcntl
import os
import select
import termios
from errno import EIO

from nsinit.errors import KernelError

_CHUNK = 65536
# What a pair can hold is far less; the bound is for a kernel or a sandbox that surprises.
_MAX_DRAIN = 1 << 20
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6
_RAW_IFLAG = ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
               | termios.ICRNL | termios.IXON)  # fmt: skip
_RAW_LFLAG = ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Terminal:
    """The user's terminal, and the state in which it was found."""

    __slots__ = ("_fd", "_raw", "_saved")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._saved: list[Any] = termios.tcgetattr(fd)
        self._raw = False

    def attributes(self) -> "list[Any]":
        """The attributes (tcgetattr) as they were found."""
        return self._saved

    def make_raw(self) -> None:
        """As cfmakeraw(3). In the background this stops the caller (SIGTTOU) until it is in the foreground.

        Raises:
            KernelError: EIO when the terminal has gone, or belongs to others and nobody could continue the caller.
        """
        raw = [*self._saved[:_CC], list(self._saved[_CC])]
        raw[_IFLAG] &= _RAW_IFLAG
        raw[_OFLAG] &= ~termios.OPOST
        raw[_CFLAG] = raw[_CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        raw[_LFLAG] &= _RAW_LFLAG
        raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
        try:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, raw)
        except termios.error as error:
            raise KernelError("take the terminal", error.args[0]) from None
        self._raw = True

    def restore(self) -> None:
        """Give the terminal what it had; one that has gone, or belongs to another job by now, is left alone."""
        if not self._raw:
            return
        self._raw = False
        if self.in_foreground():
            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._saved)
            except termios.error:
                pass

    def in_foreground(self) -> bool:
        """Whether the caller may change it; also when it isn't the caller's controlling terminal at all."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True


class Relay:
    """A new pseudo-terminal, and the bytes between it and the caller's standard input and output.

    Everything is driven from outside: poll `interest()`, hand what is ready to `handle`. `slave` is for the command.
    """

    __slots__ = (
        "_input_open", "_master", "_master_open", "_output_open", "_sink", "_source", "_terminal", "_to_command",
        "slave",
    )  # fmt: skip

    def __init__(self, source: int = 0, sink: int = 1) -> None:
        self._source = source
        self._sink = sink
        self._terminal = Terminal(source) if os.isatty(source) else None
        self._to_command = b""
        self._input_open = self._output_open = self._master_open = True
        # Kept open here, the slave never hangs up while the command merely closes its own; the end is its exit.
        self._master, self.slave = os.openpty()
        os.set_blocking(self._master, False)
        if self._terminal is not None:
            termios.tcsetattr(self.slave, termios.TCSANOW, self._terminal.attributes())
        self.resize()

    @property
    def hung_up(self) -> bool:
        """Whether the user's terminal, or whoever read the output, has gone."""
        return not self._output_open or (self._terminal is not None and not self._input_open)

    def start(self) -> None:
        """Take the user's terminal: raw from here on, with the size it has now."""
        if self._terminal is not None:
            self._terminal.make_raw()
        self.resize()

    def suspend(self) -> None:
        """Give the user's terminal back."""
        if self._terminal is not None:
            self._terminal.restore()

    def resume(self) -> None:
        """Take the user's terminal again after a stop, if the caller was continued in the foreground."""
        if self._terminal is None or self._terminal.in_foreground():
            try:
                self.start()
            except KernelError:
                pass  # a hangup continues whoever is stopped, too

    def resize(self) -> None:
        """Pass the user's window size on; the kernel tells the command (SIGWINCH) when it differs."""
        for fd in (self._source, self._sink):
            try:
                termios.tcsetwinsize(self._master, termios.tcgetwinsize(fd))
                return
            except termios.error:
                continue

    def interest(self) -> list[tuple[int, int]]:
        """The (descriptor, poll events) to wait for now."""
        wanted = []
        if self._master_open:
            wanted.append((self._master, select.POLLIN | (select.POLLOUT if self._to_command else 0)))
        # One chunk on its way is enough: a command that does not read must not fill our memory.
        if self._input_open and not self._to_command:
            wanted.append((self._source, select.POLLIN))
        return wanted

    def handle(self, fd: int) -> None:
        """Move what can be moved, after poll reported `fd`, one of `interest()`."""
        if fd == self._source:
            self._read_source()
        if fd == self._master:
            self._read_master()
        self._write_master()

    def finish(self) -> None:
        """Pass on what the command, which has ended, left in the pseudo-terminal.

        n_tty's read pushes everything that is still under way to it before it says that there is nothing.
        """
        moved = 0
        while moved < _MAX_DRAIN and (count := self._read_master()):
            moved += count

    def close(self) -> None:
        """Restore the user's terminal and close the pseudo-terminal."""
        self.suspend()
        os.close(self._master)
        os.close(self.slave)

    def _read_source(self) -> None:
        try:
            content = os.read(self._source, _CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != EIO:
                raise
            content = b""
        self._to_command = content
        if not content:
            self._input_open = False
            if self._terminal is None:
                self._to_command = self._end_of_input()

    def _end_of_input(self) -> bytes:
        """What says "end of file" on a terminal, twice: after a line without its end, the first only ends the line."""
        attributes = termios.tcgetattr(self._master)  # the pair has one set of them
        return bytes(attributes[_CC][termios.VEOF]) * 2 if attributes[_LFLAG] & termios.ICANON else b""

    def _read_master(self) -> int:
        try:
            content = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != EIO:
                raise
            self._master_open = False
            return 0
        self._write_sink(content)
        return len(content)

    def _write_master(self) -> None:
        if not self._to_command:
            return
        try:
            count = os.write(self._master, self._to_command)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != EIO:
                raise
            count = len(self._to_command)
        self._to_command = self._to_command[count:]

    def _write_sink(self, content: bytes) -> None:
        while content and self._output_open:
            try:
                content = content[os.write(self._sink, content) :]
            except BlockingIOError:
                # Somebody else made the caller's output non-blocking; it isn't ours to change back.
                poller = select.poll()
                poller.register(self._sink, select.POLLOUT)
                poller.poll()
            except OSError:
                self._output_open = False


def take_controlling_terminal(slave: int) -> None:
    """Make `slave` the controlling terminal of the caller, which leads a session without one."""
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
