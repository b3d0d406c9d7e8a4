"""The mounts of a sandbox, made by its first process in its new mount namespace.

The order is a security property. Sources are opened in the tree that is trusted; the fresh proc is made while the old
one is still visible (the kernel demands it); a read-only root becomes so before anything writable is attached to it;
every destination is resolved inside the new root and mounted by descriptor, so a link planted there leads nowhere.

Source: mount_namespaces(7), pivot_root(2), openat2(2).
"""

import os
import stat

from nsinit.errors import KernelError
from nsinit.kernel import mounts
from nsinit.kernel.namespaces import NEWNS
from nsinit.sandbox import dev

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsinit.sandbox.spec import SandboxSpec

_ENOENT, _EEXIST = 2, 17
_PROPAGATION = {"private": mounts.MS_PRIVATE, "slave": mounts.MS_SLAVE, "shared": mounts.MS_SHARED}
_QUIET = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV
_PROC = _QUIET | mounts.MOUNT_ATTR_NOEXEC


class Stage:
    """What is being done right now, for the message if it fails."""

    __slots__ = ("name",)

    def __init__(self) -> None:
        self.name = "start"


def build_root(spec: "SandboxSpec", stage: Stage) -> None:
    """Make the mounts that `spec` asks for and enter its root; the caller is in its new mount namespace.

    `stage.name` says what failed when an OSError comes out.
    """
    if not spec.unshare & NEWNS:
        return
    stage.name = "set propagation"
    first = "slave" if spec.rootfs else spec.propagation
    mounts.set_propagation("/", _PROPAGATION[first])
    if spec.rootfs:
        mounts.set_propagation("/", mounts.MS_PRIVATE)
    here = os.getcwd()
    sources = _open_sources(spec, stage)
    devices = _open_devices(spec, stage)
    proc = -1
    if spec.proc:
        stage.name = "mount proc"
        proc = mounts.new_filesystem("proc", attributes=_PROC)
    root = _open_root(spec, stage)
    if spec.rootfs:
        _create_targets(spec, root, sources, stage)
    if spec.read_only:
        stage.name = "make the root read-only"
        mounts.set_read_only(root, spec.rootfs or "/")
    if proc >= 0:
        stage.name = "mount proc on"
        _attach(proc, root, "/proc", create=False)
    if devices:
        _mount_dev(root, devices, stage)
    made: list[str] = []
    for destination, options in spec.tmpfs:
        stage.name = "mount tmpfs on"
        tree = mounts.new_filesystem("tmpfs", options or "mode=1777", _QUIET)
        _attach(tree, root, destination, create=_may_create(spec, destination, made))
        made.append(os.path.normpath(destination))
    for (source, destination, read_only), tree in zip(spec.binds, sources, strict=True):
        stage.name = f"mount {source} on"
        if read_only:
            mounts.set_read_only(tree, source)
        _attach(tree, root, destination, create=_may_create(spec, destination, made))
    _enter(spec, root, here, stage)


def _open_sources(spec: "SandboxSpec", stage: Stage) -> list[int]:
    stage.name = "mount"
    return [mounts.clone_tree(source) for source, _, _ in spec.binds]


def _open_devices(spec: "SandboxSpec", stage: Stage) -> dict[str, int]:
    """What the new /dev is made of, detached: from the outer tree, because a root may hold links in its place."""
    stage.name = "open device"
    if spec.dev == "minimal" and spec.dev_template:
        return {"template": mounts.clone_tree(spec.dev_template)}
    if spec.dev == "minimal":
        return dev.open_devices()
    if spec.dev == "host" and spec.rootfs:
        return {"dev": mounts.clone_tree("/dev")}
    return {}


def _mount_dev(root: int, devices: dict[str, int], stage: Stage) -> None:
    stage.name = "mount /dev:"
    target = mounts.open_inside(root, "/dev")
    if "dev" in devices:
        mounts.attach(devices["dev"], target, "/dev")
    elif "template" in devices:
        dev.mount_copy(target, devices["template"])
    else:
        dev.mount_dev(target, devices)
    os.close(target)


def _open_root(spec: "SandboxSpec", stage: Stage) -> int:
    stage.name = "enter rootfs"
    if not spec.rootfs:
        return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if not os.path.isdir(spec.rootfs):
        raise KernelError("open", _ENOENT, spec.rootfs)
    tree = mounts.clone_tree(spec.rootfs)
    place = os.open(spec.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mounts.attach(tree, place, spec.rootfs)
    os.close(place)
    return tree


def _create_targets(spec: "SandboxSpec", root: int, sources: list[int], stage: Stage) -> None:
    """Create missing mount points in a root directory before it may become read-only.

    What lies below a file system that is mounted later is created there, not here.
    """
    stage.name = "create mount point"
    wanted = [("/proc", True)] if spec.proc else []
    wanted += [("/dev", True)] if spec.dev != "none" else []
    wanted += [(destination, True) for destination, _ in spec.tmpfs]
    wanted += [(bind[1], _is_directory(tree)) for bind, tree in zip(spec.binds, sources, strict=True)]
    covered: list[str] = []
    for path, directory in wanted:
        path = os.path.normpath(path)
        if not any(path.startswith(above + "/") for above in covered):
            os.close(_open_target(root, path, directory, create=True))
        if directory:
            covered.append(path)


def _may_create(spec: "SandboxSpec", destination: str, tmpfs: list[str]) -> bool:
    """Whether a missing mount point may be made: in a root of the sandbox's own, or below its tmpfs; never outside."""
    path = os.path.normpath(destination)
    return bool(spec.rootfs) or any(path.startswith(above + "/") for above in tmpfs)


def _is_directory(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _attach(tree: int, root: int, path: str, create: bool) -> None:
    target = _open_target(root, path, _is_directory(tree), create)
    try:
        mounts.attach(tree, target, path)
    finally:
        os.close(target)
        os.close(tree)


def _open_target(root: int, path: str, directory: bool, create: bool) -> int:
    """Open the mount point `path` inside `root`, creating it and its parents when it is missing and `create`."""
    try:
        return mounts.open_inside(root, path)
    except KernelError as error:
        if error.errno != _ENOENT or not create:
            raise
    parent_path, name = os.path.split(path.rstrip("/"))
    if not name or name in (".", ".."):
        raise KernelError("create", _ENOENT, path)
    parent = _open_target(root, parent_path or "/", True, create)
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
    except OSError as error:
        if error.errno != _EEXIST:
            raise KernelError("create", error.errno or 0, path) from None
    finally:
        os.close(parent)
    return mounts.open_inside(root, path)


def _enter(spec: "SandboxSpec", root: int, here: str, stage: Stage) -> None:
    if spec.rootfs:
        stage.name = "enter rootfs"
        os.fchdir(root)
        os.close(root)
        mounts.pivot_root_here()
        if spec.propagation != "private":
            mounts.set_propagation("/", _PROPAGATION[spec.propagation])
        return
    os.close(root)
    # The working directory may lie below a new mount: see what is there now, not what was there before.
    try:
        os.chdir(here)
    except OSError:
        os.chdir("/")
