from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsinit.config.dependencies import check_dependencies
from nsinit.config.model import Dependency, ServiceConfig
from nsinit.config.report import Place, Report, Source
from nsinit.errors import InvalidConfig

Errors = Callable[..., list[str]]


def test_an_unknown_service_is_reported_wherever_it_is_mentioned(errors: Errors) -> None:
    text = 'command = "a"\nafter = ["dbs"]\nbefore = ["nothing"]\n[depends_on.ddb]\n'
    assert errors({"web.toml": text, "db.toml": 'command = "db"'}) == [
        "services/web.toml:2: after: there is no service 'dbs', did you mean 'db'?",
        "services/web.toml:3: before: there is no service 'nothing': nothing.toml is missing",
        "services/web.toml:4: depends_on.ddb: there is no service 'ddb', did you mean 'db'?",
    ]


def test_a_cycle_is_printed_as_a_path_from_its_first_name(errors: Errors) -> None:
    files = {
        "c.toml": 'command = "c"\n[depends_on.a]\n',
        "b.toml": 'command = "b"\nafter = ["c"]\n',
        "a.toml": 'command = "a"\n\n[depends_on.b]\n',
    }
    assert errors(files) == [
        "services/a.toml:3: depends_on.b: services wait for each other in a circle: a -> b -> c -> a"
    ]


def test_a_cycle_may_go_through_before_in_another_file(errors: Errors) -> None:
    files = {"a.toml": 'command = "a"\nbefore = ["b"]\n', "b.toml": 'command = "b"\nbefore = ["a"]\n'}
    assert errors(files) == ["services/b.toml:2: before: services wait for each other in a circle: a -> b -> a"]


@pytest.mark.parametrize("key", ['after = ["a"]', 'before = ["a"]', "depends_on.a = {}"])
def test_a_service_that_waits_for_itself_is_a_cycle(errors: Errors, key: str) -> None:
    [error] = errors({"a.toml": f'command = "a"\n{key}\n'})
    assert error.startswith("services/a.toml:2: ")
    assert error.endswith("circle: a -> a")


def test_cycles_without_a_common_edge_are_all_reported(errors: Errors) -> None:
    files = {name: f'command = "x"\nafter = ["{other}"]\n' for name, other in [("a.toml", "b"), ("b.toml", "a")]} | {
        name: f'command = "x"\nafter = ["{other}"]\n' for name, other in [("c.toml", "d"), ("d.toml", "c")]
    }
    assert [error.rpartition(": ")[2] for error in errors(files)] == ["a -> b -> a", "c -> d -> c"]


def test_cycles_through_one_service_are_all_reported(errors: Errors) -> None:
    files = {
        "a.toml": 'command = "x"\nafter = ["b", "c"]',
        "b.toml": 'command = "x"\nafter = ["a"]',
        "c.toml": 'command = "x"\nafter = ["a"]',
    }
    assert sorted(error.rpartition(": ")[2] for error in errors(files)) == ["a -> b -> a", "a -> c -> a"]


def test_a_service_whose_file_is_broken_is_not_called_missing(errors: Errors) -> None:
    files = {"a.toml": 'command = "a"\nafter = ["b"]', "b.toml": "command"}
    assert [error.split(":")[0] for error in errors(files)] == ["services/b.toml"]


names = st.sampled_from("abcde")


@given(st.sets(st.tuples(names, names)))
def test_an_order_is_accepted_exactly_if_it_can_be_kept(edges: set[tuple[str, str]]) -> None:
    report = Report()
    services = {
        name: ServiceConfig(
            name=name, path="", command=("x",), depends_on={b: Dependency() for a, b in edges if a == name}
        )
        for name in "abcde"
    }
    check_dependencies(services, {name: Place(report, Source(f"{name}.toml", "")) for name in services})
    started: set[str] = set()
    while able := {n for n in services if n not in started and all(b in started for a, b in edges if a == n)}:
        started |= able
    if started == set(services):
        report.check()
        return
    with pytest.raises(InvalidConfig) as caught:
        report.check()
    for line in str(caught.value).split("\n"):
        path = line.rpartition(": ")[2].split(" -> ")
        assert path[0] == path[-1] == min(path)
        assert all(edge in edges for edge in pairwise(path))
