import os
from pathlib import Path

import pytest

from nsinit.control import lock


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "name" / "lock")


def test_a_lock_is_held_from_acquire_until_its_descriptor_is_closed(path: str) -> None:
    fd = lock.acquire(path)
    assert fd is not None
    assert lock.is_held(path)
    assert lock.acquire(path) is None
    os.close(fd)
    assert not lock.is_held(path)


def test_asking_about_a_lock_does_not_take_it(path: str) -> None:
    fd = lock.acquire(path)
    assert fd is not None
    os.close(fd)
    assert not lock.is_held(path)
    assert not lock.is_held(path)
    again = lock.acquire(path)
    assert again is not None
    os.close(again)


def test_a_lock_outlives_the_process_that_took_it_in_its_children(path: str) -> None:
    fd = lock.acquire(path)
    assert fd is not None
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write_fd)
        os.read(read_fd, 1)
        os._exit(0)
    os.close(fd)
    os.close(read_fd)
    try:
        assert lock.is_held(path)
    finally:
        os.close(write_fd)
        os.waitpid(pid, 0)
    assert not lock.is_held(path)


def test_a_lock_whose_file_was_removed_before_it_was_taken_is_taken_anew(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = lock.fcntl.fcntl

    def remove_first(fd: int, command: int, argument: bytes) -> object:
        monkeypatch.setattr(lock.fcntl, "fcntl", real)
        os.unlink(path)
        os.rmdir(os.path.dirname(path))
        return real(fd, command, argument)

    monkeypatch.setattr(lock.fcntl, "fcntl", remove_first)
    fd = lock.acquire(path)
    assert fd is not None
    assert lock.is_held(path)
    os.close(fd)


def test_a_lock_that_is_a_link_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels"):
        lock.acquire(path)
    assert not (tmp_path / "elsewhere").exists()
