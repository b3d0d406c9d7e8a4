"""The life of one service: each semantic by example. What holds in any order is in test_machine_invariants.py."""

from random import Random

import pytest

from nsinit.config.model import Readiness, Restart, ServiceConfig, Stop
from nsinit.supervisor import events as ev
from nsinit.supervisor.machine import ServiceMachine
from nsinit.supervisor.states import IllegalTransition, State

NOTIFY = Readiness(method="notify", timeout_s=60.0)
SIGTERM, SIGKILL = 15, 9


def service(**keys: object) -> ServiceConfig:
    keys.setdefault("restart", Restart(jitter=0.0))
    return ServiceConfig(name="web", path="/srv/web.toml", command=("/usr/bin/web",), **keys)


class Driver:
    """Plays the world for one machine: a clock, the armed timer, and what was asked for last."""

    def __init__(self, config: ServiceConfig) -> None:
        self.machine = ServiceMachine(config, Random(0))
        self.now = 100.0
        self.timer: ev.StartTimer | None = None
        self.actions: list[ev.AnyAction] = []

    def tell(self, *events: ev.AnyEvent, after_s: float = 0.0) -> list[ev.AnyAction]:
        """Hand over events, `after_s` seconds from now; return the actions of the last one."""
        self.now += after_s
        for event in events:
            self.actions = self.machine.handle(event, self.now)
            for action in self.actions:
                match action:
                    case ev.StartTimer():
                        self.timer = action
                    case ev.CancelTimer():
                        self.timer = None
        return self.actions

    def launch(self) -> list[ev.AnyAction]:
        """From a start to a running process."""
        return self.tell(ev.StartRequested(), ev.DependenciesMet(), ev.Spawned(10, 11))

    def relaunch(self) -> list[ev.AnyAction]:
        """From waiting to a running process."""
        return self.tell(ev.DependenciesMet(), ev.Spawned(10, 11))

    def elapse(self) -> list[ev.AnyAction]:
        """Let the armed timer run out."""
        assert self.timer is not None
        timer, self.timer = self.timer, None
        return self.tell(timer.event, after_s=timer.seconds)

    @property
    def where(self) -> tuple[State, str]:
        return self.machine.state, self.machine.reason


def kinds(actions: list[ev.AnyAction]) -> list[str]:
    return [type(action).__name__ for action in actions]


# Starting


def test_a_new_service_is_stopped_and_says_why() -> None:
    assert Driver(service()).where == (State.STOPPED, "not started yet")
    disabled = Driver(service(startup="disabled"))
    assert disabled.where == (State.STOPPED, "disabled: starts when asked for or needed")


def test_a_start_asks_for_the_dependencies_before_anything_else() -> None:
    driver = Driver(service())
    assert driver.tell(ev.StartRequested()) == [ev.CheckDependencies()]
    assert driver.machine.state is State.WAITING


def test_waiting_says_what_for_and_announces_only_changes() -> None:
    driver = Driver(service())
    driver.tell(ev.StartRequested())
    reason = "waiting for db to be ready"
    assert driver.tell(ev.DependencyWait("db to be ready")) == [ev.Announce(State.STOPPED, State.WAITING, reason)]
    assert driver.tell(ev.DependencyWait("db to be ready")) == []


def test_a_failed_dependency_blocks_until_it_comes_back() -> None:
    driver = Driver(service())
    driver.tell(ev.StartRequested(), ev.DependencyFailed("db", "exit 3"))
    assert driver.where == (State.WAITING, "waiting for db, which is down: exit 3")
    assert driver.machine.blocked
    driver.tell(ev.DependencyWait("db to be ready"))
    assert not driver.machine.blocked
    assert ev.Spawn() in driver.tell(ev.DependenciesMet())


