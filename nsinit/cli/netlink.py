"""Two netlink requests, written by hand: enough to ask the kernel what it can do without loading pyroute2 (180 ms).

Source: netlink(7), rtnetlink(7), linux/netfilter/nfnetlink.h.
"""

import socket
import struct

from nsinit.errors import KernelError

_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_NLMSG_ERROR = 2
_REQUEST, _ACK, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x200, 0x400
_RTM_NEWLINK = 16
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1
_NFNL_BATCH_BEGIN, _NFNL_BATCH_END = 16, 17
_NFNL_SUBSYS_NFTABLES, _NFT_MSG_NEWTABLE, _NFTA_TABLE_NAME = 10, 0, 1
_HEADER = struct.Struct("=IHHII")


def add_link(kind: str) -> None:
    """Make a network interface of that kind in the caller's network namespace.

    Raises:
        KernelError: EOPNOTSUPP when the kernel has no such kind, EPERM without CAP_NET_ADMIN.
    """
    interface = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
    info = _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, kind.encode()))
    body = interface + _attribute(_IFLA_IFNAME, b"nsinit0\0") + info
    _exchange(_NETLINK_ROUTE, _message(_RTM_NEWLINK, _ACK | _CREATE | _EXCLUSIVE, body), f"add a {kind} interface")


def add_nft_table() -> None:
    """Make an nftables table in the caller's network namespace; raises KernelError as `add_link`."""

    def header(family: int, resource: int) -> bytes:
        return struct.pack(">BBH", family, 0, resource)

    table = header(socket.AF_INET, 0) + _attribute(_NFTA_TABLE_NAME, b"nsinit\0")
    batch = (
        _message(_NFNL_BATCH_BEGIN, 0, header(0, _NFNL_SUBSYS_NFTABLES))
        + _message(_NFNL_SUBSYS_NFTABLES << 8 | _NFT_MSG_NEWTABLE, _ACK | _CREATE, table)
        + _message(_NFNL_BATCH_END, 0, header(0, _NFNL_SUBSYS_NFTABLES))
    )
    _exchange(_NETLINK_NETFILTER, batch, "add an nftables table")


def _attribute(kind: int, value: bytes) -> bytes:
    padding = b"\0" * (-len(value) % 4)
    return struct.pack("=HH", len(value) + 4, kind) + value + padding


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, 1, 0) + body


def _exchange(protocol: int, request: bytes, what: str) -> None:
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as connection:
            connection.bind((0, 0))
            connection.send(request)
            answer = connection.recv(8192)
    except OSError as error:
        raise KernelError(what, error.errno or 0) from error
    kind = _HEADER.unpack_from(answer)[1]
    errno = -struct.unpack_from("=i", answer, _HEADER.size)[0] if kind == _NLMSG_ERROR else 0
    if errno:
        raise KernelError(what, errno)
