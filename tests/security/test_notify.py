"""Readiness messages as a weapon: what they carry, who sends them, and how much work they make."""

from tests.support.runner import Runner
from tests.support.supervised import Supervised

CONNECT = """
import array, os, signal, socket, struct
channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
path = os.environ.get("NOTIFY_SOCKET", "")
channel.connect(path.replace("@", chr(0), 1))
"""

# Sends a connection with data under way whose last owner waits an hour for it to arrive, and keeps one in the queue.
LINGER = (
    CONNECT
    + """
def endless():
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listener.getsockname())
    receiver, _ = listener.accept()
    sender.setblocking(False)
    try:
        while True:
            sender.send(bytes(65536))
    except BlockingIOError:
        pass
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    return sender, receiver

pairs = [endless() for _ in range(3)]
channel.send(b"READY=1")
for sender, _ in pairs:
    channel.sendmsg([b"X=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sender.fileno()]))])
    sender.close()
print("sent", flush=True)
signal.pause()
"""
)

# One process below the other, far deeper than any real service; the last one speaks.
DEEP = (
    CONNECT
    + """
for _ in range(200):
    if os.fork():
        os.wait()
        os._exit(0)
channel.send(b"READY=1\\nSTATUS=deep")
print("sent", flush=True)
signal.pause()
"""
)

# Speaks to every readiness socket it can find but its own.
FORGE = """
import glob, os, signal, socket, sys
channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for path in glob.glob(sys.argv[1] + "/**", recursive=True):
    try:
        channel.sendto(b"READY=1", path)
        print("spoke to", path, flush=True)
    except OSError:
        pass
print("sent", flush=True)
signal.pause()
"""


def _service(runner: Runner, up: Supervised, name: str, script: str, *arguments: str, notify: bool = True) -> None:
    file = runner.write(f"{name}.py", script)
    readiness = '[readiness]\nmethod = "notify"\ntimeout = "1h"\n' if notify else ""
    # The interpreter and the script lie in /tmp, too.
    sandbox = "[sandbox]\ntmpfs = []\n"
    up.service(name, f"command = {[runner.python, '-I', str(file), *arguments]!r}\n{sandbox}{readiness}")


def test_a_descriptor_that_takes_an_hour_to_close_does_not_hold_up_the_supervisor(nsinit: Runner) -> None:
    up = Supervised(nsinit)
    _service(nsinit, up, "evil", LINGER)
    with up:
        up.wait_for_output("evil", "sent")
        assert up.services()["evil"]["state"] == "ready"
        assert up.ask("stop", "evil").status == 0
        assert up.services()["evil"]["state"] == "stopped"


def test_a_message_from_very_deep_down_is_not_heard(nsinit: Runner) -> None:
    up = Supervised(nsinit)
    _service(nsinit, up, "deep", DEEP)
    with up:
        up.wait_for_output("deep", "sent")
        assert up.services()["deep"]["state"] == "running"
        assert '"text":"deep"' not in up.log


def test_a_service_can_not_speak_for_another_one(nsinit: Runner) -> None:
    up = Supervised(nsinit)
    _service(nsinit, up, "victim", "import signal; signal.pause()")
    _service(nsinit, up, "forger", FORGE, nsinit.environ["NSINIT_RUNTIME_DIR"], notify=False)
    with up:
        up.wait_for_output("forger", '"text":"sent"')
        assert up.services()["victim"]["state"] == "running"
