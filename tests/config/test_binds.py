import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsinit.config.binds import Bind, format_binds, parse_binds

paths = st.from_regex(r"/[a-z.]{1,9}(/[a-z]{1,9})?", fullmatch=True).filter(lambda path: path.strip("/."))
bind = st.builds(lambda s, d, r: Bind(source=s, destination=d, read_only=r), paths, paths, st.booleans())


def test_one_path_is_the_same_place_writable() -> None:
    assert parse_binds(["/srv"]) == (Bind(source="/srv", destination="/srv", read_only=False),)


def test_source_and_destination_are_split_at_the_colon() -> None:
    assert parse_binds(["/a:/b", "/a:/c:ro", "/:/d:rw"]) == (
        Bind(source="/a", destination="/b", read_only=False),
        Bind(source="/a", destination="/c", read_only=True),
        Bind(source="/", destination="/d", read_only=False),
    )


@pytest.mark.parametrize("text", ["/a:/b:rx", "/a:/b:ro:ro", "/a:/b:"])
def test_what_is_no_bind_is_refused_with_the_syntax(text: str) -> None:
    with pytest.raises(ValueError, match="is not a bind: write"):
        parse_binds([text])


@pytest.mark.parametrize("text", ["", "a", "a:/b", "/a:b", "/a:", ":/b", "/a:ro"])
def test_relative_paths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an absolute path"):
        parse_binds([text])


def test_a_bind_over_the_root_is_refused() -> None:
    with pytest.raises(ValueError, match=r"use sandbox\.rootfs"):
        parse_binds(["/srv:/"])


def test_two_binds_at_one_place_are_refused() -> None:
    with pytest.raises(ValueError, match="'/b' is listed twice"):
        parse_binds(["/a:/b", "/c:/b:ro"])


@pytest.mark.parametrize("value", ["/a", [1], {"/a": "/b"}])
def test_binds_of_another_type_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_binds(value)


@given(st.lists(bind, unique_by=lambda bind: bind.destination))
def test_formatted_binds_read_back_as_themselves(binds: list[Bind]) -> None:
    assert parse_binds(format_binds(tuple(binds))) == tuple(binds)
