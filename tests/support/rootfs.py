"""Root directories for sandboxes, made of this machine's programs; and hostile ones that tell who imports them."""

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.runner import Runner

PROGRAMS = (
    *("sh", "bash", "cat", "echo", "env", "hostname", "id", "ln", "ls", "mkdir", "mount", "mv", "pwd", "readlink"),
    *("rm", "sleep", "stat", "stty", "tail", "test", "touch", "true", "tty", "umount", "script", "seq", "setsid"),
)
_FOLDERS = ("bin", "etc", "dev", "proc", "tmp", "root", "home")
_LIBRARY = re.compile(r"(/\S+) \(0x")
_PLANTED = """with open("/imported", "a") as file:
    file.write(__name__ + "\\n")
"""


@functools.cache
def _template(directory: Path) -> Path:
    """The programs and their libraries, once a run; links to them cost nothing."""
    template = directory / "root"
    for name in PROGRAMS:
        program = shutil.which(name)
        assert program, f"this machine has no {name}"
        found = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        files = {f"/bin/{name}": program} | {library: library for library in _LIBRARY.findall(found)}
        for place, source in files.items():
            copy = template / place[1:]
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, copy)
    return template


def make_root(runner: Runner, name: str = "root") -> Path:
    """A root directory that belongs to the runner's account; with a shell, some programs, and empty folders."""
    root = runner.directory / name
    template = _template(runner.directory.parent)
    shutil.copytree(template, root, copy_function=os.link)
    for folder in _FOLDERS:
        (root / folder).mkdir(exist_ok=True)
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/home:/bin/sh\nweb:x:33:34::/home:/bin/sh\n"
    )
    (root / "etc/group").write_text("root:x:0:\nwebs:x:34:\nmedia:x:44:web,nobody\n")
    for path in (root, *root.rglob("*")):
        if path.is_dir() or path.parent == root / "etc":
            os.chown(path, runner.account.uid, runner.account.gid)
    return root


def plant_modules(runner: Runner, root: Path) -> None:
    """Put a module of every name where nsinit's interpreter would look, which says so when it is imported."""
    script = "import sys, encodings; print(*filter(None, sys.path), sep='\\n')"
    folders = runner.command([runner.python, "-I", "-c", script]).stdout.splitlines()
    names = [*sys.stdlib_module_names, "nsinit", "sitecustomize"]
    encodings = [path.stem for path in Path(os.__file__).parent.joinpath("encodings").glob("*.py")]
    for folder in (*folders, "/"):
        place = root / folder.lstrip("/")
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            package = place / name
            if name in ("encodings", "nsinit"):
                package.mkdir(exist_ok=True)
                for module in ("__init__", *encodings):
                    (package / f"{module}.py").write_text(_PLANTED)
            else:
                package.with_suffix(".py").write_text(_PLANTED)


def imported_from(root: Path) -> list[str]:
    """Which planted modules have been imported."""
    record = root / "imported"
    return record.read_text().split() if record.exists() else []
