"""The verbs, the order among services, reload and shutdown: a world without processes, and a clock that jumps."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from nsinit.config import Dependency, Project, Readiness, Restart, ServiceConfig, Stop, SupervisorConfig
from nsinit.errors import Inactive, InvalidConfig, LaunchError, NoSuchService, OperationFailed
from nsinit.supervisor import events as ev
from nsinit.supervisor.machine import ServiceMachine
from nsinit.supervisor.manager import Manager
from tests.support.fake_world import Behaviour, World, config, deliver_signals_to, project

NEEDS_DB = {"depends_on": {"db": Dependency()}}


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
def stage(nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, logged: list[Any]) -> Iterator[Any]:
    worlds: list[World] = []

    def make(*services: ServiceConfig, seed: int = 0, **keys: Any) -> tuple[Manager, World]:
        worlds.append(World(nursery, project(*services, **keys), seed))
        deliver_signals_to(worlds[0], monkeypatch.setattr)
        return worlds[0].manager, worlds[0]

    yield make
    for world in worlds:
        world.close()


async def finish(manager: Manager) -> None:
    manager.shutdown()
    await manager.stopped.wait()


# Starting


async def test_enabled_services_start_after_what_they_need(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web", **NEEDS_DB), config("db"), config("tool", startup="disabled"))
    world.behaviours["db"] = Behaviour(launch_s=5)
    manager.start_enabled()
    await manager.wait_up()
    assert world.history == [("db", "started"), ("web", "started")]
    assert world.states() == {"db": "ready", "tool": "stopped", "web": "ready"}
    assert trio.current_time() >= 5
    await finish(manager)


async def test_start_brings_what_is_needed_along_and_returns_when_it_is_up(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(
        *(config(name, startup="disabled", **keys) for name, keys in (("web", NEEDS_DB), ("db", {})))
    )
    await manager.start(["web"])
    assert world.history == [("db", "started"), ("web", "started")]
    await finish(manager)


async def test_start_says_who_holds_it_up_and_why_and_shows_the_last_lines(stage: Any, autojump_clock: Any) -> None:
    never = Restart(policy="no")
    manager, world = stage(
        *(config(name, startup="disabled", restart=never, **keys) for name, keys in (("web", NEEDS_DB), ("db", {})))
    )
    world.behaviours["db"] = Behaviour(failure=LaunchError("execute", 2, "/bin/db", "it is not there", 127))
    world.journal.add("db", "stderr", b"no disk")
    with pytest.raises(OperationFailed) as caught:
        await manager.start(["web"])
    assert str(caught.value).splitlines() == [
        "db is not up: failed: cannot execute /bin/db: ENOENT: it is not there",
        "  db | no disk",
        "web is not up: waiting: waiting for db, which is down: cannot execute /bin/db: ENOENT: it is not there",
    ]
    assert manager.status("db").exit_code == 127
    await finish(manager)


async def test_start_of_what_waits_for_a_crash_loop_fails_at_the_first_failure(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web", **NEEDS_DB), config("db", readiness=Readiness(method="notify")))
    world.behaviours["db"] = Behaviour(runs_s=1, exit_code=3)
    with pytest.raises(OperationFailed, match=r"db is not up: backoff: exit 3, restart 1 of 10 in "):
        await manager.start(["web"])
    assert trio.current_time() < 2
    await finish(manager)


async def test_a_service_that_comes_up_late_takes_its_dependents_along(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web", **NEEDS_DB), config("db"))
    world.behaviours["db"] = Behaviour(failure=LaunchError("mount", 2, "/disk"))
    manager.start_enabled()
    with pytest.raises(OperationFailed):
        await manager.wait_up()
    world.behaviours["db"] = Behaviour()
    await manager.start(["web"])
    assert world.states() == {"db": "ready", "web": "ready"}
    await finish(manager)


async def test_a_oneshot_that_has_completed_is_not_run_again_by_those_who_need_it(
    stage: Any, autojump_clock: Any
) -> None:
    manager, world = stage(
        config("web", depends_on={"job": Dependency(condition="completed")}),
        config("job", type="oneshot", restart=Restart(policy="no")),
    )
    world.behaviours["job"] = Behaviour(runs_s=2)
    manager.start_enabled()
    await manager.wait_up()
    await manager.restart(["web"])
    assert [entry for entry in world.history if entry[1] == "started"] == [
        ("job", "started"), ("web", "started"), ("web", "started"),
    ]  # fmt: skip
    await manager.start(["job"])
    assert world.history.count(("job", "started")) == 2
    await finish(manager)


async def test_a_start_during_a_stop_of_what_it_needs_brings_both_up(
    stage: Any, autojump_clock: Any, nursery: trio.Nursery
) -> None:
    manager, world = stage(config("web", **NEEDS_DB), config("db"))
    world.behaviours["db"] = Behaviour(stop_s=5)
    manager.start_enabled()
    await manager.wait_up()
    nursery.start_soon(manager.stop, ["db"])
    await trio.sleep(1)
    assert world.states() == {"db": "stopping", "web": "stopped"}
    await manager.start(["web"])
    assert world.states() == {"db": "ready", "web": "ready"}
    await finish(manager)


# Failing and restarting


async def test_a_crash_is_answered_by_growing_delays_until_the_limit(
    stage: Any, autojump_clock: Any, logged: list[Any]
) -> None:
    manager, world = stage(config("web", restart=Restart(limit=3, jitter=0.0, delay_s=1.0)))
    world.behaviours["web"] = Behaviour(runs_s=0.5, exit_code=3)
    manager.start_enabled()
    await trio.sleep(60)
    status = manager.status("web")
    assert (status.state, status.restarts, status.exit_code) == ("failed", 3, 3)
    assert status.reason == "exit 3, restart limit reached (3 within 10 min)"
    reasons = [entry["reason"] for entry in logged if entry["event"] == "service.backoff"]
    assert reasons == [f"exit 3, restart {n} of 3 in {delay} s" for n, delay in ((1, 1), (2, 2), (3, 4))]
    await finish(manager)


async def test_the_first_restart_after_a_healthy_run_is_immediate(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web"))
    world.behaviours["web"] = Behaviour(runs_s=31)
    manager.start_enabled()
    await trio.sleep(31.01)
    assert world.history == [("web", "started"), ("web", "exited"), ("web", "started")]
    assert manager.status("web").restarts == 1
    await finish(manager)


async def test_who_follows_a_restart_is_restarted_and_who_does_not_is_not(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(
        config("db"),
        config("web", depends_on={"db": Dependency(restart=True)}),
        config("worker", **NEEDS_DB),
    )
    world.behaviours["db"] = Behaviour(runs_s=40)
    manager.start_enabled()
    await trio.sleep(41)
    assert world.history.count(("web", "started")) == 2
    assert world.history.count(("worker", "started")) == 1
    await finish(manager)


async def test_a_limit_with_shutdown_ends_the_supervisor_with_status_1(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web", restart=Restart(limit=1, on_limit="shutdown")), config("db"))
    world.behaviours["web"] = Behaviour(runs_s=0.5, exit_code=3)
    manager.start_enabled()
    await manager.stopped.wait()
    assert manager.exit_code == 1
    assert world.states() == {"db": "stopped", "web": "failed"}


@pytest.mark.parametrize(("exit_code", "status"), [(0, 0), (3, 1)])
async def test_a_supervisor_that_exits_when_all_have_stopped_says_how_they_ended(
    stage: Any, autojump_clock: Any, exit_code: int, status: int
) -> None:
    jobs = [config(name, type="oneshot", restart=Restart(policy="no")) for name in ("a", "b")]
    manager, world = stage(*jobs, supervisor=SupervisorConfig(exit_when="all-stopped"))
    world.behaviours |= {"a": Behaviour(runs_s=1, exit_code=exit_code), "b": Behaviour(runs_s=2)}
    manager.start_enabled()
    await manager.stopped.wait()
    assert manager.exit_code == status


async def test_a_restart_is_no_end_to_a_supervisor_that_exits_when_all_have_stopped(
    stage: Any, autojump_clock: Any
) -> None:
    manager, world = stage(config("web"), supervisor=SupervisorConfig(exit_when="all-stopped"))
    world.behaviours["web"] = Behaviour(stop_s=2)
    manager.start_enabled()
    await manager.wait_up()
    await manager.restart(["web"])
    world.load = lambda: project(config("web", env={"A": "1"}), supervisor=SupervisorConfig(exit_when="all-stopped"))
    await manager.reload()
    await trio.sleep(5)
    assert world.states() == {"web": "ready"}
    await manager.stop(["web"])
    await manager.stopped.wait()
    assert manager.exit_code == 0


async def test_any_failure_ends_a_supervisor_that_is_told_so(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(
        config("web"), config("job", restart=Restart(policy="no")), supervisor=SupervisorConfig(exit_when="any-failed")
    )
    world.behaviours["job"] = Behaviour(runs_s=1, exit_code=3)
    manager.start_enabled()
    await manager.stopped.wait()
    assert manager.exit_code == 1


# Stopping


async def test_dependents_stop_first_and_independent_services_side_by_side(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web", **NEEDS_DB), config("db"), config("other"))
    for name in ("web", "db", "other"):
        world.behaviours[name] = Behaviour(stop_s=3)
    manager.start_enabled()
    await manager.wait_up()
    began = trio.current_time()
    await finish(manager)
    stops = [name for name, what in world.history if what == "signal 15"]
    assert sorted(stops[:2]) == ["other", "web"]
    assert stops[2:] == ["db"]
    assert trio.current_time() - began == pytest.approx(6)


async def test_who_ignores_the_stop_signal_is_killed_after_the_timeout_and_the_reason_says_so(
    stage: Any, autojump_clock: Any
) -> None:
    manager, world = stage(config("web", stop=Stop(signal=3, timeout_s=4.0)))
    world.behaviours["web"] = Behaviour(stop_s=None)
    manager.start_enabled()
    await manager.wait_up()
    began = trio.current_time()
    await manager.stop(["web"])
    assert trio.current_time() - began == pytest.approx(4)
    assert world.history == [("web", "started"), ("web", "signal 3"), ("web", "signal 9")]
    assert (
        manager.status("web").reason == "stop requested (killed by SIGKILL: still there 4 s after it was asked to stop)"
    )
    await finish(manager)


async def test_stopping_a_service_in_backoff_is_immediate_and_it_stays_down(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web", restart=Restart(delay_s=5.0)), config("a", after=("web",)))
    world.behaviours |= {"web": Behaviour(runs_s=1, exit_code=1), "a": Behaviour(stop_s=None)}
    manager.start_enabled()
    await trio.sleep(2)
    assert world.states()["web"] == "backoff"
    began = trio.current_time()
    await manager.stop(["web"])
    assert trio.current_time() == began
    await trio.sleep(20)
    assert world.history.count(("web", "started")) == 1
    await finish(manager)


async def test_a_second_request_to_shut_down_hastens_it(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web", **NEEDS_DB), config("db"))
    world.behaviours |= {"web": Behaviour(stop_s=None), "db": Behaviour(stop_s=None)}
    manager.start_enabled()
    await manager.wait_up()
    began = trio.current_time()
    manager.shutdown()
    await trio.sleep(1)
    manager.shutdown()
    await manager.stopped.wait()
    assert trio.current_time() - began == pytest.approx(1)
    assert manager.exit_code == 0


async def test_a_hung_launch_can_be_stopped(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web", stop=Stop(timeout_s=2.0)))
    world.behaviours["web"] = Behaviour(launch_s=1e6)
    manager.start_enabled()
    await trio.sleep(1)
    assert world.states() == {"web": "starting"}
    await manager.stop(["web"])
    assert world.states() == {"web": "stopped"}
    await finish(manager)


async def test_nothing_starts_once_the_supervisor_shuts_down(
    stage: Any, autojump_clock: Any, nursery: trio.Nursery
) -> None:
    manager, world = stage(config("web"), config("slow"))
    world.behaviours |= {"web": Behaviour(stop_s=3), "slow": Behaviour(stop_s=8)}
    manager.start_enabled()
    await manager.wait_up()
    failures: list[str] = []

    async def restart() -> None:
        try:
            await manager.restart(["web"])
        except OperationFailed as error:
            failures.append(str(error))

    nursery.start_soon(restart)
    await trio.sleep(1)
    manager.shutdown()
    with pytest.raises(OperationFailed, match="the supervisor is shutting down"):
        await manager.start(["web"])
    with pytest.raises(OperationFailed, match="the supervisor is shutting down"):
        await manager.reload()
    await manager.stopped.wait()
    manager.start_enabled()
    await trio.sleep(10)
    assert world.history.count(("web", "started")) == 1
    assert len(failures) == 1


async def test_wait_up_ends_when_the_supervisor_is_told_to(
    stage: Any, autojump_clock: Any, nursery: trio.Nursery
) -> None:
    manager, _ = stage(config("web", readiness=Readiness(method="notify", timeout_s=0.0)))
    manager.start_enabled()
    await trio.sleep(1)
    manager.shutdown()
    with pytest.raises(OperationFailed, match="web is not up: stopped: the supervisor shuts down"):
        await manager.wait_up()
    await manager.stopped.wait()


# Asking


async def test_unknown_names_are_refused_everywhere(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web"))
    for call in (manager.start, manager.stop, manager.restart):
        with pytest.raises(NoSuchService, match="there is no service wbe"):
            await call(["web", "wbe"])
    for ask in (manager.status, manager.exec_context, lambda name: manager.logs([name], None)):
        with pytest.raises(NoSuchService):
            ask("wbe")
    assert world.history == []
    await finish(manager)


async def test_exec_into_a_service_without_a_process_is_refused_with_its_reason(
    stage: Any, autojump_clock: Any
) -> None:
    manager, world = stage(config("web", startup="disabled"))
    with pytest.raises(Inactive, match=r"web is not running: it is stopped \(disabled"):
        manager.exec_context("web")
    await manager.start(["web"])
    assert manager.exec_context("web").pid == world.runs[0].pid
    await finish(manager)


# Reloading


def reload_to(world: World, *services: ServiceConfig) -> None:
    world.load = lambda: project(*services)


async def test_a_reload_restarts_what_changed_and_no_other(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web", **NEEDS_DB), config("db"), config("old"), config("calm"))
    manager.start_enabled()
    await manager.wait_up()
    before = {run.name: run for run in world.runs}
    reload_to(
        world,
        config("web", **NEEDS_DB),
        config("db", env={"A": "1"}),
        config("new"),
        config("calm", stop=Stop(timeout_s=1.0)),
    )
    report = await manager.reload()
    assert (report.added, report.removed, report.restarted, report.updated) == (["new"], ["old"], ["db"], ["calm"])
    await manager.wait_up()
    assert world.states() == dict.fromkeys(("calm", "db", "new", "web"), "ready")
    assert not before["web"].ended.is_set()
    assert not before["calm"].ended.is_set()
    assert before["db"].ended.is_set()
    assert before["old"].ended.is_set()
    await finish(manager)


async def test_a_reload_restarts_those_who_say_that_they_follow(stage: Any, autojump_clock: Any) -> None:
    follows = {"depends_on": {"db": Dependency(restart=True)}}
    manager, world = stage(config("web", **follows), config("db"))
    manager.start_enabled()
    await manager.wait_up()
    reload_to(world, config("web", **follows), config("db", env={"A": "1"}))
    await manager.reload()
    await manager.wait_up()
    started = [name for name, what in world.history if what == "started"]
    assert started == ["db", "web", "db", "web"]
    await finish(manager)


async def test_a_wrong_configuration_changes_nothing(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web"))

    def load() -> Project:
        raise InvalidConfig("web.toml:1: no")

    manager.start_enabled()
    await manager.wait_up()
    world.load = load
    with pytest.raises(InvalidConfig):
        await manager.reload()
    reload_to(world, config("a", after=("b",)), config("b", after=("a",)))
    with pytest.raises(InvalidConfig, match="circle"):
        await manager.reload()
    assert world.states() == {"web": "ready"}
    assert len(world.runs) == 1
    await finish(manager)


async def test_new_policy_counts_from_the_next_decision_on(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web"))
    world.behaviours["web"] = Behaviour(stop_s=None)
    manager.start_enabled()
    await manager.wait_up()
    reload_to(world, config("web", stop=Stop(timeout_s=2.0)))
    await manager.reload()
    began = trio.current_time()
    await manager.stop(["web"])
    assert trio.current_time() - began == pytest.approx(2)
    await finish(manager)


async def test_a_failed_service_whose_file_was_corrected_is_tried_anew(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web", restart=Restart(policy="no")), config("done", startup="disabled"))
    world.behaviours["web"] = Behaviour(failure=LaunchError("execute", 2, "/bin/wbe", exit_code=127))
    manager.start_enabled()
    with pytest.raises(OperationFailed):
        await manager.wait_up()
    world.behaviours["web"] = Behaviour()
    reload_to(
        world,
        config("web", restart=Restart(policy="no"), env={"A": "1"}),
        config("done", startup="disabled", env={"A": "1"}),
    )
    await manager.reload()
    await manager.wait_up()
    assert world.states() == {"done": "stopped", "web": "ready"}
    await finish(manager)


async def test_a_start_of_what_a_reload_removes_comes_too_late(
    stage: Any, autojump_clock: Any, nursery: trio.Nursery
) -> None:
    manager, world = stage(config("web"), config("old"))
    world.behaviours["old"] = Behaviour(stop_s=5)
    manager.start_enabled()
    await manager.wait_up()
    reload_to(world, config("web"))
    nursery.start_soon(manager.reload)
    await trio.sleep(1)
    with pytest.raises(OperationFailed, match="old is not up: stopped: its configuration has changed"):
        await manager.start(["old"])
    await trio.testing.wait_all_tasks_blocked()  # the reload forgets it after it has stopped
    assert world.states() == {"web": "ready"}
    assert world.history.count(("old", "started")) == 1
    await finish(manager)


async def test_what_somebody_starts_during_a_reload_gets_the_new_configuration(
    stage: Any, autojump_clock: Any, nursery: trio.Nursery
) -> None:
    manager, world = stage(config("web"), config("slow"))
    world.behaviours |= {"web": Behaviour(stop_s=1), "slow": Behaviour(stop_s=9)}
    manager.start_enabled()
    await manager.wait_up()
    reload_to(world, config("web", env={"A": "1"}), config("slow", env={"A": "1"}))
    reloading = trio.Event()

    async def reload() -> None:
        await manager.reload()
        reloading.set()

    nursery.start_soon(reload)
    await trio.sleep(0.5)
    await manager.start(["web"])
    await reloading.wait()
    await manager.start(["web", "slow"])
    assert manager.exec_context("web").env["A"] == "1"
    assert world.history.count(("web", "started")) == 3  # as it was, and then as it is
    await finish(manager)


async def test_reloads_follow_one_another(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web"))
    manager.start_enabled()
    await manager.wait_up()
    numbers = iter(range(10))
    world.load = lambda: project(config("web", env={"N": str(next(numbers))}))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(manager.reload)
    await manager.start(["web"])
    assert manager.exec_context("web").env["N"] == "4"
    assert len(world.living("web")) == 1
    await finish(manager)


async def test_a_shutdown_during_a_reload_is_only_a_shutdown(
    stage: Any, autojump_clock: Any, nursery: trio.Nursery
) -> None:
    manager, world = stage(config("web"), config("old"))
    world.behaviours |= {"web": Behaviour(stop_s=3), "old": Behaviour(stop_s=3)}
    manager.start_enabled()
    await manager.wait_up()
    reload_to(world, config("web", env={"A": "1"}), config("new"))
    refused: list[str] = []

    async def reload() -> None:
        try:
            await manager.reload()
        except OperationFailed as error:
            refused.append(str(error))

    nursery.start_soon(reload)
    await trio.sleep(1)
    await finish(manager)
    await trio.testing.wait_all_tasks_blocked()
    assert manager.exit_code == 0
    assert refused == ["the supervisor is shutting down"]
    assert [name for name, what in world.history if what == "started"].count("web") == 1


# Many at once


@pytest.mark.parametrize("seed", range(20))
async def test_fifty_verbs_at_once_leave_one_instance_at_most_and_nothing_wedged(
    stage: Any, autojump_clock: Any, seed: int
) -> None:
    chain = [
        config("a"),
        config("b", depends_on={"a": Dependency()}),
        config("c", depends_on={"b": Dependency(restart=True)}),
    ]
    manager, world = stage(*chain, config("d", after=("c",)), seed=seed)
    world.jitter_s = 0.3
    world.behaviours |= {"b": Behaviour(stop_s=0.5), "d": Behaviour(runs_s=1.5)}
    manager.start_enabled()
    random = Random(seed)

    async def ask() -> None:
        await trio.sleep(random.random() * 3)
        verb = random.choice([manager.start, manager.stop, manager.restart])
        try:
            await verb(random.sample(["a", "b", "c", "d"], random.randint(1, 3)))
        except OperationFailed:
            pass  # another one has stopped it meanwhile

    with trio.fail_after(300):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
        # World.start has asserted that no service ever had two instances.
        world.jitter_s, world.behaviours["d"] = 0.0, Behaviour()
        await manager.start(["a", "b", "c", "d"])
        assert world.states() == dict.fromkeys("abcd", "ready")
        await manager.stop(["a", "d"])
        assert world.states() == dict.fromkeys("abcd", "stopped")
        await finish(manager)
    assert manager.exit_code == 0


async def test_concurrent_restarts_all_succeed(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web"))
    world.behaviours["web"] = Behaviour(stop_s=0.2, launch_s=0.3)
    manager.start_enabled()
    await manager.wait_up()

    async def restart(number: int) -> None:
        await trio.sleep(number * 0.05)
        await manager.restart(["web"])

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(restart, number)
    assert world.states() == {"web": "ready"}
    await finish(manager)


async def test_a_caller_that_goes_away_leaves_its_verb_going_on(stage: Any, autojump_clock: Any) -> None:
    manager, world = stage(config("web"))
    world.behaviours["web"] = Behaviour(stop_s=3)
    manager.start_enabled()
    await manager.wait_up()
    with trio.move_on_after(1):
        await manager.restart(["web"])
    assert world.states() == {"web": "stopping"}
    await trio.sleep(5)
    assert world.states() == {"web": "ready"}
    await finish(manager)


# Bugs


async def test_a_bug_in_one_service_is_logged_and_all_services_are_stopped_in_order(
    stage: Any, autojump_clock: Any, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, world = stage(config("web", **NEEDS_DB), config("db"), config("sick"))
    manager.start_enabled()
    await manager.wait_up()
    handle = ServiceMachine.handle

    def faulty(self: ServiceMachine, event: ev.AnyEvent, now: float) -> list[ev.AnyAction]:
        if self.name == "sick":
            raise RuntimeError("a bug")
        return handle(self, event, now)

    monkeypatch.setattr(ServiceMachine, "handle", faulty)
    next(run for run in world.runs if run.name == "sick").end(0)
    await manager.stopped.wait()
    assert manager.exit_code == 125
    [bug] = [entry for entry in logged if entry["event"] == "supervisor.bug"]
    assert (bug["service"], bug["error"], bug["log_level"]) == ("sick", "RuntimeError: a bug", "error")
    assert bug["where"].startswith("nsinit/supervisor/services.py:")
    assert [name for name, what in world.history if what == "signal 15"] == ["web", "db"]
    assert all(run.ended.is_set() for run in world.runs)


async def test_a_service_that_a_bug_has_left_running_is_killed(
    stage: Any, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, world = stage(config("sick"), config("web"))
    manager.start_enabled()
    await manager.wait_up()

    def faulty(self: object, number: int, scope: str) -> None:
        if self.name == "sick":  # type: ignore[attr-defined]
            raise RuntimeError("a bug")

    monkeypatch.setattr("nsinit.supervisor.service.Service.send_signal", faulty)
    with trio.move_on_after(1):
        await manager.stop(["sick"])
    manager.shutdown()
    await manager.stopped.wait()
    assert manager.exit_code == 125
    assert not world.living("sick")


async def test_a_bug_in_a_verb_reaches_its_caller_as_a_sentence(
    stage: Any, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, _ = stage(config("web"))

    async def faulty(*_: object) -> None:
        raise KeyError("web")

    monkeypatch.setattr(manager._services, "stop", faulty)
    with pytest.raises(OperationFailed, match="a bug in nsinit: KeyError: 'web': please report it"):
        await manager.stop(["web"])
    await manager.stopped.wait()
    assert manager.exit_code == 125


async def test_a_task_of_a_service_that_breaks_ends_in_an_ordered_stop(
    stage: Any, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, world = stage(config("web"), config("db"))
    manager.start_enabled()
    await manager.wait_up()

    async def faulty(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world, "start", faulty)
    manager._services.post(manager._find("db"), ev.RestartRequested("test"))
    await manager.stopped.wait()
    assert manager.exit_code == 125
    assert not world.living("web")
