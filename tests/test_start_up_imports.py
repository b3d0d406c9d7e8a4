import pytest

# All that may be imported on the way to the command, apart from what a bare interpreter has imported by then.
OWN = [
    "nsinit",
    "nsinit.__main__",
    "nsinit.errors",
    "nsinit.kernel",
    "nsinit.kernel.libc",
    "nsinit.kernel.mounts",
    "nsinit.kernel.namespaces",
    "nsinit.kernel.network",
    "nsinit.kernel.process",
    "nsinit.kernel.signals",
    "nsinit.sandbox",
    "nsinit.sandbox.command",
    "nsinit.sandbox.dev",
    "nsinit.sandbox.ids",
    "nsinit.sandbox.init",
    "nsinit.sandbox.launch",
    "nsinit.sandbox.main",
    "nsinit.sandbox.options",
    "nsinit.sandbox.passwd",
    "nsinit.sandbox.report",
    "nsinit.sandbox.rootfs",
    "nsinit.sandbox.seal",
    "nsinit.sandbox.spec",
    "nsinit.sandbox.stage",
    "nsinit.sandbox.terminal",
]
STANDARD = ["_ctypes", "_socket", "_struct", "ctypes", "ctypes._endian", "errno", "fcntl", "select", "struct", "types"]


def imported(runner, *arguments):
    """The modules that an interpreter imports, its children included, until `arguments` are done."""
    result = runner.command([runner.python, "-I", "-X", "importtime", *arguments])
    assert result.status == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}


def imported_by_nsinit(runner, *arguments):
    return sorted(imported(runner, runner.nsinit, *arguments) - imported(runner, "-c", "pass"))


def test_starting_a_command_imports_exactly_this(nsinit):
    assert imported_by_nsinit(nsinit, "--", "true") == sorted(OWN + STANDARD)


@pytest.mark.parametrize("options", [["--hostname", "box", "--tmpfs", "/mnt"], ["--read-only", "--chdir", "/"]])
def test_the_choices_of_run_import_nothing_more(nsinit, options):
    assert set(imported_by_nsinit(nsinit, "run", *options, "--", "true")) <= {*OWN, *STANDARD}


def test_one_import_more_is_noticed(nsinit):
    nsinit.write("sample.py", "import sys, outcome\nsys.argv[:1] = []\nexec(open(sys.argv[0]).read())")
    found = imported(nsinit, "sample.py", nsinit.nsinit, "--", "true") - imported(nsinit, "-c", "pass")
    assert "outcome" in found - {*OWN, *STANDARD}
    assert found >= {*OWN, *STANDARD}