def test_a_service_without_readiness_is_ready_when_its_command_has_been_executed() -> None:
    driver = Driver(service())
    driver.tell(ev.StartRequested("start requested"), ev.DependenciesMet())
    assert driver.where == (State.STARTING, "launching (start requested)")
    assert driver.tell(ev.Spawned(10, 11)) == [ev.Announce(State.STARTING, State.READY, "up (start requested)")]
    status = driver.machine.status(driver.now + 2)
    assert (status.ready, status.init_pid, status.pid, status.uptime_s) == (True, 10, 11, 2.0)


def test_a_notifying_service_runs_until_it_says_that_it_is_ready() -> None:
    driver = Driver(service(readiness=NOTIFY))
    driver.launch()
    assert driver.where == (State.RUNNING, "not ready yet: has to send READY=1 within 1 min")
    assert not driver.machine.status(driver.now).ready
    assert driver.timer == ev.StartTimer(ev.TimerKind.READY, 60.0, ev.ReadyTimeout(1))
    assert kinds(driver.tell(ev.Ready())) == ["CancelTimer", "Announce"]
    assert driver.where == (State.READY, "up, sent READY=1 (start requested)")


def test_a_notification_may_overtake_the_answer_to_the_launch() -> None:
    driver = Driver(service(readiness=NOTIFY))
    driver.tell(ev.StartRequested(), ev.DependenciesMet(), ev.Ready())
    assert driver.machine.state is State.STARTING
    driver.tell(ev.Spawned(10, 11))
    assert driver.machine.state is State.READY
    assert driver.timer is None


def test_an_early_notification_does_not_count_for_the_next_launch() -> None:
    driver = Driver(service(readiness=NOTIFY))
    driver.tell(ev.StartRequested(), ev.DependenciesMet(), ev.Ready(), ev.SpawnFailed("cannot exec"))
    driver.elapse()
    driver.relaunch()
    assert driver.machine.state is State.RUNNING


def test_a_notification_means_nothing_where_none_was_agreed_on() -> None:
    driver = Driver(service(type="oneshot"))
    driver.launch()
    assert driver.tell(ev.Ready()) == []
    assert driver.machine.state is State.RUNNING


def test_a_second_notification_changes_nothing() -> None:
    driver = Driver(service(readiness=NOTIFY))
    driver.launch()
    driver.tell(ev.Ready())
    assert driver.tell(ev.Ready()) == []


def test_a_service_may_ask_for_more_time_to_become_ready() -> None:
    driver = Driver(service(readiness=NOTIFY))
    driver.launch()
    first = driver.timer
    assert first is not None
    assert kinds(driver.tell(ev.ExtendReady(90.0), after_s=50)) == ["CancelTimer", "StartTimer"]
    assert driver.tell(first.event, after_s=10) == []
    driver.elapse()
    assert driver.machine.reason == "not ready within 2.5 min: SIGTERM sent, SIGKILL in 10 s"


def test_a_readiness_timeout_of_zero_is_none() -> None:
    driver = Driver(service(readiness=Readiness(method="notify", timeout_s=0.0)))
    driver.launch()
    assert driver.timer is None
    assert driver.where == (State.RUNNING, "not ready yet: has to send READY=1")


def test_a_missed_readiness_is_a_stop_and_then_a_failure() -> None:
    driver = Driver(service(readiness=NOTIFY))
    driver.launch()
    actions = driver.elapse()
    assert driver.where == (State.STOPPING, "not ready within 1 min: SIGTERM sent, SIGKILL in 10 s")
    assert ev.SendSignal(SIGTERM, "main") in actions
    driver.tell(ev.Exited(exit_code=0))
    assert driver.where == (State.BACKOFF, "not ready within 1 min (exit 0), restart 1 of 10 in 500 ms")


def test_a_missed_readiness_fails_a_service_that_is_not_restarted() -> None:
    driver = Driver(service(readiness=NOTIFY, restart=Restart(policy="no")))
    driver.launch()
    driver.elapse()
    driver.elapse()
    driver.tell(ev.Exited(signal=SIGKILL))
    assert driver.where == (
        State.FAILED,
        "not ready within 1 min (killed by SIGKILL: still there 10 s after it was asked to stop)",
    )


