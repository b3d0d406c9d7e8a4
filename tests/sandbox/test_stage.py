"""The handshake between a launcher and the processes of a sandbox."""

from nsinit.kernel import namespaces
from nsinit.sandbox.spec import SandboxSpec
from nsinit.sandbox.stage import decode_request, encode_request

# Writes the id maps as late as a busy machine may: when the init waits for them.
LATE = """
import os, select
from nsinit.kernel import namespaces, signals
from nsinit.sandbox import report
from nsinit.sandbox.ids import IdMaps
from nsinit.sandbox.spec import SandboxSpec
from nsinit.sandbox.stage import clone_init, release

def sleeps(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "S"

spec = SandboxSpec([b"/bin/cat", b"/proc/self/uid_map"])
spec.unshare = namespaces.ALL
spec.proc = True
signals.block_all()
receiver, sender = report.channel()
init = clone_init(spec, sender.fileno(), False)
while not sleeps(init):
    select.select([], [], [], 0.01)
IdMaps([(0, os.getuid(), 1)], [(0, os.getgid(), 1)]).write(init)
release(receiver)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(init, 0)[1]))
"""


def test_an_init_stays_open_to_its_launcher_until_the_id_maps_are_written(nsinit, account):
    script = nsinit.write("late.py", LATE)
    result = nsinit.command([nsinit.python, "-I", script])
    assert result.stderr == ""
    assert result.stdout.split() == ["0", str(account.uid), "1"]
    assert result.status == 0


def test_a_request_says_at_once_what_the_init_is_cloned_into():
    spec = SandboxSpec([b"true"])
    spec.unshare = namespaces.NEWPID | namespaces.NEWTIME
    spec.session = True
    request = encode_request(spec)
    assert int.from_bytes(request[:8], "little") == namespaces.NEWPID | namespaces.NEWTIME
    assert tuple(request[8:10]) == (True, True)
    policy, values = decode_request(request)
    assert policy == spec.policy()
    assert SandboxSpec.from_dict(values).to_dict() == spec.to_dict()
