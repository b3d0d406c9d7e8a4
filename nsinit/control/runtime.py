"""Where running supervisors are found: one directory each, RUNTIME/NAME/{lock,socket,info.json}.

The lock decides whether a supervisor lives, never a pid. What a killed one left behind counts for nothing, and is
removed by the next one of that name.
"""

import os
import re
import socket
import stat
from collections.abc import Iterable, Iterator
from errno import EACCES, ELOOP, ENOENT, ENOTDIR, EPERM, errorcode

import msgspec

from nsinit import __version__
from nsinit.control import lock
from nsinit.errors import Denied, NoSupervisor, OperationFailed, UsageError

_LOCK, _SOCKET, _INFO = "lock", "socket", "info.json"
# sockaddr_un.sun_path, with its NUL.
_SOCKET_PATH_LIMIT = 107
_BACKLOG = 64
_INFO_LIMIT = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW


class RuntimeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A running supervisor: what its info.json says, and where its socket is."""

    name: str
    directory: str
    launcher_pid: int
    version: str
    path: str = ""

    @property
    def socket_path(self) -> str:
        """The control socket."""
        return f"{self.path}/{_SOCKET}"


class Claim:
    """The right to be the supervisor of a name, from `claim` to `release`.

    `lock_fd` keeps the name taken for as long as any process has it open. `listener` is the control socket, already
    listening, so that a client that comes early waits instead of failing.
    """

    def __init__(self, name: str, directory: str, path: str, lock_fd: int) -> None:
        self.name = name
        self.directory = directory
        self.path = path
        self.lock_fd = lock_fd
        self.listener = _listen(f"{path}/{_SOCKET}")
        self.announce(os.getpid())

    @property
    def socket_path(self) -> str:
        """The control socket."""
        return f"{self.path}/{_SOCKET}"

    def announce(self, launcher_pid: int) -> None:
        """Say which process is the launcher; again whenever that changes (a fork into the background)."""
        entry = {
            "name": self.name,
            "directory": self.directory,
            "launcher_pid": launcher_pid,
            "version": __version__,
        }
        temporary = f"{self.path}/.{_INFO}"
        fd = os.open(temporary, _OPEN | os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, msgspec.json.encode(entry) + b"\n")
        finally:
            os.close(fd)
        os.rename(temporary, f"{self.path}/{_INFO}")

    def set_inheritable(self, inheritable: bool) -> None:
        """Let the lock pass an exec, so that the name stays taken while the process that was executed lives."""
        os.set_inheritable(self.lock_fd, inheritable)

    def release(self) -> None:
        """Remove everything and give the name back. Once the supervisor has gone, and from one process only."""
        self.listener.close()
        _clear(self.path)
        _unlink(f"{self.path}/{_LOCK}")
        try:
            os.rmdir(self.path)
        except OSError:
            pass  # the next one is here already
        os.close(self.lock_fd)


def claim(name: str, directory: str) -> Claim:
    """Take a name for a supervisor of `directory`; what a killed one left behind is removed.

    Raises:
        OperationFailed: a supervisor of that name is running, or there is no place for its files.
    """
    check_name(name)
    root, *others = _roots()
    try:
        os.makedirs(root, 0o700, exist_ok=True)
        _check_root(root)
    except OSError as error:
        raise _no_place(root, error) from error
    for other in others:
        for entry in _entries(other):
            if entry.name == name:
                raise _taken(entry.name, entry)
    path = f"{root}/{name}"
    if len(f"{path}/{_SOCKET}".encode()) > _SOCKET_PATH_LIMIT:
        raise OperationFailed(
            f"cannot make the socket {path}/{_SOCKET}: its path is longer than {_SOCKET_PATH_LIMIT} bytes: "
            "choose a shorter --name or NSINIT_RUNTIME_DIR"
        )
    try:
        lock_fd = lock.acquire(f"{path}/{_LOCK}")
        if lock_fd is None:
            raise _taken(name, _read_entry(path))
        try:
            _clear(path)
            return Claim(name, os.path.realpath(directory), path, lock_fd)
        except OSError:
            os.close(lock_fd)
            raise
    except OSError as error:
        raise _no_place(path, error) from error


def place() -> str:
    """The directory in which a supervisor of the caller's would have its own; it is not made if it isn't there.

    Raises:
        OperationFailed: it could not be made, or others may enter it.
    """
    root = above = _roots()[0]
    if os.path.lexists(root):
        _check_root(root)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.access(above, os.W_OK | os.X_OK):
        raise _no_place(root, OSError(EACCES, ""))
    return root


def entries() -> list[RuntimeEntry]:
    """All running supervisors that the caller may look for, by name.

    Raises:
        Denied: the runtime directory is someone else's.
    """
    found = {entry.path: entry for root in _roots() for entry in _entries(root)}
    return sorted(found.values(), key=lambda entry: (entry.name, entry.path))


def find(directory: str = ".", name: str | None = None) -> RuntimeEntry:
    """The running supervisor of that name; without a name that of `directory`, or of `services` in it.

    Raises:
        NoSupervisor: there is none; the message names those that run.
        UsageError: the directory has several.
    """
    running = entries()
    if name is not None:
        matches = [entry for entry in running if entry.name == name]
        wanted = name
    else:
        places = [os.path.realpath(directory), os.path.realpath(os.path.join(directory, "services"))]
        matches = [entry for entry in running if entry.directory in places]
        wanted = places[1] if os.path.isdir(places[1]) else places[0]
    if len(matches) > 1:
        names = ", ".join(entry.name for entry in matches)
        raise UsageError(f"several supervisors run for {wanted}: choose one with --name: {names}")
    if not matches:
        others = ", ".join(entry.name for entry in running)
        choice = f", or choose one that runs with --name: {others}" if others else ""
        raise NoSupervisor(f"no supervisor runs for {wanted}: start one with `nsinit up`{choice}")
    return matches[0]


def check_name(name: str) -> None:
    """Raises UsageError unless the name can be that of a supervisor."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be a supervisor's name: at most 64 letters, digits, '_', '.' and '-', "
            "a letter or a digit first"
        )


