"""An interpreter with nsinit that every account of the machine can run.

A checkout, its .venv and a pyenv interpreter often lie below a directory that is closed to others (/root is mode
0700). What can't be reached by others is linked or copied to a place that can.
"""

import compileall
import os
import shutil
import stat
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SKIPPED = shutil.ignore_patterns("test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "config-*")
# Tools that check and test; the code under test needs none of them.
_TOOLS = ("mypy", "mypyc", "ruff", "hypothesis", "_pytest", "pytest", "pip", "setuptools", "pkg_resources", "pygments")


def open_to_all(path: Path) -> bool:
    """Whether every account can reach `path`, and read it."""
    path = path.resolve()
    if not path.stat().st_mode & stat.S_IROTH:
        return False
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


class Installation:
    """An interpreter (`python`) and the command (`nsinit`), whose files stay as they are while tests run."""

    def __init__(self, directory: Path) -> None:
        """Make one in `directory`, a new one that every account can reach."""
        self.python = directory / "bin" / "python3"
        self.nsinit = directory / "bin" / "nsinit"
        self.python.parent.mkdir(parents=True)
        base = Path(sys.base_prefix)
        executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
        if not (open_to_all(executable) and open_to_all(Path(os.__file__))):
            base = directory / "base"
            executable = _copy_interpreter(executable, base)
        self.python.symlink_to(executable)
        (directory / "pyvenv.cfg").write_text(f"home = {executable.parent}\ninclude-system-site-packages = false\n")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = directory / "lib" / version / "site-packages"
        shutil.copytree(
            sysconfig.get_path("purelib"),
            packages,
            copy_function=_link,
            ignore=shutil.ignore_patterns(*_TOOLS, "*.pth"),
            symlinks=True,
        )
        shutil.copytree(ROOT / "nsinit", packages / "nsinit", dirs_exist_ok=True)
        # Other accounts can't: an import that compiles is slow, and not what users have.
        compileall.compile_dir(packages / "nsinit", quiet=2)
        script = (ROOT / "contrib" / "bin" / "nsinit").read_text()
        self.nsinit.write_text(script.replace("#!python", f"#!{self.python}", 1))
        self.nsinit.chmod(0o755)


def _copy_interpreter(executable: Path, prefix: Path) -> Path:
    """A copy of the running interpreter at `prefix`; returns its executable."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    copy = prefix / "bin" / version
    copy.parent.mkdir(parents=True)
    shutil.copytree(
        Path(os.__file__).parent, prefix / "lib" / version, copy_function=_link, ignore=_ignore_packages, symlinks=True
    )
    old_path = os.fsencode(Path(sys.base_prefix) / "lib")
    for library in Path(sys.base_prefix, "lib").glob("libpython*.so*"):
        shutil.copy2(library, prefix / "lib", follow_symlinks=False)
    copy.write_bytes(_with_run_path(executable.read_bytes(), old_path, b"$ORIGIN/../lib"))
    copy.chmod(0o755)
    return copy


def _ignore_packages(directory: str, names: list[str]) -> set[str]:
    ignored = {"site-packages"} if directory == os.path.dirname(os.__file__) else set()
    return ignored | _SKIPPED(directory, names)


def _with_run_path(program: bytes, old: bytes, new: bytes) -> bytes:
    """`program` with one library search path of its ELF strings replaced, as chrpath(1) does it.

    A shared interpreter finds its libpython by an absolute path that other accounts can't follow. Only a string that
    ends right there is meant, and the new one has to fit in.
    """
    position = program.find(old + b"\0")
    if position < 0 or len(new) > len(old):
        return program
    return program[:position] + new.ljust(len(old), b"\0") + program[position + len(old) :]


def _link(source: str, destination: str) -> None:
    """A hard link where the file systems allow it: thousands of files, most of them never read."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)
    mode = stat.S_IMODE(os.stat(destination).st_mode)
    if not mode & stat.S_IROTH:
        _own_copy(source, destination, mode)


def _own_copy(source: str, destination: str, mode: int) -> None:
    os.unlink(destination)
    shutil.copy2(source, destination)
    os.chmod(destination, mode | stat.S_IROTH)
