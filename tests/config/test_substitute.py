import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsinit.config.substitute import substitute


def value(text: str) -> str:
    return substitute(text, "web", ["HOME", "EMPTY", "UNSET"], {"HOME": "/root", "EMPTY": "", "SECRET": "s"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("%n", "web"),
        ("a-%n.%n", "a-web.web"),
        ("100%%", "100%"),
        ("%%n", "%n"),
        ("${HOME}/x${EMPTY}", "/root/x"),
        ("$HOME $ $$ 5$", "$HOME $ $$ 5$"),
        ("$${HOME}", "${HOME}"),
        ("{}", "{}"),
    ],
)
def test_placeholders_are_replaced(text: str, expected: str) -> None:
    assert value(text) == expected


def test_what_a_variable_holds_is_not_substituted_again() -> None:
    assert substitute("${A}", "web", ["A"], {"A": "%n ${B} %x"}) == "%n ${B} %x"


@pytest.mark.parametrize("text", ["%x", "%", "50% of", "%N"])
def test_an_unknown_placeholder_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unknown placeholder %"):
        value(text)


def test_an_instance_is_refused_where_there_is_no_template() -> None:
    with pytest.raises(ValueError, match="%i is the instance of a template, and web is none"):
        value("%i")


def test_a_variable_that_is_not_passed_is_refused_even_if_it_is_set() -> None:
    with pytest.raises(ValueError, match=r"\$\{SECRET\} needs 'SECRET' in pass_env"):
        value("${SECRET}")


def test_a_passed_variable_that_is_not_set_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\$\{UNSET\} is not set"):
        value("${UNSET}")


def test_an_open_brace_is_refused() -> None:
    with pytest.raises(ValueError, match='has no "}"'):
        value("${HOME")


@given(st.text())
def test_an_escaped_text_is_itself(text: str) -> None:
    assert value(text.replace("%", "%%").replace("${", "$${")) == text


@given(st.text("%n$i{}HOME"))
def test_any_text_has_a_value_or_is_a_value_error(text: str) -> None:
    try:
        value(text)
    except ValueError:
        return