def test_a_start_of_what_is_on_its_way_changes_nothing() -> None:
    driver = Driver(service(readiness=NOTIFY))
    for event in (ev.StartRequested(), ev.DependenciesMet(), ev.Spawned(10, 11), ev.Ready()):
        driver.tell(event)
        before = driver.where
        assert driver.tell(ev.StartRequested("again")) == []
        assert driver.where == before


# Launches that fail


def test_a_failed_launch_counts_as_a_failure_and_backs_off() -> None:
    driver = Driver(service())
    driver.tell(ev.StartRequested(), ev.DependenciesMet())
    actions = driver.tell(ev.SpawnFailed("cannot exec /usr/bin/web: ENOENT", 127))
    assert driver.where == (State.BACKOFF, "cannot exec /usr/bin/web: ENOENT, restart 1 of 10 in 500 ms")
    assert driver.machine.status(driver.now).exit_code == 127
    assert ev.RestartFollowers() not in actions


def test_a_failed_launch_is_never_a_success() -> None:
    config = service(type="oneshot", success_exit_codes=(0, 127), restart=Restart(policy="no"))
    driver = Driver(config)
    driver.tell(ev.StartRequested(), ev.DependenciesMet(), ev.SpawnFailed("cannot exec", 127))
    assert driver.where == (State.FAILED, "cannot exec")


def test_an_exit_before_the_command_was_executed_is_a_failure_whatever_the_code() -> None:
    driver = Driver(service(type="oneshot", restart=Restart(policy="no")))
    driver.tell(ev.StartRequested(), ev.DependenciesMet(), ev.Exited(exit_code=0))
    assert driver.where == (State.FAILED, "exit 0 before its command was executed")


@pytest.mark.parametrize("event", [ev.Spawned(10, 11), ev.SpawnFailed("cannot exec"), ev.Exited(exit_code=0)])
def test_news_of_something_that_was_never_launched_raises(event: ev.AnyEvent) -> None:
    with pytest.raises(IllegalTransition, match=r"web .*report this bug"):
        Driver(service()).tell(event)


# Exits and restarts


def test_a_crash_is_restarted_after_a_delay_with_the_reason_in_words() -> None:
    driver = Driver(service(restart=Restart(delay_s=8.2, jitter=0.0)))
    driver.launch()
    actions = driver.tell(ev.Exited(exit_code=3), after_s=1)
    assert driver.where == (State.BACKOFF, "exit 3, restart 1 of 10 in 8.2 s")
    assert kinds(actions) == ["Announce", "StartTimer", "RestartFollowers"]
    assert driver.elapse() == [ev.CheckDependencies()]
    driver.relaunch()
    assert driver.where == (State.READY, "up (exit 3, restart 1 of 10)")
    assert driver.machine.restarts == 1


def test_a_restart_waits_for_dependencies_like_a_first_start() -> None:
    driver = Driver(service())
    driver.launch()
    driver.tell(ev.Exited(exit_code=3))
    driver.elapse()
    driver.tell(ev.DependencyWait("db to be ready"))
    assert driver.where == (State.WAITING, "waiting for db to be ready")


def test_the_first_restart_after_a_healthy_run_is_immediate() -> None:
    driver = Driver(service())
    driver.launch()
    actions = driver.tell(ev.Exited(signal=SIGKILL, detail="out of memory"), after_s=30)
    assert actions == [ev.CheckDependencies(), ev.RestartFollowers()]
    driver.tell(ev.DependenciesMet())
    assert driver.where == (State.STARTING, "launching (killed by SIGKILL (out of memory), restart 1 of 10)")


def test_time_spent_before_readiness_makes_no_run_healthy() -> None:
    driver = Driver(service(readiness=NOTIFY))
    driver.launch()
    driver.tell(ev.Exited(exit_code=3), after_s=59)
    assert driver.machine.state is State.BACKOFF


