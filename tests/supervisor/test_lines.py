"""No byte is lost or invented between a pipe and its lines."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsinit.supervisor.lines import LineSplitter

PIECES = st.lists(st.text(alphabet="ab\n", max_size=12).map(str.encode))


def split(*pieces: bytes, max_line_bytes: int = 1024) -> list[bytes]:
    splitter = LineSplitter(max_line_bytes)
    return [line for piece in pieces for line in splitter.feed(piece)] + splitter.flush()


def test_a_line_may_come_in_pieces_and_a_piece_may_have_many_lines() -> None:
    assert split(b"one\ntw", b"o", b"\nthree\n") == [b"one", b"two", b"three"]


def test_empty_lines_are_lines() -> None:
    assert split(b"\n\n") == [b"", b""]


def test_a_partial_line_waits_for_its_end_and_the_end_of_the_stream_is_one() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"partial") == []
    assert splitter.flush() == [b"partial"]
    assert splitter.flush() == []


def test_a_line_that_is_too_long_is_cut() -> None:
    assert split(b"abcdefgh\nij\n", max_line_bytes=3) == [b"abc", b"def", b"gh", b"ij"]


def test_a_cut_exactly_at_the_end_of_a_line_adds_no_empty_one() -> None:
    assert split(b"abc\n\n", max_line_bytes=3) == [b"abc", b""]
    assert split(b"abc", b"\n", b"d\n", max_line_bytes=3) == [b"abc", b"d"]
    assert split(b"abc", max_line_bytes=3) == [b"abc"]


def test_other_control_characters_are_content() -> None:
    assert split(b"a\rb\x00c\x0b\n") == [b"a\rb\x00c\x0b"]


def test_a_line_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="one byte at least"):
        LineSplitter(0)


@settings(deadline=None)
@given(PIECES)
def test_lines_are_those_of_the_whole_text_however_it_is_cut_into_pieces(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    whole = text.split(b"\n")
    assert split(*pieces) == (whole if whole[-1] else whole[:-1])


@settings(deadline=None)
@given(PIECES, st.integers(1, 5))
def test_limits_are_kept_and_only_newlines_go(pieces: list[bytes], limit: int) -> None:
    lines = split(*pieces, max_line_bytes=limit)
    assert all(len(line) <= limit for line in lines)
    assert b"".join(lines) == b"".join(pieces).replace(b"\n", b"")
    assert lines == split(b"".join(pieces), max_line_bytes=limit)
