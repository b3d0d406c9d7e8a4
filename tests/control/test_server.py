import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from nsinit.cli.probes import Failure, attempt
from nsinit.control import server
from nsinit.control.server import may_control, serve
from nsinit.errors import InvalidConfig, OperationFailed
from nsinit.kernel.namespaces import NEWPID, NEWUSER
from tests.support.fake_supervisor import FakeSupervisor, listener, service

NAME = "io.nsinit.Supervisor"
DESCRIBE = "org.varlink.service.GetInterfaceDescription"


class Peer:
    """A varlink client that sends and receives whatever a test wants."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def send(self, method: str, parameters: object = None, **flags: object) -> None:
        call = {"method": method if "." in method else f"{NAME}.{method}", **flags}
        if parameters is not None:
            call["parameters"] = parameters
        await self.stream.send_all(json.dumps(call).encode() + b"\0")

    async def receive(self) -> dict[str, object] | None:
        """The next message, or None when the server has closed."""
        while b"\0" not in self._buffer:
            try:
                data = await self.stream.receive_some(65536)
            except trio.BrokenResourceError:
                return None
            if not data:
                assert self._buffer == b""
                return None
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    async def call(self, method: str, parameters: object = None, **flags: object) -> dict[str, object] | None:
        await self.send(method, parameters, **flags)
        return await self.receive()


Connect = Callable[[], Awaitable[Peer]]


@asynccontextmanager
async def served(fake: FakeSupervisor, path: Path, uids: tuple[int, ...] = ()) -> AsyncIterator[Connect]:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, fake, listener(path).detach(), uids or (os.getuid(),))
        peers = []

        async def connect() -> Peer:
            peers.append(await trio.open_unix_socket(str(path)))
            return Peer(peers[-1])

        yield connect
        for peer in peers:
            await peer.aclose()
        nursery.cancel_scope.cancel()


@pytest.fixture
def fake() -> FakeSupervisor:
    return FakeSupervisor(service("db", pid=7), service("web", "backoff", "exit 3, restart 1 of 10 in 0.5 s"))


async def test_list_and_status_return_the_services(fake: FakeSupervisor, tmp_path: Path) -> None:
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        listed = await peer.call("List")
        status = await peer.call("Status", {"name": "db"})
    assert [entry["name"] for entry in listed["parameters"]["services"]] == ["db", "web"]
    assert status["parameters"]["service"]["pid"] == 7
    assert status["parameters"]["service"]["exit_code"] is None
    assert "error" not in status
    assert "continues" not in status


async def test_calls_of_one_connection_are_answered_in_order(fake: FakeSupervisor, tmp_path: Path) -> None:
    fake.gate = trio.Event()
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        await peer.send("Start", {"names": ["web"]})
        await peer.send("Status", {"name": "web"})
        await trio.testing.wait_all_tasks_blocked()
        assert fake.calls == [("start", "web")]
        fake.gate.set()
        first, second = await peer.receive(), await peer.receive()
    assert first == {"parameters": {}}
    assert second["parameters"]["service"]["state"] == "ready"


async def test_a_waiting_call_does_not_hold_up_another_connection(fake: FakeSupervisor, tmp_path: Path) -> None:
    fake.gate = trio.Event()
    async with served(fake, tmp_path / "s") as connect:
        waiting, other = await connect(), await connect()
        await waiting.send("WaitUp")
        await trio.testing.wait_all_tasks_blocked()
        assert await other.call("Info") is not None


async def test_errors_come_with_their_name_and_reason(fake: FakeSupervisor, tmp_path: Path) -> None:
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        fake.failure = OperationFailed("service db failed: exit 1")
        failed = await peer.call("Start", {"names": ["db"]})
        fake.failure = InvalidConfig("web.toml:1: no\nweb.toml:2: no")
        invalid = await peer.call("Reload")
        inactive = await peer.call("ExecContext", {"name": "web"})
    assert failed == {"error": f"{NAME}.OperationFailed", "parameters": {"reason": "service db failed: exit 1"}}
    assert invalid["error"] == f"{NAME}.InvalidConfig"
    assert invalid["parameters"]["reason"].count("\n") == 1
    assert inactive["error"] == f"{NAME}.Inactive"


async def test_an_error_in_a_nursery_of_the_supervisor_comes_as_itself(fake: FakeSupervisor, tmp_path: Path) -> None:
    fake.failure = ExceptionGroup("", [ExceptionGroup("", [OperationFailed("db failed")])])
    async with served(fake, tmp_path / "s") as connect:
        reply = await (await connect()).call("Start", {"names": ["db"]})
    assert reply == {"error": f"{NAME}.OperationFailed", "parameters": {"reason": "db failed"}}


async def test_a_bug_in_the_supervisor_is_an_internal_error_and_the_server_goes_on(
    fake: FakeSupervisor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.failure = ZeroDivisionError("oops")
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        reply = await peer.call("Start", {"names": ["db"]})
        assert reply["error"] == f"{NAME}.InternalError"
        assert "ZeroDivisionError: oops" in reply["parameters"]["reason"]
        assert await peer.call("Info") is not None
    assert "control.bug" in capsys.readouterr().out


async def test_an_unknown_service_is_answered_with_the_nearest_name(fake: FakeSupervisor, tmp_path: Path) -> None:
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        near = await peer.call("Stop", {"names": ["db", "wbe"]})
        far = await peer.call("Logs", {"names": ["q"]})
    assert near == {"error": f"{NAME}.NoSuchService", "parameters": {"reason": "no service wbe: did you mean web?"}}
    assert far["parameters"]["reason"] == "no service q: there is db, web"
    assert fake.calls == []


@pytest.mark.parametrize(
    ("method", "parameters", "error", "about"),
    [
        ("Nope", None, "MethodNotFound", {"method": f"{NAME}.Nope"}),
        ("a.b.C", None, "InterfaceNotFound", {"interface": "a.b"}),
        ("Status", {}, "InvalidParameter", {"parameter": "name"}),
        ("Status", {"name": 1}, "InvalidParameter", {"parameter": "name"}),
        ("Start", {"names": [1]}, "InvalidParameter", {"parameter": "names"}),
        ("List", {"x": 1}, "InvalidParameter", {"parameter": "x"}),
        ("List", [], "InvalidParameter", {"parameter": "parameters"}),
        ("Logs", {"tail": -1}, "InvalidParameter", {"parameter": "tail"}),
        ("Logs", {"follow": True}, "InvalidParameter", {"parameter": "follow"}),
        (
            "org.varlink.service.GetInterfaceDescription",
            {"interface": "x.y"},
            "InterfaceNotFound",
            {"interface": "x.y"},
        ),
    ],
)
async def test_wrong_calls_are_answered_with_the_standard_errors(
    fake: FakeSupervisor, tmp_path: Path, method: str, parameters: object, error: str, about: dict[str, str]
) -> None:
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        assert await peer.call(method, parameters) == {"error": f"org.varlink.service.{error}", "parameters": about}
        assert "error" not in await peer.call("List")


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\0", b"\0", b'{"method": 1}\0', b"x" * (2 << 20)])
async def test_what_is_no_varlink_closes_the_connection_and_no_other(
    fake: FakeSupervisor, tmp_path: Path, data: bytes
) -> None:
    async with served(fake, tmp_path / "s") as connect:
        peer, other = await connect(), await connect()
        try:
            await peer.stream.send_all(data)
        except trio.BrokenResourceError:
            pass
        assert await peer.receive() is None
        assert "error" not in await other.call("Info")


async def test_a_oneway_call_is_carried_out_without_an_answer(fake: FakeSupervisor, tmp_path: Path) -> None:
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        await peer.send("Stop", {"names": ["db"]}, oneway=True)
        await peer.send("Nope", oneway=True)
        reply = await peer.call("Status", {"name": "db"})
    assert reply["parameters"]["service"]["state"] == "stopped"


async def test_logs_without_more_come_in_one_reply(fake: FakeSupervisor, tmp_path: Path) -> None:
    for number in range(3):
        fake.write("db", f"line {number}")
    async with served(fake, tmp_path / "s") as connect:
        reply = await (await connect()).call("Logs", {"tail": 2, "names": None})
    assert [line["text"] for line in reply["parameters"]["lines"]] == ["line 1", "line 2"]
    assert "continues" not in reply


async def test_logs_with_more_come_in_several_replies_and_end(fake: FakeSupervisor, tmp_path: Path) -> None:
    for number in range(40):
        fake.write("db", str(number) + "x" * 16000)
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        await peer.send("Logs", more=True)
        replies = []
        while True:
            replies.append(await peer.receive())
            if not replies[-1].get("continues"):
                break
    assert len(replies) > 1
    assert sum(len(reply["parameters"]["lines"]) for reply in replies) == 40


async def test_following_starts_with_the_past_and_loses_and_repeats_nothing(
    fake: FakeSupervisor, tmp_path: Path
) -> None:
    fake.write("db", "past")
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        first = await peer.call("Logs", {"follow": True}, more=True)
        fake.write("web", "now")
        second = await peer.receive()
        fake.end_logs()
        last = await peer.receive()
    assert [line["text"] for line in first["parameters"]["lines"]] == ["past"]
    assert [line["text"] for line in second["parameters"]["lines"]] == ["now"]
    assert first["continues"]
    assert second["continues"]
    assert last == {"parameters": {"lines": []}}


async def test_a_follower_that_hangs_up_is_forgotten_though_no_line_ever_comes(
    fake: FakeSupervisor, tmp_path: Path
) -> None:
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        assert await peer.call("Logs", {"follow": True}, more=True) is not None
        await peer.stream.aclose()
        await fake.cancelled.wait()
    assert fake.followers == set()


async def test_a_client_that_hangs_up_while_it_waits_is_forgotten(fake: FakeSupervisor, tmp_path: Path) -> None:
    fake.gate = trio.Event()
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        await peer.send("WaitUp")
        await peer.stream.aclose()
        await fake.cancelled.wait()


async def test_a_client_that_only_ends_its_calls_gets_its_answers(fake: FakeSupervisor, tmp_path: Path) -> None:
    fake.gate = trio.Event()
    async with served(fake, tmp_path / "s") as connect:
        peer = await connect()
        await peer.send("Start", {"names": ["db"]})
        await peer.send("Info")
        await peer.stream.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        fake.gate.set()
        assert await peer.receive() == {"parameters": {}}
        assert (await peer.receive())["parameters"]["name"] == "fake"
        assert await peer.receive() is None


async def test_a_client_that_never_reads_stalls_only_itself(fake: FakeSupervisor, tmp_path: Path) -> None:
    for _ in range(200):
        fake.write("db", "x" * 16000)
    async with served(fake, tmp_path / "s") as connect:
        stalled, other = await connect(), await connect()
        for _ in range(30):
            await stalled.send("Logs")
        await trio.testing.wait_all_tasks_blocked()
        assert "error" not in await other.call("Info")


async def test_a_uid_that_is_not_allowed_is_told_so_and_disconnected(fake: FakeSupervisor, tmp_path: Path) -> None:
    async with served(fake, tmp_path / "s", uids=(os.getuid() + 1,)) as connect:
        peer = await connect()
        refusal = await peer.receive()
        assert await peer.receive() is None
    assert refusal["error"] == f"{NAME}.PermissionDenied"
    assert "owner and root" in refusal["parameters"]["reason"]
    assert fake.calls == []


@pytest.mark.parametrize(
    ("pid", "uid", "outside_only", "allowed"),
    [(0, 0, True, True), (5, 0, True, False), (5, 0, False, True), (0, 7, True, False), (0, 65534, True, True)],
)
def test_inside_its_own_pid_namespace_only_callers_from_outside_may_control(
    pid: int, uid: int, outside_only: bool, allowed: bool
) -> None:
    assert may_control(pid, uid, {0, 65534}, outside_only) is allowed


@pytest.mark.parametrize(("namespaces", "refused"), [(True, True), (False, False)])
def test_a_supervisor_in_a_pid_namespace_of_its_own_refuses_who_is_in_it(
    fake: FakeSupervisor, tmp_path: Path, namespaces: bool, refused: bool
) -> None:
    async def call_from_inside() -> None:
        fake.namespaces = namespaces
        async with served(fake, tmp_path / "s", uids=(0,)) as connect:
            reply = await (await connect()).call("Info")
        if (reply.get("error") == f"{NAME}.PermissionDenied") is not refused:
            raise Failure(str(reply))

    attempt(NEWUSER | NEWPID, lambda: trio.run(call_from_inside))


async def test_one_connection_too_many_is_told_so_and_a_free_place_is_used_again(
    fake: FakeSupervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTION_LIMIT", 2)
    async with served(fake, tmp_path / "s") as connect:
        peers = [await connect() for _ in range(2)]
        for peer in peers:
            assert "error" not in await peer.call("Info")
        refused = await connect()
        assert (await refused.receive())["error"] == f"{NAME}.Busy"
        assert await refused.receive() is None
        await peers[0].stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert "error" not in await (await connect()).call("Info")


async def test_cancelling_the_server_closes_its_connections_and_its_socket(
    fake: FakeSupervisor, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    async with served(fake, path) as connect:
        peer = await connect()
        await peer.call("Info")
        stream = await trio.open_unix_socket(str(path))
    assert await Peer(stream).receive() is None
    await stream.aclose()
    with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
        late.connect(str(path))


async def test_varlinks_own_client_lists_and_calls_the_interface(fake: FakeSupervisor, tmp_path: Path) -> None:
    script = """
import json, sys, varlink
client = varlink.Client.new_with_address("unix:" + sys.argv[1])
info = client.get_interfaces()
connection = client.open("io.nsinit.Supervisor")
connection.Start(["web"])
try:
    connection.Status("nope")
except varlink.VarlinkError as error:
    refused = [error.error(), error.parameters()["reason"]]
print(json.dumps({
    "interfaces": sorted(info),
    "services": [[one["name"], one["state"]] for one in connection.List()["services"]],
    "version": connection.Info()["version"],
    "lines": [line["text"] for reply in connection.Logs(_more=True) for line in reply["lines"]],
    "refused": refused,
}))
connection.close()
client.cleanup()
"""
    fake.write("db", "hello")
    async with served(fake, tmp_path / "s"):
        run = await trio.run_process([sys.executable, "-c", script, str(tmp_path / "s")], capture_stdout=True)
    assert json.loads(run.stdout) == {
        "interfaces": [NAME, "org.varlink.service"],
        "services": [["db", "ready"], ["web", "ready"]],
        "version": "0",
        "lines": ["hello"],
        "refused": [f"{NAME}.NoSuchService", "no service nope: there is db, web"],
    }