def test_a_oneshot_that_worked_for_long_before_it_failed_had_a_healthy_run() -> None:
    driver = Driver(service(type="oneshot", restart=Restart(policy="on-failure")))
    driver.launch()
    driver.tell(ev.Exited(exit_code=1), after_s=3600)
    assert driver.machine.state is State.WAITING


def test_always_restarts_after_success_too() -> None:
    driver = Driver(service())
    driver.launch()
    driver.tell(ev.Exited(exit_code=0))
    assert driver.machine.state is State.BACKOFF


@pytest.mark.parametrize("policy", ["on-failure", "no"])
def test_success_without_a_restart_is_completed(policy: str) -> None:
    driver = Driver(service(restart=Restart(policy=policy)))
    driver.launch()
    driver.tell(ev.Exited(exit_code=0))
    assert driver.where == (State.COMPLETED, "exit 0")


def test_failure_without_a_restart_is_failed() -> None:
    driver = Driver(service(restart=Restart(policy="no")))
    driver.launch()
    driver.tell(ev.Exited(exit_code=3))
    assert driver.where == (State.FAILED, "exit 3")


@pytest.mark.parametrize("policy", ["always", "on-failure", "no"])
def test_a_oneshot_that_succeeds_is_completed_whatever_the_policy(policy: str) -> None:
    driver = Driver(service(type="oneshot", restart=Restart(policy=policy)))
    driver.launch()
    assert driver.where == (State.RUNNING, "at work (start requested)")
    driver.tell(ev.Exited(exit_code=0))
    assert driver.where == (State.COMPLETED, "exit 0")


def test_success_exit_codes_say_what_success_is_and_signals_count_as_the_shell_counts_them() -> None:
    for how in (ev.Exited(exit_code=7), ev.Exited(signal=SIGTERM)):
        driver = Driver(service(type="oneshot", success_exit_codes=(7, 143), restart=Restart(policy="no")))
        driver.launch()
        driver.tell(how)
        assert driver.machine.state is State.COMPLETED


def test_leaving_with_success_before_being_ready_is_a_failure() -> None:
    driver = Driver(service(readiness=NOTIFY, restart=Restart(policy="on-failure", jitter=0.0)))
    driver.launch()
    actions = driver.tell(ev.Exited(exit_code=0))
    assert actions[0] == ev.CancelTimer(ev.TimerKind.READY)
    assert driver.where == (State.BACKOFF, "exit 0 before it was ready, restart 1 of 10 in 500 ms")


def test_readiness_of_an_earlier_run_does_not_count_for_this_one() -> None:
    driver = Driver(service(readiness=NOTIFY, restart=Restart(policy="on-failure")))
    driver.launch()
    driver.tell(ev.Ready(), ev.Exited(exit_code=3))
    driver.elapse()
    driver.relaunch()
    driver.tell(ev.Exited(exit_code=0), after_s=50)
    assert driver.machine.state is State.BACKOFF


def test_prevented_exit_codes_are_never_restarted() -> None:
    driver = Driver(service(restart=Restart(prevent_exit_codes=(3,))))
    driver.launch()
    driver.tell(ev.Exited(exit_code=3))
    assert driver.where == (State.FAILED, "exit 3, not restarted: one of prevent_exit_codes")


def test_the_limit_ends_in_failed_and_a_start_forgives_everything() -> None:
    driver = Driver(service(restart=Restart(limit=2, jitter=0.0)))
    driver.launch()
    for _ in range(2):
        driver.tell(ev.Exited(exit_code=3))
        driver.elapse()
        driver.relaunch()
    assert driver.machine.restarts == 2
    driver.tell(ev.Exited(exit_code=3))
    assert driver.where == (State.FAILED, "exit 3, restart limit reached (2 within 10 min)")
    assert driver.timer is None
    driver.launch()
    assert driver.machine.status(driver.now).exit_code is None
    assert driver.machine.restarts == 0
    driver.tell(ev.Exited(exit_code=3))
    assert driver.machine.reason == "exit 3, restart 1 of 2 in 500 ms"


