"""Services as `ps` and `status` show them: what the supervisor says, and their pids as the caller sees them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nsinit.errors import NsinitError

if TYPE_CHECKING:
    from nsinit.control.client import Client
    from nsinit.control.runtime import RuntimeEntry
    from nsinit.supervisor.model import ServiceStatus

ACTIVE = frozenset({"running", "ready", "completed"})


def caller_pids(entry: "RuntimeEntry", client: "Client") -> Mapping[int, int]:
    """The supervisor's pids -> the caller's; empty where the caller can't see them."""
    from nsinit.inspect.pids import host_pids, supervisor_host_pid

    try:
        return host_pids(supervisor_host_pid(entry.launcher_pid, client.info().namespaces))
    except NsinitError:
        return {}


def as_json(status: "ServiceStatus", pids: Mapping[int, int]) -> dict[str, object]:
    """A service as `--json` prints it. These keys are an interface: they change only with a major version."""
    return {
        "name": status.name,
        "state": status.state,
        "reason": status.reason,
        "ready": status.ready,
        "pid": status.pid,
        "host_pid": host_pid(status.pid, pids),
        "init_host_pid": host_pid(status.init_pid, pids),
        "restarts": status.restarts,
        "uptime_s": status.uptime_s,
        "exit_code": status.exit_code,
        "signal": status.signal,
        "type": status.type,
        "startup": status.startup,
    }


def host_pid(pid: int | None, pids: Mapping[int, int]) -> int | None:
    """A pid of the supervisor's as the caller sees it; None if it can't."""
    return None if pid is None else pids.get(pid)
