"""The states' names are an interface, and the table allows what it allows."""

from itertools import product

import pytest

from nsinit.supervisor.states import AT_REST, TRANSITIONS, IllegalTransition, State, check_transition


def test_the_names_of_the_states_are_the_documented_ones() -> None:
    assert " ".join(State) == (
        "waiting starting running ready unready stopping stopped completed backoff failed frozen"
    )


def test_every_state_has_a_row() -> None:
    assert TRANSITIONS.keys() == set(State)


@pytest.mark.parametrize(("old", "new"), list(product(State, State)))
def test_a_transition_passes_if_the_table_has_it_and_raises_otherwise(old: State, new: State) -> None:
    if new in TRANSITIONS[old]:
        check_transition("web", old, new)
    else:
        with pytest.raises(IllegalTransition, match=f"cannot take web from {old} to {new}: .*report this bug"):
            check_transition("web", old, new)


def test_rest_is_left_by_a_start_only() -> None:
    assert {new for old in AT_REST for new in TRANSITIONS[old]} == {State.WAITING}


def test_nothing_starts_without_having_waited_for_its_dependencies() -> None:
    assert {old for old in State if State.STARTING in TRANSITIONS[old]} == {State.WAITING}


def test_a_stop_never_leads_straight_into_a_start() -> None:
    assert not TRANSITIONS[State.STOPPING] & {State.STARTING, State.RUNNING, State.READY}
