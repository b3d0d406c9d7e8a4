"""A person at a terminal: a command on a pty of its own, keys sent to it, text expected from it."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.accounts import Account
from tests.support.waiting import PATIENCE_S, Deadline, poll_until, remaining, wait_gone

CTRL_C = b"\x03"
CTRL_D = b"\x04"
CTRL_Z = b"\x1a"
CTRL_BACKSLASH = b"\x1c"
PROMPT = "ready> "
_BASH = ("/bin/bash", "--norc", "--noprofile", "--noediting", "-i")


class Terminal:
    """The master side of a pty and the session leader on its slave (`process`); use it as a context manager."""

    def __init__(
        self,
        argv: Sequence[str | bytes | os.PathLike[str]] | None,
        *,
        env: Mapping[str, str],
        cwd: str | Path,
        owner: Account,
        **identity: Any,
    ) -> None:
        """Start `argv`, or an interactive bash whose prompt is `PROMPT`."""
        self.seen = ""
        self._master_fd, slave_fd = os.openpty()
        try:
            self.resize(24, 200)
            os.fchown(slave_fd, owner.uid, -1)
            # setsid(1) makes the slave the controlling terminal, which Popen can't, and is then replaced.
            self.process = subprocess.Popen(
                ["/usr/bin/setsid", "--ctty", "--", *(argv or _BASH)],
                stdin=slave_fd,
                stdout=slave_fd,
                stderr=slave_fd,
                env={**env, "PS1": PROMPT},
                cwd=cwd,
                **identity,
            )
        except BaseException:
            os.close(self._master_fd)
            raise
        finally:
            os.close(slave_fd)
        if argv is None:
            self.expect(re.escape(PROMPT))

    def __enter__(self) -> Self:
        """The terminal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Hang up, as closing the window does; a session leader that stays is killed."""
        os.close(self._master_fd)
        if remaining([self.process.pid], timeout_s=2):
            self.process.kill()
        self.process.wait()

    def send(self, keys: str | bytes) -> None:
        """Type; a line ends with a newline."""
        os.write(self._master_fd, keys.encode() if isinstance(keys, str) else keys)

    def run(self, line: str, timeout_s: float = PATIENCE_S) -> str:
        """Type a command at bash's prompt and return what it prints until the next prompt."""
        self.send(line + "\n")
        self.expect(re.escape(line) + r"\r?\n")
        return self.expect(rf"(?s)(.*?){re.escape(PROMPT)}", timeout_s)[1].replace("\r\n", "\n")

    def start(self, line: str, timeout_s: float = PATIENCE_S) -> int:
        """Type a command at bash's prompt; return its process group once it has the foreground.

        Keys such as Ctrl-Z go to the group that has the foreground at that moment: before, they would be bash's.
        """
        self.send(line + "\n")
        self.expect(re.escape(line) + r"\r?\n")
        poll_until(lambda: self.foreground_group() != self.process.pid, f"{line!r} in the foreground", timeout_s)
        return self.foreground_group()

    def expect(self, pattern: str, timeout_s: float = PATIENCE_S) -> re.Match[str]:
        """Read until the pattern matches what has come; everything up to the end of the match is then consumed.

        Raises:
            TimeoutError: with what came instead.
            EOFError: nobody has the terminal open any more; with what came instead.
        """
        deadline = Deadline(timeout_s)
        while (match := re.search(pattern, self.seen)) is None:
            if not self._read(deadline):
                raise TimeoutError(f"waited {timeout_s} s for {pattern!r}, saw {self.seen!r}")
        self.seen = self.seen[match.end() :]
        return match

    def read_to_end(self, timeout_s: float = PATIENCE_S) -> str:
        """Everything that comes until nobody has the terminal open any more."""
        deadline = Deadline(timeout_s)
        with suppress(EOFError):
            while self._read(deadline):
                pass
            raise TimeoutError(f"waited {timeout_s} s for the end, saw {self.seen!r}")
        rest, self.seen = self.seen, ""
        return rest

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """The exit status of the session leader, 128+N for signal N."""
        wait_gone(self.process.pid, timeout_s)
        status = self.process.wait()
        return status if status >= 0 else 128 - status

    def resize(self, rows: int, columns: int) -> None:
        """Change the size, as dragging a window does: the foreground group gets SIGWINCH."""
        fcntl.ioctl(self._master_fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def foreground_group(self) -> int:
        """The process group that has the terminal."""
        return os.tcgetpgrp(self._master_fd)

    def _read(self, deadline: Deadline) -> bool:
        poll = select.poll()
        poll.register(self._master_fd, select.POLLIN)
        if not poll.poll(deadline.left_ms()):
            return False
        try:
            chunk = os.read(self._master_fd, 65536)
        except OSError as error:  # EIO: the slave is closed
            raise EOFError(f"the terminal was closed, saw {self.seen!r}") from error
        self.seen += chunk.decode(errors="replace")
        return True