def test_without_a_limit_the_reason_counts_without_a_total() -> None:
    driver = Driver(service(restart=Restart(limit=0, jitter=0.0)))
    driver.launch()
    driver.tell(ev.Exited(exit_code=3))
    assert driver.machine.reason == "exit 3, restart 1 in 500 ms"


def test_the_limit_may_shut_everything_down() -> None:
    driver = Driver(service(restart=Restart(limit=1, on_limit="shutdown")))
    driver.launch()
    driver.tell(ev.Exited(exit_code=3))
    driver.elapse()
    driver.relaunch()
    actions = driver.tell(ev.Exited(exit_code=3))
    assert actions[-1] == ev.Shutdown("web failed: exit 3, restart limit reached (1 within 10 min)")


def test_a_start_cuts_a_backoff_short() -> None:
    driver = Driver(service())
    driver.launch()
    driver.tell(ev.Exited(exit_code=3))
    assert driver.tell(ev.StartRequested()) == [ev.CancelTimer(ev.TimerKind.BACKOFF), ev.CheckDependencies()]
    assert driver.machine.restarts == 0


# Stopping


def test_a_stop_sends_the_signal_and_gives_time() -> None:
    driver = Driver(service(stop=Stop(signal=3, scope="group", timeout_s=5.0)))
    driver.launch()
    assert driver.tell(ev.StopRequested()) == [
        ev.Announce(State.READY, State.STOPPING, "stop requested: SIGQUIT sent, SIGKILL in 5 s"),
        ev.SendSignal(3, "group"),
        ev.StartTimer(ev.TimerKind.STOP, 5.0, ev.StopTimeout(1)),
    ]


@pytest.mark.parametrize("how", [ev.Exited(exit_code=0), ev.Exited(exit_code=3), ev.Exited(signal=11)], ids=str)
def test_an_exit_after_a_stop_was_asked_for_is_stopped_whatever_the_code(how: ev.Exited) -> None:
    driver = Driver(service())
    driver.launch()
    driver.tell(ev.StopRequested(), how)
    assert driver.where == (State.STOPPED, f"stop requested ({how})")
    assert driver.timer is None
    assert driver.machine.pid is None


def test_who_ignores_the_signal_is_killed_and_the_reason_says_so() -> None:
    driver = Driver(service())
    driver.launch()
    driver.tell(ev.StopRequested())
    actions = driver.elapse()
    assert actions[0] == ev.KillAll()
    assert driver.machine.reason == (
        "stop requested: still there 10 s after it was asked to stop, SIGKILL sent to all of it"
    )
    driver.tell(ev.Exited(signal=SIGKILL))
    assert driver.where == (
        State.STOPPED,
        "stop requested (killed by SIGKILL: still there 10 s after it was asked to stop)",
    )


def test_every_stop_escalates_anew() -> None:
    driver = Driver(service())
    for _ in range(2):
        driver.launch()
        driver.tell(ev.StopRequested())
        assert ev.KillAll() in driver.elapse()
        driver.tell(ev.Exited(signal=SIGKILL))
    driver.launch()
    driver.tell(ev.StopRequested(), ev.Exited(exit_code=0))
    assert driver.where == (State.STOPPED, "stop requested (exit 0)")


def test_a_stop_while_waiting_or_in_backoff_is_immediate() -> None:
    waiting = Driver(service())
    waiting.tell(ev.StartRequested(), ev.DependencyWait("db to be ready"), ev.StopRequested("shutting down"))
    assert waiting.where == (State.STOPPED, "shutting down")
    backoff = Driver(service())
    backoff.launch()
    backoff.tell(ev.Exited(exit_code=3))
    timer = backoff.timer
    assert timer is not None
    assert kinds(backoff.tell(ev.StopRequested())) == ["CancelTimer", "Announce"]
    assert backoff.tell(timer.event) == []
    assert backoff.machine.state is State.STOPPED


