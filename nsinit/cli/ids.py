"""Whether a user namespace gets more ids than the caller's own: tried for real, with newuidmap."""

import os

from nsinit.cli.probes import Failure
from nsinit.errors import NsinitError
from nsinit.kernel.namespaces import NEWUSER, unshare
from nsinit.sandbox.ids import IdMaps, find_helper, subordinate_range


def map_ids() -> str:
    """Map ids into a user namespace as nsinit does; return which.

    Raises:
        Failure: only one id could be mapped, or none; with the remedy.
    """
    maps = IdMaps(None, None)
    to_child, from_child = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        _wait_in_user_namespace(to_child, from_child)
    for fd in (to_child[0], from_child[1]):
        os.close(fd)
    try:
        if os.read(from_child[0], 1) != b"1":
            raise Failure("there is no user namespace to map ids into")
        maps.write(child)
    except NsinitError as error:
        raise Failure(str(error)) from error
    finally:
        os.close(to_child[1])
        os.close(from_child[0])
        os.waitpid(child, 0)
    count = sum(extent[2] for extent in maps.uid)
    if count == 1 and os.geteuid() != 0:
        raise Failure(f"only your own id can be mapped, as root: {_remedy()}")
    return f"{count} user ids"


def _wait_in_user_namespace(to_child: tuple[int, int], from_child: tuple[int, int]) -> None:
    """Take a user namespace, say so, and live until the parent closes its end."""
    try:
        os.close(to_child[1])
        unshare(NEWUSER)
        os.write(from_child[1], b"1")
        os.read(to_child[0], 1)
    finally:
        os._exit(0)


def _remedy() -> str:
    if not (find_helper("uid") and find_helper("gid")):
        return "for more, install newuidmap (Debian's package uidmap)"
    uid = os.geteuid()
    if not (subordinate_range("uid", uid) and subordinate_range("gid", uid)):
        return f"for more, usermod --add-subuids 100000-165535 --add-subgids 100000-165535 (the user with uid {uid})"
    return "newuidmap failed: it must be setuid root or have the capability CAP_SETUID, on a mount without nosuid"
