"""A minimal /dev: what every program expects, and nothing that reaches hardware.

The devices are bind mounts of the outer ones, opened by descriptor in the tree that is trusted: no root can put a link
in their place, and no device node is ever made. A supervisor makes that part once, read-only, as a template; a
service's /dev is then one copy of it, and only the pseudo-terminals and the shared memory are new.

Source: mount(2), open_tree(2), devpts in the kernel's filesystems/devpts.rst.
"""

import os

from nsinit.kernel import mounts

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1")]
_LINKS += [("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx")]
_QUIET = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV
_NO_EXEC = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NOEXEC
_TTY_GROUP = 5  # "tty", wherever there is one

# An empty file in a template, for a socket to be bound on.
SOCKET_NAME = "nsinit-notify"


def open_devices() -> dict[str, int]:
    """Detached mounts of the outer devices, by name."""
    return {name: mounts.clone_tree(f"/dev/{name}") for name in _DEVICES}


def mount_dev(target: int, devices: dict[str, int]) -> None:
    """Mount a minimal /dev on the open directory `target`; takes `devices` over."""
    dev = mounts.new_filesystem("tmpfs", "mode=755,size=64k", _NO_EXEC)
    mounts.attach(dev, target, "/dev")
    _fill(dev, devices)
    _mount_instances(dev)
    os.close(dev)


def make_template(path: str) -> None:
    """Mount a template on the directory `path` of the caller's mount namespace."""
    dev = mounts.new_filesystem("tmpfs", "mode=755,size=64k", _NO_EXEC)
    target = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mounts.attach(dev, target, path)
    os.close(target)
    _fill(dev, open_devices())
    os.close(os.open(SOCKET_NAME, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o644, dir_fd=dev))
    mounts.set_read_only(dev, path)
    os.close(dev)


def mount_copy(target: int, template: int) -> None:
    """Mount `template`, a detached copy of one, on the open directory `target`, with instances of its own."""
    mounts.attach(template, target, "/dev")
    _mount_instances(template)


def _fill(dev: int, devices: dict[str, int]) -> None:
    for name, tree in devices.items():
        place = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC, 0o644, dir_fd=dev)
        mounts.attach(tree, place, f"/dev/{name}")
        os.close(place)
        os.close(tree)
    for name, to in _LINKS:
        os.symlink(to, name, dir_fd=dev)
    for name in ("pts", "shm"):
        os.mkdir(name, 0o755, dir_fd=dev)


def _mount_instances(dev: int) -> None:
    _mount_inside(dev, "pts", "devpts", _pts_options(), _NO_EXEC)
    _mount_inside(dev, "shm", "tmpfs", "mode=1777", _QUIET)


def _pts_options() -> str:
    options = "newinstance,ptmxmode=0666,mode=0620"
    with open("/proc/self/gid_map", "rb") as lines:
        extents = [tuple(map(int, line.split())) for line in lines]
    mapped = any(first <= _TTY_GROUP < first + count for first, _, count in extents)
    return f"{options},gid={_TTY_GROUP}" if mapped else options


def _mount_inside(folder: int, name: str, kind: str, options: str, attributes: int) -> None:
    tree = mounts.new_filesystem(kind, options, attributes)
    place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    mounts.attach(tree, place, f"/dev/{name}")
    os.close(place)
    os.close(tree)
