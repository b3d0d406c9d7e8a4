"""The last steps of the process that becomes the command: identity, directory, descriptors, signals, execve.

Runs with the sandbox's root already entered: nothing is imported, nothing is looked up through NSS, and every failure
is data (see report.py).
"""

import fcntl
import os

from nsinit.errors import KernelError, LaunchError
from nsinit.kernel import mounts, process, signals
from nsinit.sandbox import passwd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsinit.sandbox.rootfs import Stage
    from nsinit.sandbox.spec import SandboxSpec

_DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENOENT, _ENOEXEC, _EACCES, _ENOTDIR = 2, 8, 13, 20
NOT_FOUND, NOT_EXECUTABLE = 127, 126
_ELOOP = 40
_NO_KEYRINGS = (1, 38, 95)  # EPERM, ENOSYS, EOPNOTSUPP
_EDQUOT = 122
_HEAD_BYTES = 256  # of a file, in which the kernel looks for #! (BINPRM_BUF_SIZE)
_INTERPRETERS = 6  # a script's interpreter may be a script, and so on (BINPRM_MAX_RECURSION)
_REMEDIES = {
    _EACCES: "it is not an executable file, or a directory above it can't be searched",
    _ENOEXEC: "it is no program for this machine, and no script with an interpreter",
}


def leave_keyring(shared: bool = False) -> None:
    """Take no key along that whoever started us has in its session keyring.

    `shared`: where the user may have no further keyring, the one that there is does no harm.
    """
    try:
        process.start_session_keyring()
    except KernelError as error:
        # A kernel without keys, or a container that forbids them, has none to protect.
        if error.errno not in _NO_KEYRINGS and not (shared and error.errno == _EDQUOT):
            raise


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


def _run_script(path: bytes, spec: "SandboxSpec") -> int:
    """Execute a script without #!, as POSIX has it: by sh. Returns the errno that says why it can't be."""
    try:
        _execve(b"/bin/sh", [b"sh", path, *spec.argv[1:]], spec.env)
    except OSError:
        pass  # there is no sh: what counts is that the file is no program
    return _ENOEXEC


def _own_executable() -> "os.stat_result | None":
    try:
        return os.stat("/proc/self/exe")
    except OSError:
        return None


# As the outside has it: looked up at import.
_OWN_EXECUTABLE = _own_executable()


def _execve(path: bytes, argv: list[bytes], env: dict[bytes, bytes]) -> None:
    """os.execve, but never of our own executable by way of /proc (CVE-2019-5736).

    It would run as the command, which then has a way to a file outside: /proc/self/exe of its own.
    """
    if _leads_to_us(path):
        raise LaunchError("execute", _EACCES, os.fsdecode(path), "it leads to nsinit's own program", NOT_EXECUTABLE)
    os.execve(path, argv, env)


def _leads_to_us(path: bytes) -> bool:
    """Whether `path`, or the interpreter of that script, is a magic link to the executable of this process."""
    for _ in range(_INTERPRETERS):
        try:
            fd = mounts.open_plainly(os.fsdecode(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            return error.errno == _ELOOP and _is_own_executable(path)
        try:
            head = os.read(fd, _HEAD_BYTES)
        except OSError:
            return False
        finally:
            os.close(fd)
        words = head.split(b"\n", 1)[0].split(b"\0", 1)[0].replace(b"\t", b" ")[2:].split(maxsplit=1)
        if not head.startswith(b"#!") or not words:
            return False
        path = words[0]
    return False


def _is_own_executable(path: bytes) -> bool:
    try:
        return _OWN_EXECUTABLE is not None and os.path.samestat(os.stat(path), _OWN_EXECUTABLE)
    except OSError:
        return False


def execute(spec: "SandboxSpec") -> None:
    """Replace this process by the command; returns only by raising LaunchError (127 not found, 126 not executable)."""
    name = spec.argv[0]
    failure = _ENOENT
    for path in candidates(name, spec.env.get(b"PATH")) if name else []:
        try:
            _execve(path, spec.argv, spec.env)
        except OSError as error:
            number = error.errno or 0
            if number == _ENOEXEC:
                number = _run_script(path, spec)
            if number not in (_ENOENT, _ENOTDIR):
                failure = number
            if number not in (_ENOENT, _ENOTDIR, _EACCES):
                break
    text = os.fsdecode(name)
    if failure == _ENOENT:
        where = "there is no such file, or its interpreter is missing" if b"/" in name else "it is not in PATH"
        raise LaunchError("execute", failure, text, where, NOT_FOUND)
    raise LaunchError("execute", failure, text, _REMEDIES.get(failure, ""), NOT_EXECUTABLE)