def test_a_stop_during_the_launch_signals_as_soon_as_there_is_someone_to_signal() -> None:
    driver = Driver(service())
    driver.tell(ev.StartRequested(), ev.DependenciesMet())
    assert kinds(driver.tell(ev.StopRequested())) == ["Announce", "StartTimer"]
    assert driver.machine.reason == "stop requested: still being launched, SIGKILL in 10 s"
    assert driver.tell(ev.Spawned(10, 11)) == [ev.SendSignal(SIGTERM, "main")]
    driver.tell(ev.Exited(signal=SIGTERM))
    assert driver.where == (State.STOPPED, "stop requested (killed by SIGTERM)")


def test_a_launch_that_hangs_is_killed_by_the_stop_and_once_more_if_it_answers_after_all() -> None:
    driver = Driver(service())
    driver.tell(ev.StartRequested(), ev.DependenciesMet(), ev.StopRequested())
    assert driver.elapse()[0] == ev.KillAll()
    assert driver.tell(ev.Spawned(10, 11)) == [ev.KillAll()]


def test_a_launch_that_fails_during_a_stop_is_stopped() -> None:
    driver = Driver(service())
    driver.tell(ev.StartRequested(), ev.DependenciesMet(), ev.StopRequested(), ev.SpawnFailed("cannot exec"))
    assert driver.where == (State.STOPPED, "stop requested (cannot exec)")


def test_a_stop_of_what_is_at_rest_changes_nothing() -> None:
    failed = Driver(service(restart=Restart(policy="no")))
    failed.launch()
    failed.tell(ev.Exited(exit_code=3))
    assert failed.tell(ev.StopRequested(), ev.KillRequested()) == []
    assert failed.where == (State.FAILED, "exit 3")


def test_a_restart_is_a_stop_with_a_start_behind_it() -> None:
    driver = Driver(service())
    driver.launch()
    driver.tell(ev.StopRequested("restart requested"), ev.StartRequested("restart requested"))
    assert driver.machine.starts_again
    assert driver.machine.reason == "restart requested: SIGTERM sent, SIGKILL in 10 s; starts again afterwards"
    assert driver.tell(ev.Exited(signal=SIGTERM)) == [
        ev.CancelTimer(ev.TimerKind.STOP),
        ev.Announce(State.STOPPING, State.STOPPED, "restart requested (killed by SIGTERM)"),
        ev.CheckDependencies(),
        ev.RestartFollowers(),
    ]
    driver.relaunch()
    assert driver.where == (State.READY, "up (restart requested)")
    assert driver.machine.restarts == 0


def test_a_replacement_is_a_stop_with_a_start_behind_it() -> None:
    driver = Driver(service())
    driver.launch()
    assert kinds(driver.tell(ev.RestartRequested("db was restarted")))[:2] == ["Announce", "SendSignal"]
    assert driver.machine.starts_again
    driver.tell(ev.Exited(signal=SIGTERM))
    driver.relaunch()
    assert driver.where == (State.READY, "up (db was restarted)")


def test_a_replacement_never_revives_what_is_being_stopped_or_has_no_process() -> None:
    stopping = Driver(service())
    stopping.launch()
    stopping.tell(ev.StopRequested())
    assert stopping.tell(ev.RestartRequested()) == []
    stopping.tell(ev.Exited(exit_code=0))
    assert stopping.tell(ev.RestartRequested()) == []
    assert stopping.machine.state is State.STOPPED
    waiting = Driver(service())
    waiting.tell(ev.StartRequested())
    assert waiting.tell(ev.RestartRequested()) == []


