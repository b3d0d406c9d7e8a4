import os
import subprocess

import pytest

from tests.support.runner import Process
from tests.support.waiting import remaining, wait_gone, wait_path, wait_readable, wait_text


def test_the_end_of_a_process_that_is_no_child_is_noticed():
    with Process(["/bin/sh", "-c", "sleep 0.1 & echo $!"], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        wait_gone(int(shell.stdout.readline()))


def test_a_process_that_stays_is_named():
    with Process(["sleep", "1000"]) as process:
        with pytest.raises(TimeoutError, match=str(process.pid)):
            wait_gone(process.pid, timeout_s=0.05)
        assert remaining([process.pid], 0) == {process.pid}


def test_a_file_that_appears_and_a_text_that_is_written_are_noticed(tmp_path):
    script = 'sleep 0.1; echo one > "$1"; sleep 0.1; echo two >> "$1"'
    with Process(["/bin/sh", "-c", script, "-", tmp_path / "log"]):
        wait_path(tmp_path / "log")
        assert wait_text(tmp_path / "log", "two") == "one\ntwo\n"


def test_a_file_that_does_not_appear_is_named(tmp_path):
    with pytest.raises(TimeoutError, match="absent"):
        wait_path(tmp_path / "absent", timeout_s=0.05)


def test_a_pipe_is_readable_once_written():
    read_fd, write_fd = os.pipe()
    try:
        assert not wait_readable(read_fd, timeout_s=0)
        os.write(write_fd, b"x")
        assert wait_readable(read_fd)
    finally:
        os.close(read_fd)
        os.close(write_fd)
