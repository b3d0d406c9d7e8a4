"""How an exit reads, and what a shell would call it."""

import pytest

from nsinit.supervisor.events import Exited


@pytest.mark.parametrize(
    ("how", "text", "status"),
    [
        (Exited(exit_code=3), "exit 3", 3),
        (Exited(signal=9), "killed by SIGKILL", 137),
        (Exited(signal=9, detail="out of memory"), "killed by SIGKILL (out of memory)", 137),
        (Exited(), "ended", None),
    ],
)
def test_an_exit_says_how_it_came_about(how: Exited, text: str, status: int | None) -> None:
    assert str(how) == text
    assert how.status == status