def test_a_stop_cancels_the_start_behind_an_earlier_stop() -> None:
    driver = Driver(service())
    driver.launch()
    driver.tell(ev.StopRequested(), ev.StartRequested(), ev.StopRequested("shutting down"))
    assert not driver.machine.starts_again
    driver.tell(ev.Exited(exit_code=0))
    assert driver.where == (State.STOPPED, "shutting down (exit 0)")


def test_a_second_stop_neither_signals_nor_waits_anew() -> None:
    driver = Driver(service())
    driver.launch()
    driver.tell(ev.StopRequested())
    assert driver.tell(ev.StopRequested()) == []


def test_a_stop_during_the_end_of_an_unready_service_makes_it_stopped() -> None:
    driver = Driver(service(readiness=NOTIFY))
    driver.launch()
    driver.elapse()
    driver.tell(ev.StopRequested(), ev.Exited(exit_code=0))
    assert driver.where == (State.STOPPED, "stop requested (exit 0)")


def test_a_start_during_the_end_of_an_unready_service_is_a_fresh_one() -> None:
    driver = Driver(service(readiness=NOTIFY, restart=Restart(policy="no")))
    driver.launch()
    driver.elapse()
    driver.tell(ev.StartRequested(), ev.Exited(exit_code=0))
    assert driver.machine.state is State.WAITING


def test_a_kill_hastens_a_stop() -> None:
    driver = Driver(service())
    driver.launch()
    driver.tell(ev.StopRequested("shutting down"))
    actions = driver.tell(ev.KillRequested("told twice to shut down"))
    assert kinds(actions) == ["CancelTimer", "KillAll", "Announce"]
    assert driver.tell(ev.KillRequested()) == []


def test_a_kill_out_of_the_blue_skips_the_polite_signal() -> None:
    driver = Driver(service())
    driver.launch()
    assert kinds(driver.tell(ev.KillRequested())) == ["Announce", "KillAll"]
    assert driver.where == (State.STOPPING, "kill requested: SIGKILL sent to all of it")
    driver.tell(ev.Exited(signal=SIGKILL))
    assert driver.where == (State.STOPPED, "kill requested (killed by SIGKILL)")


def test_an_old_stop_timer_does_not_cut_a_later_stop_short() -> None:
    driver = Driver(service())
    driver.launch()
    driver.tell(ev.StopRequested())
    stale = driver.timer
    assert stale is not None
    driver.tell(ev.Exited(exit_code=0))
    driver.launch()
    driver.tell(ev.StopRequested())
    assert driver.tell(stale.event) == []
    assert driver.machine.state is State.STOPPING


# Live changes of the configuration


def test_a_new_policy_counts_from_the_next_decision_on() -> None:
    driver = Driver(service())
    driver.launch()
    assert driver.tell(ev.ConfigChanged(service(restart=Restart(policy="no")))) == []
    driver.tell(ev.Exited(exit_code=3))
    assert driver.where == (State.FAILED, "exit 3")


def test_new_dependencies_are_asked_for_by_whoever_waits() -> None:
    driver = Driver(service())
    driver.tell(ev.StartRequested(), ev.DependencyWait("db to be ready"))
    assert driver.tell(ev.ConfigChanged(service())) == [ev.CheckDependencies()]


def test_a_restart_that_the_new_policy_forbids_does_not_happen() -> None:
    driver = Driver(service())
    driver.launch()
    driver.tell(ev.Exited(exit_code=3))
    driver.tell(ev.ConfigChanged(service(restart=Restart(policy="no"))))
    assert driver.where == (State.FAILED, "exit 3, not restarted: the policy is now no")
    assert driver.timer is None


# Followers


def test_only_the_end_of_a_run_that_comes_again_concerns_followers() -> None:
    failed = Driver(service(restart=Restart(policy="no")))
    failed.launch()
    assert ev.RestartFollowers() not in failed.tell(ev.Exited(exit_code=3))
    stopped = Driver(service())
    stopped.launch()
    assert ev.RestartFollowers() not in stopped.tell(ev.StopRequested(), ev.Exited(exit_code=0))
