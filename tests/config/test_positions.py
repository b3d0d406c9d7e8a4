import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsinit.config.positions import Positions

EXAMPLE = '''\
command = """
x = 1
[table]
"""
[sandbox]   # comment
# another

binds = [
  "/a",
]
[depends_on."d b"]
condition = "ready"
[depends_on.'lit']
restart = true
[readiness]
timeout = "1s"
[[socket]]
name = "a"
[[socket]]
name = "b"
lazy = true
[env]
X = { y.z = 1, w = [ { v = 2 } ] }
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("command",), 1),
        (("sandbox",), 5),
        (("sandbox", "binds"), 8),
        (("depends_on",), 11),
        (("depends_on", "d b"), 11),
        (("depends_on", "d b", "condition"), 12),
        (("depends_on", "lit"), 13),
        (("depends_on", "lit", "restart"), 14),
        (("readiness", "timeout"), 16),
        (("socket",), 17),
        (("socket", "lazy"), 21),
        (("env", "X", "y", "z"), 23),
        (("env", "X", "w"), 23),
    ],
)
def test_a_key_is_found_on_its_line(path: tuple[str, ...], line: int) -> None:
    tomllib.loads(EXAMPLE)
    assert Positions(EXAMPLE).line(path) == line


def test_dotted_keys_have_the_line_of_their_first_mention() -> None:
    positions = Positions('a.b = 1\na . "c" = 2\n')
    assert positions.line(("a",)) == 1
    assert positions.line(("a", "b")) == 1
    assert positions.line(("a", "c")) == 2


def test_an_escaped_key_is_found_by_its_meaning() -> None:
    assert Positions('\n"caf\\u00e9" = 1\n').line(("café",)) == 2


def test_a_missing_key_has_the_line_of_its_table() -> None:
    positions = Positions("a = 1\n[b]\nc = 2\n")
    assert positions.line(("b", "d")) == 2
    assert positions.line(("e",)) == 1
    assert positions.line(()) == 1


def test_windows_line_ends_count_once() -> None:
    assert Positions("a = 1\r\n\r\nb = 2\r\n").line(("b",)) == 3


def test_lines_are_kept_for_eight_levels_only() -> None:
    positions = Positions("[a.a.a.a.a.a.a.a]\nb.c = 1\nd = { e = 1 }\n")
    assert positions.line(("a",) * 8 + ("b", "c")) == 1
    assert positions.line(("a",) * 8 + ("d", "e")) == 1


def test_a_key_of_very_many_dots_costs_little() -> None:
    assert Positions("\n" + ".".join("a" * 20_000) + " = 1\n").line(("a", "a")) == 2


@given(st.text())
def test_no_text_is_too_broken_to_look_for_keys(text: str) -> None:
    assert 1 <= Positions(text).line(("a",)) <= text.count("\n") + 1


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1), unique=True, min_size=1))
def test_every_key_of_a_flat_text_is_found(keys: list[str]) -> None:
    quoted = ['"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"' for key in keys]
    positions = Positions("".join(f"{key} = 1\n" for key in quoted))
    assert [positions.line((key,)) for key in keys] == list(range(1, len(keys) + 1))
