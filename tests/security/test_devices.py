"""A service has the machine's devices in its hands, and must not be able to change them for all."""

import os

from tests.support.runner import Runner
from tests.support.supervised import Supervised

CHANGE = "chmod 640 /proc/self/fd/0; chmod 640 /dev/null; echo tried"


def test_a_service_can_not_change_the_mode_of_the_machines_null_device(nsinit_as_root: Runner) -> None:
    up = Supervised(nsinit_as_root)
    up.service("vandal", f"command = {['sh', '-c', CHANGE + '; exec sleep 1000']!r}\n")
    before = os.stat("/dev/null").st_mode
    with up:
        up.wait_for_output("vandal", '"text":"tried"')
        after = os.stat("/dev/null").st_mode
        os.chmod("/dev/null", before)
        assert after == before
        assert up.log.count("Read-only file system") == 2
