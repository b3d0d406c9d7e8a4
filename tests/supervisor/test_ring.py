"""The newest lines stay, the oldest go, and what went is counted."""

from hypothesis import given, settings
from hypothesis import strategies as st

from nsinit.supervisor.model import LogLine
from nsinit.supervisor.ring import OVERHEAD_BYTES, Ring


def line(seq: int, text: str = "hello") -> LogLine:
    return LogLine(seq=seq, time=0.0, service="web", stream="stdout", text=text)


def ring(*seqs: int, room_for: int = 100) -> Ring:
    filled = Ring(room_for * (OVERHEAD_BYTES + 5))
    for seq in seqs:
        filled.append(line(seq))
    return filled


def seqs(lines: list[LogLine]) -> list[int]:
    return [line.seq for line in lines]


def test_the_tail_is_the_newest_lines_in_order() -> None:
    filled = ring(1, 4, 9)
    assert seqs(filled.tail()) == [1, 4, 9]
    assert seqs(filled.tail(2)) == [4, 9]
    assert seqs(filled.tail(7)) == [1, 4, 9]


def test_a_tail_of_none_or_less_is_empty() -> None:
    assert ring(1).tail(0) == []
    assert ring(1).tail(-3) == []
    assert ring().tail() == []


def test_since_finds_all_with_that_number_or_a_higher_one() -> None:
    filled = ring(1, 4, 9)
    assert seqs(filled.since(4)) == [4, 9]
    assert seqs(filled.since(5)) == [9]
    assert seqs(filled.since(10)) == []
    assert seqs(filled.since(0)) == [1, 4, 9]


def test_the_oldest_go_when_room_runs_out_and_are_counted() -> None:
    filled = ring(1, 2, 3, 4, 5, room_for=2)
    assert seqs(filled.tail()) == [4, 5]
    assert filled.dropped == 3


def test_the_newest_line_stays_however_long_it_is() -> None:
    filled = ring(1)
    filled.append(line(2, "x" * 10**6))
    assert seqs(filled.tail()) == [2]
    assert filled.dropped == 1


@settings(deadline=None)
@given(st.lists(st.text(max_size=300)), st.integers(0, 3000))
def test_the_ring_keeps_within_its_limit_and_loses_nothing_uncounted(texts: list[str], limit: int) -> None:
    filled = Ring(limit)
    for seq, text in enumerate(texts):
        filled.append(line(seq, text))
    kept = filled.tail()
    assert len(kept) == len(filled)
    assert filled.dropped + len(kept) == len(texts)
    assert seqs(kept) == list(range(filled.dropped, len(texts)))
    assert len(kept) <= 1 or sum(len(kept_line.text) + OVERHEAD_BYTES for kept_line in kept) <= limit
