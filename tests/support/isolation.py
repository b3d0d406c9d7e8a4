"""A mount namespace of the tests' own, with its own /dev, /run and /tmp.

A test that goes wrong does not damage the machine (failing tests of other tools have left its /dev/null owned by an
ordinary user), and every file that appears in these directories is one of the tests'.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from tests.support import libc

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
TEMPORARY = ("/tmp", "/var/tmp", "/run", "/dev/shm")
# The machine's own /dev once this process has another: a descriptor, as no path leads to it any more.
_machine_dev_fd = -1


def isolate(needed: Iterable[Path]) -> None:
    """Give this process, which is root and has no thread yet, its own mounts and a /dev of copies.

    The directories for temporary files become empty ones, apart from the `needed` paths that lie in them.
    """
    global _machine_dev_fd
    here = os.getcwd()
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", flags=libc.MS_REC | libc.MS_PRIVATE)
    _machine_dev_fd = os.open("/dev", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    libc.mount("tmpfs", "/dev", "tmpfs", options="mode=755,size=64k")
    for original in machine_dev().iterdir():
        _copy(original, Path("/dev", original.name))
    # A path above another one brings it along.
    paths = sorted({path.resolve() for path in needed})
    for name in filter(os.path.isdir, TEMPORARY):
        _make_private(Path(name), [path for path in paths if path.is_relative_to(name)])
    os.chdir(here)  # the same directory, but not the place that has just been covered


def _make_private(directory: Path, needed: list[Path]) -> None:
    originals = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in needed}
    mode = stat.S_IMODE(directory.stat().st_mode)
    libc.mount("tmpfs", str(directory), "tmpfs", options=f"mode={mode:o}")
    for path, original_fd in originals.items():
        if not path.exists():
            path.mkdir(parents=True)
            libc.mount(f"/proc/self/fd/{original_fd}", str(path), flags=libc.MS_BIND | libc.MS_REC)
        os.close(original_fd)


def machine_dev() -> Path:
    """The machine's own /dev."""
    return Path("/dev") if _machine_dev_fd < 0 else Path(f"/proc/self/fd/{_machine_dev_fd}")


def _copy(original: Path, copy: Path) -> None:
    about = original.lstat()
    if stat.S_ISLNK(about.st_mode):
        copy.symlink_to(original.readlink())
    elif stat.S_ISCHR(about.st_mode):
        os.mknod(copy, about.st_mode, about.st_rdev)
        copy.chmod(stat.S_IMODE(about.st_mode))
        os.chown(copy, about.st_uid, about.st_gid)
    elif stat.S_ISDIR(about.st_mode):
        copy.mkdir()
        libc.mount(str(original), str(copy), flags=libc.MS_BIND | libc.MS_REC)


def device_damage() -> list[str]:
    """What is wrong with the devices everyone depends on, the tests' and the machine's own, a sentence each."""
    return _damage(Path("/dev"), "/dev") + _damage(machine_dev(), "the machine's /dev")


def _damage(directory: Path, called: str) -> list[str]:
    wrong = []
    for name, (major, minor) in DEVICES.items():
        about = (directory / name).lstat()
        if not stat.S_ISCHR(about.st_mode) or about.st_rdev != os.makedev(major, minor):
            wrong.append(f"{called}/{name} is not the character device {major}:{minor} any more")
        elif about.st_uid != 0 or stat.S_IMODE(about.st_mode) != 0o666:
            wrong.append(f"{called}/{name} has owner {about.st_uid} and mode {stat.S_IMODE(about.st_mode):o}")
    return wrong
