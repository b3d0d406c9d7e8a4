"""The last steps of the process that becomes the command: identity, directory, descriptors, signals, execve.

Runs with the sandbox's root already entered: nothing is imported, nothing is looked up through NSS, and every failure
is data (see report.py).
"""

import fcntl
import os

from nsinit.errors import LaunchError
from nsinit.kernel import process, signals
from nsinit.sandbox import passwd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsinit.sandbox.rootfs import Stage
    from nsinit.sandbox.spec import SandboxSpec

_DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENOENT, _ENOEXEC, _EACCES, _ENOTDIR = 2, 8, 13, 20
NOT_FOUND, NOT_EXECUTABLE = 127, 126


def prepare(spec: "SandboxSpec", stage: "Stage", may_set_groups: bool) -> None:
    """Become what `spec` wants the command to be, up to its descriptors; `stage.name` says what failed.

    `may_set_groups` is what the function of that name said before the root changed.
    """
    if spec.user is not None:
        stage.name = "change identity"
        _become(spec, spec.user, may_set_groups)
    if spec.umask is not None:
        os.umask(spec.umask)
    if spec.chdir is not None:
        stage.name = "change directory"
        os.chdir(spec.chdir)
        if not os.getcwd().startswith("/"):  # "(unreachable)": a descriptor of another root (CVE-2024-21626)
            raise LaunchError("change directory", _ENOENT, spec.chdir, "it is outside the sandbox")
    if spec.pdeathsig:
        stage.name = "set the parent-death signal"
        process.set_parent_death_signal(spec.pdeathsig)


def _become(spec: "SandboxSpec", text: str, may_set_groups: bool) -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user = passwd.find_user(text, root)
    finally:
        os.close(root)
    if may_set_groups:
        os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    for key, value in ((b"HOME", user.home or b"/"), (b"USER", user.name), (b"LOGNAME", user.name)):
        if value:
            spec.env.setdefault(key, value)


def may_set_groups() -> bool:
    """Whether this user namespace allows setgroups at all: one that an ordinary user mapped alone does not.

    To be asked before the root changes: the /proc of another root may be a fake.
    """
    try:
        with open("/proc/self/setgroups", "rb") as file:
            return file.read(5) == b"allow"
    except OSError:
        return os.geteuid() == 0


def lift(spec: "SandboxSpec", descriptors: list[int]) -> list[int]:
    """Duplicate descriptors (close-on-exec) above every number that the command is to have."""
    floor = max([64, *(inside + 1 for inside, _ in spec.fds)])
    return [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor) for fd in descriptors]


def place_descriptors(spec: "SandboxSpec") -> None:
    """Give the command the descriptors it is meant to have, and have exec close all others."""
    # Through high numbers first: a source may have the number that another one is to get.
    lifted = lift(spec, [fd for _, fd in spec.fds])
    numbers = sorted({0, 1, 2, *(inside for inside, _ in spec.fds)})
    for (inside, _), fd in zip(spec.fds, lifted, strict=True):
        os.dup2(fd, inside, inheritable=True)
    for before, after in zip(numbers, [*numbers[1:], None], strict=True):
        if after is None:
            process.close_range(before + 1, flags=process.CLOSE_RANGE_CLOEXEC)
        else:
            process.close_range(before + 1, after - 1, process.CLOSE_RANGE_CLOEXEC)


def restore_signals(spec: "SandboxSpec") -> None:
    """Give the command the dispositions and the mask that nsinit itself was started with."""
    for number in signals.PYTHON_IGNORES:
        if number not in spec.ignored:
            signals.set_default(number)
    if signals.is_python_handled(signals.SIGINT):
        signals.set_default(signals.SIGINT)
    for number in spec.ignored:
        signals.set_ignored(number)
    signals.set_blocked(spec.blocked)


def candidates(name: bytes, path: bytes | None) -> list[bytes]:
    """The files that `name` may mean, in the order in which execvp would try them."""
    if b"/" in name:
        return [name]
    folders = (_DEFAULT_PATH if path is None else path).split(b":")
    return [(folder or b".") + b"/" + name for folder in folders]


def execute(spec: "SandboxSpec") -> None:
    """Replace this process by the command; returns only by raising LaunchError (127 not found, 126 not executable)."""
    name = spec.argv[0]
    failure = _ENOENT
    for path in candidates(name, spec.env.get(b"PATH")) if name else []:
        try:
            os.execve(path, spec.argv, spec.env)
        except OSError as error:
            number = error.errno or 0
            if number == _ENOEXEC:
                # A script without #!: POSIX has it run by sh.
                os.execve(b"/bin/sh", [b"sh", path, *spec.argv[1:]], spec.env)
            if number not in (_ENOENT, _ENOTDIR):
                failure = number
            if number not in (_ENOENT, _ENOTDIR, _EACCES):
                break
    text = os.fsdecode(name)
    if failure == _ENOENT:
        where = "there is no such file, or its interpreter is missing" if b"/" in name else "it is not in PATH"
        raise LaunchError("execute", failure, text, where, NOT_FOUND)
    remedy = "it is not an executable file, or a directory above it can't be searched" if failure == _EACCES else ""
    raise LaunchError("execute", failure, text, remedy, NOT_EXECUTABLE)
