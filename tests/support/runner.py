"""Runs nsinit the way a user does: its command, an environment of the user's own, a deadline."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from tests.support import processes
from tests.support.accounts import Account
from tests.support.installation import Installation
from tests.support.terminal import Terminal

Argument = str | bytes | os.PathLike[str]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Result(NamedTuple):
    """What a finished command left: `status` is 128+N when signal N killed the command itself."""

    status: int
    stdout: str
    stderr: str


class Process(subprocess.Popen[bytes]):
    """A running command; leaving its block kills it."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            self.kill()
        super().__exit__(kind, value, traceback)


class Runner:
    """Runs commands as one account, with a directory (`directory`) and a runtime directory of its own.

    The directory is the account's, every account can reach it, and its name is short enough for sockets below it.
    """

    def __init__(self, account: Account, directory: Path, installation: Installation) -> None:
        """`directory` does not exist yet."""
        self.account = account
        self.directory = directory
        self.python = str(installation.python)
        self.nsinit = str(installation.nsinit)
        for part in (directory, directory / "home", directory / "run", directory / "tmp"):
            part.mkdir(mode=0o700)
            os.chown(part, account.uid, account.gid)
        directory.chmod(0o755)
        self.environ = {
            "PATH": PATH,
            "HOME": str(directory / "home"),
            "TMPDIR": str(directory / "tmp"),
            "NSINIT_RUNTIME_DIR": str(directory / "run"),
            "LANG": "C.UTF-8",
            "SHELL": "/bin/sh",
            "TERM": "dumb",
            processes.MARK: os.environ[processes.MARK],
        }

    def remove(self) -> None:
        """Remove the directory; nobody runs in it any more."""
        shutil.rmtree(self.directory)

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> Path:
        """A file of the account below the directory; the directories it needs are made."""
        file = self.directory / path
        for parent in reversed(file.relative_to(self.directory).parents):
            folder = self.directory / parent
            if not folder.exists():
                folder.mkdir()
                os.chown(folder, self.account.uid, self.account.gid)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        file.chmod(mode)
        os.chown(file, self.account.uid, self.account.gid)
        return file

    def run(self, *args: Argument, **options: Any) -> Result:
        """Run `nsinit ARGS...` to its end; options as `command`'s."""
        return self.command([self.nsinit, *args], **options)

    def command(
        self,
        argv: Sequence[Argument],
        *,
        input: bytes = b"",
        timeout: float = 60.0,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        **options: Any,
    ) -> Result:
        """Run any command to its end. `env` is added to the environment; `options` are Popen's.

        Raises:
            TimeoutError: with what was printed so far; the command is killed.
        """
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        with self.popen(argv, env=env, cwd=cwd, **streams) as process:
            try:
                stdout, stderr = process.communicate(input, timeout)
            except subprocess.TimeoutExpired as error:
                seen = f"stdout {error.output!r}, stderr {error.stderr!r}"
                raise TimeoutError(f"not finished after {timeout} s: {error.cmd}: {seen}") from None
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return Result(status, _text(stdout), _text(stderr))

    def spawn(self, *args: Argument, **options: Any) -> Process:
        """Start `nsinit ARGS...`, its output in pipes and its input empty; use it as a context manager."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return self.popen([self.nsinit, *args], **(streams | options))

    def popen(
        self,
        argv: Sequence[Argument],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        **options: Any,
    ) -> Process:
        """Start any command as the account, in its directory unless `cwd` says otherwise."""
        return Process(
            argv,
            env=self.environ | dict(env or {}),
            cwd=cwd or self.directory,
            **(self._identity() | options),
        )

    def terminal(
        self,
        argv: Sequence[Argument] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> Terminal:
        """Start a command, or an interactive bash, as the leader of a session on a terminal of its own."""
        return Terminal(
            argv, env=self.environ | dict(env or {}), cwd=cwd or self.directory, owner=self.account, **self._identity()
        )

    def _identity(self) -> dict[str, Any]:
        if os.geteuid() != 0 or self.account.is_root:
            return {}
        return {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}


def _text(output: IO[bytes] | bytes | None) -> str:
    return output.decode(errors="surrogateescape") if isinstance(output, bytes) else ""
