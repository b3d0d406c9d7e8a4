"""Readiness is believed only to a service's own processes, whoever else finds the way to its socket."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from nsinit.supervisor.notify import NotifySocket, is_below


@pytest.fixture
def short_path() -> Iterator[str]:
    """A directory whose name leaves room for a socket's."""
    path = f"/tmp/nsinit-t-{os.getpid()}-n"
    os.mkdir(path)
    yield path
    for name in os.listdir(path):
        os.unlink(f"{path}/{name}")
    os.rmdir(path)


def speak(path: str, message: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(message, "\0" + path[1:] if path.startswith("@") else path)


def speak_as_child(path: str, message: bytes) -> int:
    """A child that has spoken and lives on; its pid."""
    ready, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            speak(path, message)
            os.close(said)
            signal.pause()
        finally:
            os._exit(0)
    os.close(said)
    os.read(ready, 1)
    os.close(ready)
    return pid


@pytest.mark.parametrize("as_file", [True, False])
async def test_messages_of_the_service_s_own_processes_are_taken_apart(
    short_path: str, as_file: bool, nursery: trio.Nursery
) -> None:
    messages: list[dict[str, str]] = []
    notify = NotifySocket("7", short_path if as_file else "")
    nursery.start_soon(notify.run, os.getpid, messages.append)
    speak(notify.path, b"READY=1\nSTATUS=a=b\n\xff")
    child = speak_as_child(notify.path, b"READY=1")
    await trio.testing.wait_all_tasks_blocked()
    assert messages == [{"READY": "1", "STATUS": "a=b", "\ufffd": ""}, {"READY": "1"}]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    nursery.cancel_scope.cancel()
    notify.close()
    assert not os.listdir(short_path)


async def test_messages_of_others_are_not_believed(nursery: trio.Nursery) -> None:
    messages: list[dict[str, str]] = []
    service = os.fork()
    if service == 0:
        signal.pause()
    owner: list[int | None] = [None]
    notify = NotifySocket("7", "")
    nursery.start_soon(notify.run, lambda: owner[0], messages.append)
    speak(notify.path, b"READY=1")  # nothing runs yet
    await trio.testing.wait_all_tasks_blocked()
    owner[0] = service
    speak(notify.path, b"READY=1")  # its parent's parent, say
    sibling = speak_as_child(notify.path, b"READY=1")
    await trio.testing.wait_all_tasks_blocked()
    assert messages == []
    for pid in (service, sibling):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    nursery.cancel_scope.cancel()
    notify.close()


def test_a_file_can_be_spoken_to_by_any_user_of_the_service_and_is_gone_when_closed(short_path: str) -> None:
    async def check() -> None:
        notify = NotifySocket("7", short_path)
        assert Path(notify.path).stat().st_mode & 0o777 == 0o666
        notify.close()
        assert not os.path.exists(notify.path)

    trio.run(check)


async def test_names_cannot_be_guessed() -> None:
    paths = set()
    for _ in range(3):
        notify = NotifySocket("7", "")
        paths.add(notify.path)
        notify.close()
    assert len(paths) == 3
    assert all(len(path) > 30 for path in paths)


def test_who_is_below_whom() -> None:
    child = os.fork()
    if child == 0:
        signal.pause()
    assert is_below(child, child)
    assert is_below(child, os.getpid())
    assert is_below(child, os.getppid())
    assert not is_below(os.getpid(), child)
    assert not is_below(1 << 23, os.getpid())
    os.kill(child, signal.SIGKILL)
    assert is_below(child, os.getpid()), "a zombie still has its parent"
    os.waitpid(child, 0)
