"""Users and groups by name from a root's own files, without NSS.

glibc's getpwnam loads modules that the root names (CVE-2019-14271), so the files are read here: regular files only,
never through a link that leaves the root, with limits on size and line length.

Source: passwd(5), group(5).
"""

import os
import stat

from nsinit.errors import LaunchError
from nsinit.kernel.mounts import open_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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


def read_table(root: int, path: str, fields: int) -> "Iterator[list[bytes]]":
    """The lines of a colon-separated file below the directory `root`; none when it isn't there or isn't sane.

    One row at a time: millions of them fit into a file of that size, but not into memory.
    """
    content, start = _read_file(root, path), 0
    while start < len(content):
        end = content.find(b"\n", start) % (len(content) + 1)  # the last line may have no end
        line, start = content[start : min(end, start + _MAX_LINE)], end + 1
        row = line.split(b":")
        if len(row) >= fields and len(line) < _MAX_LINE and line[:1] != b"#" and b"\0" not in line:
            yield row


def _read_file(root: int, path: str) -> bytes:
    try:
        descriptor = open_inside(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_SIZE:
            return b""
        blocks, size = [], 0
        while size <= _MAX_SIZE and (block := os.read(descriptor, 1 << 20)):
            blocks.append(block)
            size += len(block)
        return b"".join(blocks) if size <= _MAX_SIZE else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _number(text: bytes) -> int | None:
    """A decimal id, or None. bytes.isdigit knows ASCII digits only."""
    return int(text) if text.isdigit() and len(text) <= 10 and int(text) <= _MAX_ID else None


def _find(table: "Iterable[list[bytes]]", key: bytes) -> list[bytes] | None:
    """The row whose name, or failing that whose id, is `key`; a name wins, as in chown(1)."""
    number, found = _number(key), None
    for row in table:
        if row[0] == key:
            return row
        if found is None and number is not None and _number(row[2]) == number:
            found = row
    return found


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
    if group:
        found = _find(read_table(root, "/etc/group", 4), group)
        gid = _number(found[2]) if found else _number(group)
        if gid is None:
            raise LaunchError("find group", _ENOENT, os.fsdecode(group), "it is not in the root's /etc/group")
    user.uid, user.gid = uid, gid
    if user.name:
        groups = read_table(root, "/etc/group", 4)
        members = (_number(entry[2]) for entry in groups if user.name in entry[3].split(b","))
        user.groups = sorted({member for member in members if member is not None} | {gid})
    return user
