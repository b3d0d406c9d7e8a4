import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsinit.cli.toml import to_toml

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = text | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
arrays = st.lists(scalars | st.dictionaries(text, scalars, max_size=2), max_size=3)
tables = st.recursive(
    st.dictionaries(text, scalars | arrays, max_size=4),
    lambda inner: st.dictionaries(text, scalars | arrays | inner, max_size=4),
    max_leaves=20,
)


@given(tables)
def test_what_is_written_is_read_back_the_same(table: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(table)) == table


def test_values_come_before_the_tables_below() -> None:
    table = {"stop": {"signal": "TERM"}, "type": "simple", "env": {}, "deep": {"a": {"b": 1}}}
    assert to_toml(table) == 'type = "simple"\nenv = {}\n\n[stop]\nsignal = "TERM"\n\n[deep.a]\nb = 1\n'


def test_what_toml_cannot_say_is_refused() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        to_toml({"a": None})
