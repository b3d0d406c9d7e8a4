"""Which process the supervisor means: its pids, translated into the caller's.

A supervisor in a pid namespace of its own counts from 1. /proc/PID/status lists a process's pid in every namespace
from the reader's down to the process's own ("NSpid"); the supervisor's own line says how deep its column is, and every
process below it has that column too.
"""

from errno import ESRCH

from nsinit.errors import KernelError, OperationFailed
from nsinit.inspect import procfs


def supervisor_host_pid(launcher_pid: int, namespaces: bool) -> int:
    """The supervisor's pid as the caller sees it: the launcher's only child, or without namespaces the launcher.

    Raises:
        OperationFailed: there is no such launcher, or it has no child.
    """
    if not namespaces:
        return launcher_pid
    # Found by what it is, not by being alone: a launcher may have a helper running for a moment.
    for pid in procfs.children(launcher_pid):
        try:
            ns_pids = procfs.read_status(pid).ns_pids
        except KernelError:
            continue
        if len(ns_pids) > 1 and ns_pids[-1] == 1:
            return pid
    raise OperationFailed(f"cannot find the supervisor: process {launcher_pid}, which started it, has no such child")


def host_pids(supervisor_host_pid: int) -> dict[int, int]:
    """Map pids in the supervisor's pid namespace to the caller's, for the supervisor and all processes below it.

    The same pids on both sides when the supervisor has no pid namespace of its own. A snapshot: hold a pidfd before
    acting on a pid of it, and check what it stands for afterwards.

    Raises:
        KernelError: ESRCH when the supervisor has ended.
    """
    level = len(procfs.read_status(supervisor_host_pid).ns_pids) - 1
    found = {}
    for pid in (supervisor_host_pid, *procfs.descendants(supervisor_host_pid)):
        try:
            ns_pids = procfs.read_status(pid).ns_pids
        except KernelError as error:
            if error.errno != ESRCH:
                raise
            continue
        # Shorter where a pid was reused, since the scan, for a process outside.
        if len(ns_pids) > level:
            found[ns_pids[level]] = pid
    return found
