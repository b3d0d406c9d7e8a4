import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsinit.config.units import (
    MAX_DURATION_S,
    MAX_SIZE_BYTES,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("10s", 10.0),
        ("2h", 7200.0),
        ("1d", 86_400.0),
        ("1m30s", 90.0),
        ("1.5s", 1.5),
        ("0s", 0.0),
        ("0.25ms", 0.00025),
        ("36500d", MAX_DURATION_S),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "10",
        "10x",
        "-1s",
        "+1s",
        "1 s",
        " 1s",
        "1s\n",
        "1s1m",
        "1s1s",
        ".5s",
        "1.s",
        "1e3s",
        "٣s",
        "9" * 70 + "s",
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match='is not a duration: write it as in "500ms"'):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36501d", "36500d1ms", "9" * 60 + "h"])
def test_a_duration_over_a_hundred_years_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="longer than a hundred years"):
        parse_duration(text)


@pytest.mark.parametrize("value", [5, 2.5])
def test_a_bare_number_is_refused_with_the_unit_that_it_lacks(value: float) -> None:
    with pytest.raises(ValueError, match=f'write a duration as in "{value}s"'):
        parse_duration(value)


@pytest.mark.parametrize("value", [True, None, ["1s"], {"s": 1}])
def test_a_duration_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(value)


@given(st.integers(0, MAX_DURATION_S * 1000))
def test_a_formatted_duration_reads_back_as_itself(millis: int) -> None:
    assert parse_duration(format_duration(millis / 1000)) == millis / 1000


@given(st.integers(0, 10_000_000))
def test_a_formatted_duration_keeps_microseconds(micros: int) -> None:
    assert parse_duration(format_duration(micros / 1e6)) == pytest.approx(micros / 1e6, abs=1e-9)


@given(st.text())
def test_any_text_is_a_duration_within_bounds_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= MAX_DURATION_S


@given(st.from_regex(r"[0-9]{1,3}h[0-9]{1,3}m[0-9]{1,3}s[0-9]{1,3}ms", fullmatch=True))
def test_the_parts_of_a_duration_add_up(text: str) -> None:
    hours, rest = text.split("h")
    minutes, rest = rest.split("m", 1)
    seconds, millis = rest.removesuffix("ms").split("s")
    expected = ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1000 + int(millis)
    assert parse_duration(text) == expected / 1000


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512), ("64K", 65_536), ("10M", 10 << 20), ("1G", 1 << 30), ("2T", 2 << 40)]
)
def test_a_size_is_read_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "1k", "1KB", "1.5M", "-1", "1 K", "1K\n", "٣K", "1" * 65])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match='is not a size: write it as in "512"'):
        parse_size(text)


@pytest.mark.parametrize("text", [str(MAX_SIZE_BYTES), "9999999999T"])
def test_a_size_that_no_file_can_have_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_size(text)


@pytest.mark.parametrize("value", [1024, True, None, []])
def test_a_size_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(value)


@given(st.integers(0, MAX_SIZE_BYTES - 1))
def test_a_formatted_size_reads_back_as_itself(size_bytes: int) -> None:
    assert parse_size(format_size(size_bytes)) == size_bytes


@given(st.text())
def test_any_text_is_a_size_within_bounds_or_a_value_error(text: str) -> None:
    try:
        size_bytes = parse_size(text)
    except ValueError:
        return
    assert 0 <= size_bytes < MAX_SIZE_BYTES
