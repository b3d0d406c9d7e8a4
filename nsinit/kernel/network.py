"""The one thing a sandbox needs of the network before a command runs: its loopback interface.

Source: netdevice(7).
"""

import _socket
import fcntl

from nsinit.errors import KernelError

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFNAMSIZ = 16


def raise_loopback() -> None:
    """Bring up `lo` of the caller's network namespace.

    Raises:
        KernelError: EPERM without CAP_NET_ADMIN, ENODEV without loopback, EAFNOSUPPORT without IPv4.
    """
    try:
        handle = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        try:
            request = fcntl.ioctl(handle.fileno(), _SIOCGIFFLAGS, b"lo".ljust(40, b"\0"))
            flags = int.from_bytes(request[_IFNAMSIZ : _IFNAMSIZ + 2], "little") | _IFF_UP
            name = request[:_IFNAMSIZ]
            fcntl.ioctl(handle.fileno(), _SIOCSIFFLAGS, (name + flags.to_bytes(2, "little")).ljust(40, b"\0"))
        finally:
            handle.close()
    except OSError as error:
        raise KernelError("bring up", error.errno or 0, "lo") from None
