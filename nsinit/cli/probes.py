"""Tries of what a sandbox needs of the kernel, each in a child that ends at once: nothing of it stays on the host.

A child takes a user namespace first, as nsinit does, then the others that its probe names; what it tries then, it
tries where only it can see it. Its failure comes back through a pipe as the sentence of the error and its number.
"""

import fcntl
import json
import os
from collections.abc import Callable

from nsinit.errors import KernelError
from nsinit.kernel import mounts, namespaces, network
from nsinit.kernel.namespaces import NEWNET, NEWNS, NEWPID, NEWTIME, NEWUSER, NEWUTS

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_SCRATCH = "/tmp"
TUN = "/dev/net/tun"


class Failure(Exception):
    """A probe failed: the sentence, and the error's number (0: none)."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


def attempt(flags: int, check: Callable[[], None]) -> None:
    """Run `check` in a child that is in new namespaces of the types in `flags`, and root in them.

    Raises:
        Failure: the namespaces can't be had, or `check` raised OSError.
    """
    read_fd, write_fd = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_fd)
        _report(write_fd, lambda: _in_namespaces(flags, check, write_fd))
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as pipe:
        outcome = pipe.read()
    os.waitpid(child, 0)
    if not outcome:
        raise Failure("the probe ended without a result")
    message, errno = json.loads(outcome)
    if message:
        raise Failure(message, errno)


def _report(write_fd: int, run: Callable[[], None]) -> None:
    """Run, write the outcome and end, whatever happens."""
    outcome: tuple[str, int] = ("", 0)
    try:
        run()
    except OSError as error:
        outcome = (str(error), error.errno or 0)
    except BaseException as error:
        outcome = (f"{type(error).__name__}: {error}", 0)
    finally:
        os.write(write_fd, json.dumps(outcome).encode())
        os._exit(0)


def _in_namespaces(flags: int, check: Callable[[], None], write_fd: int) -> None:
    _enter_user_namespace(required=flags == NEWUSER)
    if others := flags & ~NEWUSER:
        namespaces.unshare(others)
    if flags & NEWNS:
        mounts.set_propagation("/", mounts.MS_PRIVATE)
    if flags & (NEWPID | NEWTIME):
        # Only a child enters these; it reports in this process's place.
        child = os.fork()
        if child == 0:
            _report(write_fd, check)
        os.waitpid(child, 0)
        os._exit(0)
    check()


def _enter_user_namespace(*, required: bool) -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        namespaces.unshare(NEWUSER)
    except KernelError:
        if required or uid != 0:
            raise
        return  # root has the other types also without it
    for name, content in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(content)
        except OSError as error:
            raise KernelError("write", error.errno or 0, f"/proc/self/{name}") from error


def nothing() -> None:
    """The namespace alone is what is wanted."""


def is_pid_1() -> None:
    """The first process of a pid namespace."""
    if os.getpid() != 1:
        raise Failure("the first process of a new pid namespace is not its PID 1")


def set_hostname() -> None:
    """A hostname of its own."""
    mounts.set_hostname("nsinit-doctor")


def raise_loopback() -> None:
    """A working loopback interface."""
    network.raise_loopback()


def mount_proc() -> None:
    """A /proc for the processes of a pid namespace."""
    os.close(mounts.new_filesystem("proc"))


def mount_overlay() -> None:
    """An overlay that can be written to."""
    _cover(_SCRATCH, mounts.new_filesystem("tmpfs"))
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{_SCRATCH}/{name}")
    layers = f"lowerdir={_SCRATCH}/lower,upperdir={_SCRATCH}/upper,workdir={_SCRATCH}/work,userxattr"
    _cover(f"{_SCRATCH}/merged", mounts.new_filesystem("overlay", layers))
    os.mkdir(f"{_SCRATCH}/merged/written")


def _cover(path: str, tree: int) -> None:
    mounts.attach(tree, os.open(path, os.O_PATH), path)


def open_tun() -> None:
    """A tun device."""
    request = b"nsinit0".ljust(16, b"\0") + (_IFF_TUN | _IFF_NO_PI).to_bytes(2, "little")
    try:
        device = os.open(TUN, os.O_RDWR)
        fcntl.ioctl(device, _TUNSETIFF, request.ljust(40, b"\0"))
    except OSError as error:
        raise KernelError("open", error.errno or 0, TUN) from error


def _add_link(kind: str) -> Callable[[], None]:
    from nsinit.cli.netlink import add_link

    return lambda: add_link(kind)


def _add_table() -> None:
    from nsinit.cli.netlink import add_nft_table

    add_nft_table()


# What is tried: the name of the line, the namespaces it needs, the try.
NAMESPACES: dict[str, tuple[int, Callable[[], None]]] = {
    name: (NEWUSER | flag, {NEWPID: is_pid_1, NEWUTS: set_hostname, NEWNET: raise_loopback}.get(flag, nothing))
    for name, flag in namespaces.TYPES.items()
}
FEATURES: dict[str, tuple[int, Callable[[], None]]] = {
    "proc": (NEWUSER | NEWPID | NEWNS, mount_proc),
    "overlay": (NEWUSER | NEWNS, mount_overlay),
    "bridge": (NEWUSER | NEWNET, _add_link("bridge")),
    "veth": (NEWUSER | NEWNET, _add_link("veth")),
    "nft": (NEWUSER | NEWNET, _add_table),
    "tun": (NEWUSER | NEWNET, open_tun),
}
