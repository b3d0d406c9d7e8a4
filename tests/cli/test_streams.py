import os
import subprocess
import sys
from pathlib import Path

import pytest

LIST = [sys.executable, "-m", "nsinit", "list"]


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["--help"], ["ps", "--help"]])
def test_output_that_cannot_be_written_is_an_error_in_words(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*LIST[:-1], *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.stderr == "nsinit: cannot write to the standard output: ENOSPC\n"
    assert done.returncode == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_no_error(closed: str) -> None:
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *LIST], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_first_file_that_is_opened_does_not_take_a_closed_stream_s_place(tmp_path: Path) -> None:
    script = (
        "import os\nfrom nsinit.cli import streams\nstreams.prepare()\n"
        f"file = os.open({str(tmp_path / 'file')!r}, os.O_CREAT)\n"
        "assert file > 2, file\n"
        "assert all(os.get_inheritable(number) for number in range(3))\n"
    )
    done = subprocess.run(["sh", "-c", '"$@" <&- >&-', "sh", sys.executable, "-c", script], env=os.environ)
    assert done.returncode == 0
