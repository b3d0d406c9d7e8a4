"""What a sandbox can learn of nsinit: PID 1 and the command's process before it is executed (CVE-2016-9962)."""

from tests.support.runner import Runner
from tests.support.supervised import Supervised

# What leads into a process's memory, its descriptors, or the file systems it came from.
DOORS = ("environ", "mem", "maps", "auxv", "exe", "root/", "cwd/", "fd/0", "ns/mnt", "map_files/")
KNOCK = "; ".join(
    f"if [ -d /proc/1/{door} ]; then ls /proc/1/{door}; else cat /proc/1/{door}; fi >/dev/null 2>&1 && echo {door}"
    for door in DOORS
)

# Starts a sandbox whose id maps are written when its init waits for them; tells whether the command waits, too.
LATE = """
import os, select
from nsinit.kernel import namespaces, signals
from nsinit.sandbox import report
from nsinit.sandbox.ids import IdMaps
from nsinit.sandbox.spec import SandboxSpec
from nsinit.sandbox.stage import clone_init, release

def field(pid, number):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[number]

def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()

spec = SandboxSpec([b"/bin/true"])
spec.unshare = namespaces.ALL
signals.block_all()
receiver, sender = report.channel()
init = clone_init(spec, sender.fileno(), False)
while field(init, 0) != "S":
    select.select([], [], [], 0.01)
print("the command's process exists" if children(init) else "nobody could look", flush=True)
IdMaps([(0, os.getuid(), 1)], [(0, os.getgid(), 1)]).write(init)
release(receiver)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(init, 0)[1]))
"""

# Joins two namespaces, and tells before each whether its memory is open to others, and where modules are looked for.
JOIN = """
import ctypes, os, sys
from nsinit.kernel import namespaces
from nsinit.sandbox import report
from nsinit.sandbox.spec import SandboxSpec
from nsinit.sandbox.stage import join_and_clone_init

PR_GET_DUMPABLE = 3
libc = ctypes.CDLL(None)
names = iter(["user", "mnt"])

def setns(descriptor, flag):
    os.write(1, b"%s %d %d\\n" % (next(names).encode(), libc.prctl(PR_GET_DUMPABLE), len(sys.path)))

namespaces.setns = setns
spec = SandboxSpec([b"/bin/true"])
spec.join = [(namespaces.NEWUSER, -1), (namespaces.NEWNS, -1)]
receiver, sender = report.channel()
join_and_clone_init(spec, sender.fileno(), False)
"""


def test_nothing_of_pid_1_is_open_to_root_in_the_sandbox(nsinit: Runner) -> None:
    result = nsinit.run("--", "sh", "-c", f"{KNOCK}; true")
    assert (result.status, result.stdout) == (0, "")


def test_nothing_of_pid_1_is_open_to_a_service(nsinit: Runner) -> None:
    up = Supervised(nsinit)
    up.service("spy", f"command = {['sh', '-c', f'{KNOCK}; echo done; exec sleep 1000']!r}\n")
    with up:
        up.wait_for_output("spy", '"text":"done"')
        assert '"service":"spy","stream":"stdout","text":"done"' in up.log
        assert not [door for door in DOORS if f'"text":"{door}"' in up.log]


def test_the_command_is_not_even_forked_before_the_memory_of_pid_1_is_closed(nsinit: Runner) -> None:
    result = nsinit.command([nsinit.python, "-I", nsinit.write("late.py", LATE)])
    assert (result.status, result.stdout, result.stderr) == (0, "nobody could look\n", "")


def test_pid_1_can_not_be_traced_by_root_in_the_sandbox(nsinit: Runner) -> None:
    attach = "import ctypes; print(ctypes.CDLL(None, use_errno=True).ptrace(16, 1, 0, 0), ctypes.get_errno())"
    result = nsinit.run("--", nsinit.python, "-I", "-c", attach)
    assert result.stdout.split() == ["-1", "1"]  # EPERM


def test_whoever_enters_a_sandbox_is_closed_to_it_and_sealed_before_the_first_step(nsinit: Runner) -> None:
    result = nsinit.command([nsinit.python, "-I", nsinit.write("join.py", JOIN)])
    assert (result.stdout, result.stderr) == ("user 0 0\nmnt 0 0\n", "")
