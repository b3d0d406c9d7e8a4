"""After the root has changed nothing may be imported: the files that an import would find are somebody else's."""

import re

import pytest

# Runs nsinit's command with every import after the seal told on stderr. `LATE` runs where an init forks its command.
WATCHED = """
import os, sys
import nsinit.sandbox.seal as seal_module

original, sealed = seal_module.seal, False

def seal():
    global sealed
    original()
    sealed = True
    os.write(2, b"sealed\\n")

def hook(event, arguments):
    if sealed and event == "import":
        os.write(2, ("imported after the seal: %s\\n" % arguments[0]).encode())

seal_module.seal = seal
sys.addaudithook(hook)
LATE
sys.argv[:1] = []
exec(open(sys.argv[0]).read())
"""
LATE = """
execve = os.execve
def late(*arguments):
    try:
        import json
    except ImportError:
        pass
    execve(*arguments)
os.execve = late
"""
TOLD = re.compile("^imported after the seal: (.*)$", re.MULTILINE)
COMMANDS = {
    "a command that succeeds": (["/bin/true"], 0),
    "a command that is not there": (["/no/such/command"], 127),
    "a command that can't be executed": (["/etc"], 126),
    "a working directory that is not there": (["--chdir", "/no/such/directory", "--", "/bin/true"], 125),
    "a user that is not there": (["--user", "nobody-knows-me", "--", "/bin/true"], 125),
    "a place for a file system that is not there": (["--tmpfs", "/proc/no/such/place", "--", "/bin/true"], 125),
}
# A module with one of these names is what hidden imports ask for; each tells that it has run.
PLANTED = [
    "traceback",
    "warnings",
    "linecache",
    "tokenize",
    "stringprep",
    "json/__init__",
    "encodings/idna",
    "sitecustomize",
]
CONFESSION = "import os\nos.write(2, ('ran from the new root: %s\\n' % __name__).encode())\n"


@pytest.fixture(params=COMMANDS)
def command(request):
    """Arguments of `run`, and the status they lead to."""
    arguments, status = COMMANDS[request.param]
    return arguments if "--" in arguments else ["--", *arguments], status


@pytest.fixture
def rootfs(nsinit):
    """A root whose programs are the machine's, and whose Python modules are an attacker's."""
    root = nsinit.directory / "rootfs"
    for name in ("bin", "lib", "lib64", "sbin"):
        nsinit.write(f"rootfs/{name}", "").unlink()
        (root / name).symlink_to(f"usr/{name}")
    for folder in ("usr", "etc"):
        nsinit.write(f"rootfs/{folder}/.keep", "")
    script = "import sys; print('\\n'.join(sys.path))"
    for folder in nsinit.command([nsinit.python, "-Ic", script]).stdout.split():
        for module in PLANTED:
            nsinit.write(f"rootfs{folder}/{module}.py", CONFESSION)
    return root


def test_after_the_seal_only_what_is_compiled_in_can_be_imported(nsinit):
    script = "from nsinit.sandbox.seal import seal\nseal()\nimport _struct_absent"
    for module, found in (("json", False), ("idlelib", False), ("_imp", True), ("_weakref", True)):
        result = nsinit.command([nsinit.python, "-Ic", script.replace("_struct_absent", module)])
        assert (result.status == 0) is found, result.stderr


def test_after_the_seal_a_codec_can_not_be_looked_up(nsinit):
    script = "from nsinit.sandbox.seal import seal\nseal()\n'x'.encode('idna')"
    result = nsinit.command([nsinit.python, "-Ic", script])
    assert "LookupError: unknown encoding: idna" in result.stderr


def test_no_way_to_a_command_imports_after_the_seal(nsinit, command):
    arguments, status = command
    nsinit.write("watched.py", WATCHED.replace("LATE", ""))
    result = nsinit.command([nsinit.python, "-I", "watched.py", nsinit.nsinit, "run", *arguments])
    assert result.status == status, result.stderr
    assert "sealed\n" in result.stderr
    assert TOLD.findall(result.stderr) == []


def test_an_import_after_the_seal_is_noticed(nsinit):
    nsinit.write("watched.py", WATCHED.replace("LATE", LATE))
    result = nsinit.command([nsinit.python, "-I", "watched.py", nsinit.nsinit, "run", "--", "/bin/true"])
    assert TOLD.findall(result.stderr) == ["json"]


def test_nothing_planted_in_a_root_file_system_runs(nsinit, rootfs, command):
    arguments, status = command
    options = ["--rootfs", rootfs, "--bind", "/usr:/usr:ro"]
    result = nsinit.run("run", *options, *arguments)
    assert result.status == status, result.stderr
    assert "ran from the new root" not in result.stderr


def test_what_is_planted_would_run(nsinit, rootfs):
    script = "import os, sys; os.chroot(sys.argv[1]); os.chdir('/'); import json"
    result = nsinit.run("--", nsinit.python, "-Ic", script, str(rootfs))
    assert "ran from the new root: json" in result.stderr
