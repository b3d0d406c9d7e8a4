import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.support import isolation, libc
from tests.support.installation import ROOT
from tests.support.leaks import Snapshot
from tests.support.runner import Process

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def leaks():
    before, token = Snapshot(), uuid.uuid4().hex
    return lambda uids=(), private=False: before.leaks(token, uids, private)


def test_nothing_left_is_nothing_found(leaks):
    assert leaks() == []


def test_a_descendant_is_found(leaks):
    with Process(["sleep", "1000"]) as process:
        assert leaks() == [f"process {process.pid} (sleep 1000)"]
    assert leaks() == []


def test_a_process_in_namespaces_of_its_own_is_found_with_their_names(leaks):
    argv = ["/usr/bin/unshare", "--user", "--net", "sh", "-c", "echo; exec sleep 1000"]
    with Process(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert leaks()[0].endswith(", in namespaces of its own: user, net")


@needs_root
def test_a_mount_is_found(leaks, tmp_path):
    libc.mount("tmpfs", str(tmp_path), "tmpfs")
    assert leaks() == [f"mount {tmp_path} (tmpfs /)"]
    subprocess.run(["umount", tmp_path], check=True)
    assert leaks() == []


@needs_root
def test_a_namespace_kept_by_a_bind_mount_is_found(leaks, tmp_path):
    (tmp_path / "net").touch()
    subprocess.run(["unshare", f"--net={tmp_path}/net", "true"], check=True)
    assert [leak.split(":")[0] for leak in leaks()] == [f"mount {tmp_path}/net (nsfs net"]
    subprocess.run(["umount", tmp_path / "net"], check=True)


@pytest.mark.parametrize("directory", ["/tmp", "/dev/shm", "/run"])
def test_a_file_is_found_by_its_name_its_owner_or_its_private_directory(leaks, directory):
    if not os.access(directory, os.W_OK):
        pytest.skip(f"{directory} is closed to this user")
    named, plain = Path(directory, f"nsinit-leak-{os.getpid()}"), Path(directory, f"leak-{os.getpid()}")
    named.touch()
    plain.touch()
    try:
        assert leaks() == [f"file {named}"]
        assert f"file {plain}" in leaks(private=True)
        assert f"file {plain}" in leaks(uids=[os.geteuid()])
    finally:
        named.unlink()
        plain.unlink()


@needs_root
def test_a_device_with_another_owner_is_found_and_the_machines_own_is_untouched(leaks):
    os.chown("/dev/null", 1000, -1)
    try:
        assert leaks() == ["/dev/null has owner 1000 and mode 666"]
        assert (isolation.machine_dev() / "null").stat().st_uid == 0
    finally:
        os.chown("/dev/null", 0, -1)
    assert isolation.device_damage() == []


def run_pytest(directory: Path, body: str) -> tuple[int, str]:
    """Run one test of its own, below this project's conftest."""
    (directory / "test_sample.py").write_text(body)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-c",
        "/dev/null",
        "--rootdir",
        directory,
        directory,
    ]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    return run.returncode, run.stdout


LEAKING_TEST = """
import subprocess
import tests.conftest

tests.conftest._GRACE_S = 0.2

def test_that_leaks():
    subprocess.run("sleep 54321 &", shell=True)
"""


def test_a_test_that_leaves_a_process_fails_and_the_process_is_killed(tmp_path):
    status, output = run_pytest(tmp_path, LEAKING_TEST)
    assert status == 1
    assert "the test left processes behind" in output
    assert "(sleep 54321)" in output
    assert "process " not in output.partition("short test summary")[2]


def test_a_run_that_leaves_a_file_fails(tmp_path):
    file = Path(f"/tmp/nsinit-left-{os.getpid()}")
    try:
        status, output = run_pytest(tmp_path, f"def test_that_leaks():\n    open('{file}', 'w').close()\n")
    finally:
        file.unlink(missing_ok=True)
    assert status == 1
    assert f"file {file}" in output
    assert "1 passed, 1 error" in output
