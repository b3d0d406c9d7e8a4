import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from nsinit.control.client import Client
from nsinit.control.wire import WireError
from nsinit.errors import Denied, InvalidConfig, NoSuchService, NoSupervisor, OperationFailed, TimedOut
from tests.support.fake_supervisor import FakeSupervisor, Running, listener, service, serving


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


@pytest.fixture
def running(path: Path) -> Iterator[Running]:
    fake = FakeSupervisor(service("db", pid=7), service("web", "stopped"))
    with serving(fake, listener(path), {os.getuid()}) as running:
        yield running


@pytest.fixture
def client(running: Running, path: Path) -> Iterator[Client]:
    with Client.connect(str(path)) as client:
        yield client


def test_every_call_returns_what_the_supervisor_answered(running: Running, client: Client) -> None:
    assert client.info().orphans_reaped == 2
    assert [status.name for status in client.list()] == ["db", "web"]
    assert client.status("db").pid == 7
    client.start(["web"])
    client.restart(["db", "web"])
    client.stop(["db"])
    client.wait_up()
    assert client.reload().added == ["new"]
    assert running.fake.calls == [
        ("start", "web"),
        ("restart", "db", "web"),
        ("stop", "db"),
        ("wait_up",),
        ("reload",),
    ]


def test_errors_are_raised_as_the_classes_the_supervisor_raised(running: Running, client: Client) -> None:
    with pytest.raises(NoSuchService, match="did you mean web"):
        client.status("wep")
    running.fake.failure = InvalidConfig("a.toml:1: no\nb.toml:2: no")
    with pytest.raises(InvalidConfig, match=r"a\.toml:1: no\nb\.toml:2: no"):
        client.reload()
    running.fake.failure = ZeroDivisionError("oops")
    with pytest.raises(OperationFailed, match="a bug in nsinit: ZeroDivisionError"):
        client.start(["web"])


def test_logs_come_as_one_iteration(running: Running, client: Client) -> None:
    for number in range(3):
        running.call(running.fake.write, "db", f"line {number}")
    assert [line.text for line in client.logs([], 2)] == ["line 1", "line 2"]
    assert [line.text for line in client.logs(["web"])] == []


def test_followed_logs_end_when_the_supervisor_ends(running: Running, client: Client) -> None:
    running.call(running.fake.write, "db", "past")
    lines = client.logs([], follow=True)
    assert next(lines).text == "past"
    running.call(running.fake.write, "db", "now")
    assert next(lines).text == "now"
    running.call(running.fake.ended.set)
    assert list(lines) == []


def test_a_call_that_takes_too_long_times_out(running: Running, path: Path) -> None:
    running.fake.gate = trio.Event()
    with Client.connect(str(path), timeout_s=0.05) as client, pytest.raises(TimedOut, match=r"within 0\.05 s"):
        client.start(["web"])


def test_shutdown_is_followed_by_the_end_of_the_connection(running: Running, client: Client) -> None:
    client.shutdown()
    client.wait_closed()
    with pytest.raises(OperationFailed, match="ended before it answered Info"):
        client.info()


def test_nobody_listening_is_no_supervisor(path: Path) -> None:
    with pytest.raises(NoSupervisor, match="ENOENT: no supervisor there: start one with `nsinit up`"):
        Client.connect(str(path))
    listener(path).close()
    with pytest.raises(NoSupervisor, match="ECONNREFUSED"):
        Client.connect(str(path))


def test_a_socket_of_someone_else_is_denied(path: Path) -> None:
    with listener(path):
        path.chmod(stat.S_IRUSR)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                if os.getuid() == 0:
                    path.parent.chmod(0o755)
                    os.setresuid(54321, 54321, 54321)
                Client.connect(str(path))
            except Denied as error:
                status = 0 if "EACCES" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_refusal_is_read_even_though_the_call_was_never_taken(path: Path) -> None:
    fake = FakeSupervisor()
    with (
        serving(fake, listener(path), {os.getuid() + 1}),
        Client.connect(str(path)) as client,
        pytest.raises(Denied, match="owner and root"),
    ):
        client.info()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400\0", b'{"parameters": {"name": 1}}\0', b"\xff\0"])
def test_an_answer_that_is_not_understood_is_an_error_of_its_own(answer: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs, Client(ours) as client:
        theirs.sendall(answer)
        with pytest.raises(WireError):
            client.info()
