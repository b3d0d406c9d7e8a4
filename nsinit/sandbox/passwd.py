"""Users and groups by name from a root's own files, without NSS.

glibc's getpwnam loads modules that the root names (CVE-2019-14271), so the files are read here: regular files only,
never through a link that leaves the root, with limits on size and line length.

Source: passwd(5), group(5).
"""

import os
import stat

from nsinit.errors import LaunchError
from nsinit.kernel.mounts import open_inside

_MAX_SIZE = 16 << 20
_MAX_LINE = 64 << 10
_ENOENT, _EINVAL = 2, 22
_MAX_ID = 0xFFFFFFFE


class User:
    """An identity: ids, supplementary groups, name (maybe empty) and home (maybe empty)."""

    __slots__ = ("gid", "groups", "home", "name", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], name: bytes = b"", home: bytes = b"") -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.name = name
        self.home = home


def read_table(root: int, path: str, fields: int) -> list[list[bytes]]:
    """The lines of a colon-separated file below the directory `root`; [] when it isn't there or isn't sane."""
    try:
        descriptor = open_inside(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return []
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_SIZE:
            return []
        content = b""
        while len(content) <= _MAX_SIZE and (block := os.read(descriptor, 1 << 16)):
            content += block
    finally:
        os.close(descriptor)
    rows = (line.split(b":") for line in content.split(b"\n") if line[:1] not in (b"#", b"") and len(line) < _MAX_LINE)
    return [row for row in rows if len(row) >= fields]


def _number(text: bytes) -> int | None:
    """A decimal id, or None. bytes.isdigit knows ASCII digits only."""
    return int(text) if text.isdigit() and len(text) <= 10 and int(text) <= _MAX_ID else None


def _find(table: list[list[bytes]], key: bytes) -> list[bytes] | None:
    """The row whose name, or failing that whose id, is `key`; a name wins, as in chown(1)."""
    for row in table:
        if row[0] == key:
            return row
    number = _number(key)
    return next((row for row in table if number is not None and _number(row[2]) == number), None)


def find_user(text: str, root: int) -> User:
    """Look up "USER" or "USER:GROUP", each a name or a number, in /etc/passwd and /etc/group below `root`.

    A number needs no entry; its group is then 0, as container runtimes have it.

    Raises:
        LaunchError: the name isn't there, or the number is none.
    """
    name, _, group = os.fsencode(text).partition(b":")
    row = _find(read_table(root, "/etc/passwd", 7), name)
    if row is not None:
        uid, gid, user = _number(row[2]), _number(row[3]), User(0, 0, [], row[0], row[5])
    else:
        uid, gid, user = _number(name), 0, User(0, 0, [])
    if uid is None or gid is None:
        raise LaunchError("find user", _ENOENT if row is None else _EINVAL, text, "it is not in the root's /etc/passwd")
    groups = read_table(root, "/etc/group", 4)
    if group:
        found = _find(groups, group)
        gid = _number(found[2]) if found else _number(group)
        if gid is None:
            raise LaunchError("find group", _ENOENT, os.fsdecode(group), "it is not in the root's /etc/group")
    user.uid, user.gid = uid, gid
    if user.name:
        members = (_number(entry[2]) for entry in groups if user.name in entry[3].split(b","))
        user.groups = sorted({member for member in members if member is not None} | {gid})
    return user
