"""nsinit's interpreter must not become a way out: a file outside that the command could change (CVE-2019-5736)."""

import os
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.rootfs import make_root
from tests.support.runner import Runner
from tests.support.supervised import Supervised

# Runs as the command when it is executed as nsinit's own interpreter.
CHANGE = "import os; os.chmod('/proc/self/exe', 0o4755)"


def _script(root: Path, name: str, interpreter: str) -> None:
    (root / name).write_text(f"#!{interpreter}\n{CHANGE}\n")
    (root / name).chmod(0o755)


def _link(root: Path) -> None:
    (root / "bin/app").symlink_to("/proc/self/exe")


def _link_of_a_thread(root: Path) -> None:
    (root / "bin/app").symlink_to("/proc/thread-self/exe")


def _interpreter(root: Path) -> None:
    _script(root, "bin/app", "/proc/self/exe -I")


def _interpreter_of_an_interpreter(root: Path) -> None:
    _script(root, "bin/app", "  /bin/second\t-x")
    _script(root, "bin/second", "/bin/third")
    (root / "bin/third").symlink_to("../proc/self/exe")


def _shell(root: Path) -> None:
    (root / "bin/app").write_text("no interpreter\n")
    (root / "bin/app").chmod(0o755)
    (root / "bin/sh").unlink()
    (root / "bin/sh").symlink_to("/proc/self/exe")


@pytest.mark.parametrize("trap", [_link, _link_of_a_thread, _interpreter, _interpreter_of_an_interpreter, _shell])
def test_a_command_that_leads_to_nsinits_own_program_is_refused(nsinit: Runner, trap) -> None:  # type: ignore[no-untyped-def]
    root = make_root(nsinit)
    trap(root)
    result = nsinit.run("run", "--rootfs", str(root), "--", "app", "-I", "-S", "-c", CHANGE)
    assert "nsinit's own program" in result.stderr
    assert result.status == 126


def test_programs_are_still_found_through_links_and_descriptors(nsinit: Runner) -> None:
    root = make_root(nsinit)
    (root / "bin/alias").symlink_to("/bin/alias-of-alias")
    (root / "bin/alias-of-alias").symlink_to("echo")
    _script(root, "bin/second", "/bin/echo")
    _script(root, "bin/first", "/bin/second one")
    assert nsinit.run("run", "--rootfs", str(root), "--", "alias", "text").stdout == "text\n"
    assert nsinit.run("run", "--rootfs", str(root), "--", "first", "two").stdout == "/bin/second one /bin/first two\n"
    with open("/bin/echo", "rb") as program:
        result = nsinit.run("--", "/proc/self/fd/0", "text", stdin=program)
    assert result.stdout == "text\n"


def test_nsinits_own_program_can_be_executed_by_its_name(nsinit: Runner) -> None:
    assert nsinit.run("--", nsinit.python, "-I", "-c", "print('text')").stdout == "text\n"


def test_the_interpreter_of_a_supervisor_lies_on_a_read_only_mount_of_its_own(nsinit: Runner) -> None:
    """So that a service that gets hold of it, by whatever race, can't change it in spite of owning the file."""
    up = Supervised(nsinit)
    up.service("web", "command = 'sleep 1000'\n")
    with up:
        up.expect("service.ready", "web")
        (supervisor,) = processes.children(up.process.pid)
        lines = Path(f"/proc/{supervisor}/mountinfo").read_text().splitlines()
        options = {line.split()[4]: line.split()[5].split(",") for line in lines}
        assert "ro" in options[os.path.realpath(nsinit.python)]