def hidden_from_services(own: str, needed: Iterable[str]) -> list[str]:
    """The directories that services must not see: sockets in them would take their uid for their owner's.

    All runtime directories of this user that there are; but one that holds a path which is `needed` inside gives way
    to `own`, the directory of the one supervisor.
    """
    paths = [os.path.abspath(path) for path in needed]
    roots = [root for root in _roots() if os.path.isdir(root)]
    free = [root for root in roots if not any(f"{path}/".startswith(f"{root}/") for path in paths)]
    covered = any(own.startswith(f"{root}/") for root in free)
    return free if covered else [*free, own]


def _roots() -> list[str]:
    """The runtime directory, then the others where a supervisor of this user may have been started.

    A login shell has XDG_RUNTIME_DIR where a systemd unit has not: both must find the same supervisors. That of
    another user, as `su` leaves it, is not ours to use.
    """
    if given := os.environ.get("NSINIT_RUNTIME_DIR"):
        return [os.path.abspath(given)]
    uid = os.geteuid()
    # Root may find /run read-only, as in a service, or another's: an ordinary user is root in a user namespace.
    plain = "/run/nsinit" if uid == 0 and os.access("/run", os.W_OK) else f"/tmp/nsinit-{uid}"
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    try:
        ours = os.path.isabs(session) and os.stat(session).st_uid == uid
    except OSError:
        ours = False
    return [f"{session.rstrip('/')}/nsinit", plain] if ours else [plain]


def _check_root(root: str) -> None:
    found = os.lstat(root)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OperationFailed(
            f"cannot use {root} for control sockets: it must be a directory of yours with mode 0700 and no link: "
            "remove it, or set NSINIT_RUNTIME_DIR"
        )


def _entries(root: str) -> Iterator[RuntimeEntry]:
    try:
        owner = os.lstat(root)
        names = sorted(os.listdir(root))
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR):
            return
        name = errorcode.get(error.errno or 0, str(error))
        raise Denied(f"cannot read {root}: {name}: only the owner of its supervisors and root may") from error
    # A directory that another user made in /tmp must not lead us to that user's sockets.
    if not stat.S_ISDIR(owner.st_mode) or os.geteuid() not in (0, owner.st_uid):
        raise Denied(f"cannot look for supervisors in {root}: it is not yours: set NSINIT_RUNTIME_DIR")
    for name in names:
        path = f"{root}/{name}"
        try:
            entry = _read_entry(path) if lock.is_held(f"{path}/{_LOCK}") else None
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR, ELOOP, EACCES, EPERM):
                raise
            continue
        if entry is not None:
            yield entry


def _read_entry(path: str) -> RuntimeEntry | None:
    """What info.json says; None as long as it says nothing."""
    try:
        fd = os.open(f"{path}/{_INFO}", _OPEN | os.O_RDONLY)
    except OSError:
        return None
    try:
        entry = msgspec.json.decode(os.read(fd, _INFO_LIMIT), type=RuntimeEntry)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    finally:
        os.close(fd)
    return msgspec.structs.replace(entry, path=path)


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    return listener


def _clear(path: str) -> None:
    """Remove all but the lock."""
    for name in (_SOCKET, _INFO, f".{_INFO}"):
        _unlink(f"{path}/{name}")


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _taken(name: str, entry: RuntimeEntry | None) -> OperationFailed:
    details = f" (pid {entry.launcher_pid}) for {entry.directory}" if entry else ""
    return OperationFailed(
        f"a supervisor {name} is already running{details}: stop it with `nsinit --name {name} down`, "
        "or choose another --name"
    )


def _no_place(path: str, error: OSError) -> OperationFailed:
    reason = errorcode.get(error.errno or 0, str(error))
    return OperationFailed(f"cannot use {path} for a control socket: {reason}: set NSINIT_RUNTIME_DIR to another place")
