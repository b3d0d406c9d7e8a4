"""When a service is started again: delays, limits, and what success is."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsinit.config.model import Restart, ServiceConfig
from nsinit.supervisor.events import Exited
from nsinit.supervisor.restart import Decision, RestartHistory, in_words, judge, wants_restart

EVEN = Restart(jitter=0.0, limit=0)


def delays(restart: Restart, healthy: list[bool], seed: int = 0) -> list[float]:
    history, rng = RestartHistory(), Random(seed)
    decisions = [history.next(restart, float(at), healthy=was, rng=rng) for at, was in enumerate(healthy)]
    return [decision.delay_s for decision in decisions if decision]


def service(kind: str = "simple", **restart: object) -> ServiceConfig:
    return ServiceConfig(
        name="web", path="/srv/web.toml", command=("/bin/true",), type=kind, restart=Restart(**restart)
    )


def test_delays_grow_by_the_factor_up_to_the_maximum() -> None:
    assert delays(EVEN, [False] * 8) == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_healthy_run_makes_the_restart_immediate_and_the_next_delay_short() -> None:
    assert delays(EVEN, [False, False, True, False, False]) == [0.5, 1.0, 0.0, 0.5, 1.0]


def test_delays_stay_finite_after_any_number_of_failures() -> None:
    restart = Restart(jitter=0.0, limit=0, factor=1000.0, max_delay_s=1e9)
    assert delays(restart, [False] * 2000)[-1] == 1e9


@settings(deadline=None)
@given(jitter=st.floats(0, 1), seed=st.integers(), failures=st.integers(1, 12))
def test_jitter_only_shortens_and_never_by_more_than_its_share(jitter: float, seed: int, failures: int) -> None:
    even = delays(EVEN, [False] * failures)
    for exact, jittered in zip(even, delays(Restart(jitter=jitter, limit=0), [False] * failures, seed), strict=True):
        assert exact * (1 - jitter) <= jittered <= exact


def test_the_limit_counts_restarts_in_a_sliding_window() -> None:
    history, rng = RestartHistory(), Random(0)
    restart = Restart(limit=2, window_s=60.0, jitter=0.0)
    assert history.next(restart, 0.0, healthy=False, rng=rng) == Decision(0.5, 1)
    assert history.next(restart, 30.0, healthy=False, rng=rng) == Decision(1.0, 2)
    assert history.next(restart, 59.9, healthy=False, rng=rng) is None
    assert history.next(restart, 60.0, healthy=False, rng=rng) == Decision(2.0, 2)


def test_healthy_runs_count_for_the_limit_too() -> None:
    history, rng = RestartHistory(), Random(0)
    restart = Restart(limit=1)
    assert history.next(restart, 0.0, healthy=True, rng=rng) == Decision(0.0, 1)
    assert history.next(restart, 100.0, healthy=True, rng=rng) is None


def test_a_limit_of_zero_is_none_and_remembers_no_times() -> None:
    history, rng = RestartHistory(), Random(0)
    numbers = [history.next(EVEN, 0.0, healthy=True, rng=rng) for _ in range(1000)]
    assert numbers[-1] == Decision(0.0, 1000)


@pytest.mark.parametrize(
    ("policy", "kind", "success", "again"),
    [
        ("always", "simple", True, True),
        ("always", "simple", False, True),
        ("always", "oneshot", True, False),
        ("always", "oneshot", False, True),
        ("on-failure", "simple", True, False),
        ("on-failure", "simple", False, True),
        ("on-failure", "oneshot", False, True),
        ("no", "simple", True, False),
        ("no", "oneshot", False, False),
    ],
)
def test_the_policy_decides_by_success_and_type(policy: str, kind: str, success: bool, again: bool) -> None:
    assert wants_restart(service(kind, policy=policy), 1, success=success) is again


def test_prevented_codes_win_over_any_policy() -> None:
    assert not wants_restart(service(prevent_exit_codes=(3, 143)), 3, success=False)
    assert not wants_restart(service(prevent_exit_codes=(3, 143)), 128 + 15, success=False)


def test_only_listed_codes_are_success() -> None:
    assert judge(service(), Exited(exit_code=0), executed=True, ready=True) == (True, "exit 0")
    assert judge(service(), Exited(exit_code=1), executed=True, ready=True) == (False, "exit 1")
    assert judge(service(), Exited(), executed=True, ready=True) == (False, "ended")


def test_success_is_impossible_before_a_service_was_executed_or_ready_but_a_oneshot_may_never_get_ready() -> None:
    done = Exited(exit_code=0)
    assert judge(service(), done, executed=False, ready=False) == (False, "exit 0 before its command was executed")
    assert judge(service(), done, executed=True, ready=False) == (False, "exit 0 before it was ready")
    assert judge(service("oneshot"), done, executed=True, ready=False) == (True, "exit 0")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"), (0.4732, "473 ms"), (1, "1 s"), (8.24, "8.2 s"), (10, "10 s"), (59.9, "59.9 s"), (60, "1 min"),
        (90, "1.5 min"), (600, "10 min"), (3600, "1 h"), (5400, "1.5 h"), (86400 * 365, "8760 h"),
    ],
)  # fmt: skip
def test_durations_read_well(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
