"""Shifted clocks: a time namespace whose offsets are set before anybody is in it."""

import os
import time

import pytest

CLOCKS = "import time; print(time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_gettime(time.CLOCK_MONOTONIC))"


@pytest.mark.parametrize("boottime", ["1d", "-10s"])
def test_the_command_and_its_children_see_shifted_clocks(nsinit, boottime):
    shifts = {"1d": 86400, "-10s": -10}
    asked = ["run", "--boottime", boottime, "--monotonic", "2h", "--", nsinit.python, "-I", "-c", CLOCKS]
    before = time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_gettime(time.CLOCK_MONOTONIC)
    result = nsinit.run(*asked)
    after = time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_gettime(time.CLOCK_MONOTONIC)
    assert result.stderr == ""
    for low, seen, high, shift in zip(
        before, map(float, result.stdout.split()), after, (shifts[boottime], 7200), strict=True
    ):
        assert low <= seen - shift <= high


def test_proc_shows_the_shifted_uptime_and_a_time_namespace_of_its_own(nsinit):
    result = nsinit.run("run", "--boottime", "10d", "--", "sh", "-c", "cat /proc/uptime; readlink /proc/self/ns/time")
    uptime, namespace = result.stdout.splitlines()
    assert float(uptime.split()[0]) >= 864000
    assert namespace != os.readlink("/proc/self/ns/time")


def test_a_clock_before_zero_is_refused_with_its_name(nsinit):
    result = nsinit.run("run", "--boottime", "-36500d", "--", "true")
    assert result.status == 125
    assert "cannot shift clocks" in result.stderr
    assert "boottime" in result.stderr
    assert "ERANGE" in result.stderr
