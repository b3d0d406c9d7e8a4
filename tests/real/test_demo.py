"""The services of this repository do what their files say."""

import pytest

from tests.support import processes
from tests.support.installation import ROOT
from tests.support.supervised import Supervised
from tests.support.waiting import wait_reaped

GET = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8000/').read().decode())"


@pytest.fixture
def demo(nsinit):
    machine = Supervised(nsinit)
    for file in (ROOT / "services").glob("*.toml"):
        machine.service(file.stem, file.read_text())
    with machine:
        yield machine


def test_the_front_shows_what_the_worker_has_brought_to_the_backend(demo):
    demo.expect("service.completed", "migrate")
    demo.expect("service.ready", "backend")
    demo.expect_each("service.ready", ["web", "worker"])
    demo.wait_for_output("worker", "is prime")
    result = demo.ask("exec", "web", "--", "python3", "-Ic", GET)
    assert result.status == 0, result
    assert "My backend is backend; it has " in result.stdout
    assert " is prime\n" in result.stdout


def test_the_crasher_backs_off_and_comes_back(demo):
    demo.expect("service.ready", "crasher")
    assert demo.expect("service.backoff", "crasher")["reason"].startswith("exit 3, restart 1 in ")
    demo.expect("service.ready", "crasher")
    assert demo.services()["crasher"]["restarts"] == 1


def test_the_stubborn_one_is_killed_at_last(demo):
    demo.wait_for_output("stubborn", "I stay")
    result = demo.ask("stop", "stubborn")
    assert result.status == 0, result
    demo.expect("service.killed", "stubborn")
    assert demo.services()["stubborn"]["state"] == "stopped"


def test_orphans_leave_no_zombie(demo):
    demo.wait_for_output("orphans", "left one more orphan")
    service = demo.services()["orphans"]
    init, main = service["init_host_pid"], service["host_pid"]
    (orphan,) = set(processes.children(init)) - {main}
    wait_reaped(orphan)
    assert processes.children(init) == [main]
