import shlex
import signal
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsinit.config import syntax

text_without_nul = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))


@pytest.mark.parametrize("name", ["web", "a", "9", "php8.2-fpm", "a_b", "x" * 64])
def test_a_name_is_letters_digits_dash_underscore_and_dot(name: str) -> None:
    assert syntax.parse_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "..", "_a", "a b", "a/b", "ä", "a\n", "a@b", "x" * 65])
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a valid name"):
        syntax.parse_name(name)


def test_a_command_is_a_list_or_a_string_split_as_a_shell_would() -> None:
    assert syntax.parse_command(["/bin/echo", "a b", ""]) == ("/bin/echo", "a b", "")
    assert syntax.parse_command("/bin/echo 'a b' c\\ d \"\" $HOME # x") == (
        *("/bin/echo", "a b", "c d", "", "$HOME", "#", "x"),
    )


@given(st.lists(text_without_nul, min_size=1).filter(lambda arguments: arguments[0]))
def test_a_quoted_command_is_split_into_its_arguments(arguments: list[str]) -> None:
    assert syntax.parse_command(shlex.join(arguments)) == tuple(arguments)


@pytest.mark.parametrize("command", [[], "", "  ", [""], "''", ["", "a"]])
def test_an_empty_command_is_refused(command: object) -> None:
    with pytest.raises(ValueError, match="the command is empty"):
        syntax.parse_command(command)


@pytest.mark.parametrize("command", [1, True, {"a": "b"}, ["a", 1], ["a", ["b"]]])
def test_a_command_of_another_type_is_refused(command: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        syntax.parse_command(command)


def test_a_command_with_an_open_quote_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot split .* no closing quotation"):
        syntax.parse_command("echo 'a")


@pytest.mark.parametrize("command", ["a\0b", ["a", "\0"]])
def test_a_command_with_a_nul_is_refused(command: object) -> None:
    with pytest.raises(ValueError, match="NUL"):
        syntax.parse_command(command)


@pytest.mark.parametrize("text", ["TERM", "SIGTERM", "term", "sigterm"])
def test_a_signal_is_named_with_or_without_sig(text: str) -> None:
    assert syntax.parse_signal(text) == signal.SIGTERM


def test_realtime_signals_are_named_from_either_end() -> None:
    assert syntax.parse_signal("RTMIN") == signal.SIGRTMIN
    assert syntax.parse_signal("SIGRTMIN+3") == signal.SIGRTMIN + 3
    assert syntax.parse_signal("RTMAX-1") == signal.SIGRTMAX - 1


@pytest.mark.parametrize("value", ["", "SIG", "TREM", "15", "RTMIN+40", "RTMAX-99", "SIG_DFL", "NAME", "SIGNAME"])
def test_an_unknown_signal_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="there is no signal"):
        syntax.parse_signal(value)


def test_a_signals_number_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the name of a signal"):
        syntax.parse_signal(15)


@given(st.sampled_from(sorted(signal.valid_signals())))
def test_a_formatted_signal_reads_back_as_itself(number: int) -> None:
    assert syntax.parse_signal(syntax.format_signal(number)) == number


@pytest.mark.parametrize(
    ("value", "user"), [("root", "root"), (1000, "1000"), ("33:33", "33:33"), ("a-b.c$:g", "a-b.c$:g"), ("0", "0")]
)
def test_a_user_is_a_name_or_an_id_with_a_group_or_without(value: object, user: str) -> None:
    assert syntax.parse_user(value) == user


@pytest.mark.parametrize("value", [-1, 2**32 - 1, "4294967295", "-5", "0:99999999999", "9" * 5000])
def test_an_id_out_of_range_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="out of range"):
        syntax.parse_user(value)


def test_the_largest_id_is_two_below_two_to_the_thirty_second() -> None:
    assert syntax.parse_user(2**32 - 2) == "4294967294"


@pytest.mark.parametrize("value", ["", "a:", ":a", "a b", "a:b:c", "1a", True, 1.5, ["root"]])
def test_what_is_no_user_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"account|USER|expected"):
        syntax.parse_user(value)


@pytest.mark.parametrize(("text", "mask"), [("022", 0o22), ("0077", 0o77), ("7", 7), ("777", 0o777)])
def test_a_umask_is_octal(text: str, mask: int) -> None:
    assert syntax.parse_umask(text) == mask


@pytest.mark.parametrize("value", ["", "8", "0o22", "1777", "00777", 22, "-2"])
def test_what_is_no_umask_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="octal mask"):
        syntax.parse_umask(value)


def test_exit_codes_are_0_to_255() -> None:
    assert syntax.parse_exit_codes([0, 255]) == (0, 255)
    for code in (-1, 256):
        with pytest.raises(ValueError, match=f"exit code {code} is out of range"):
            syntax.parse_exit_codes([code])


@pytest.mark.parametrize("value", [0, "0", ["0"], [True], [0.0]])
def test_exit_codes_of_another_type_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected a list of exit codes"):
        syntax.parse_exit_codes(value)


def test_namespaces_come_in_nsinits_order() -> None:
    assert syntax.parse_namespaces(["pid", "user"]) == ("user", "pid")
    assert syntax.parse_namespaces([]) == ()


def test_an_unknown_namespace_is_refused_with_the_types_there_are() -> None:
    with pytest.raises(ValueError, match="unknown namespace type 'mnt': write 'mount'"):
        syntax.parse_namespaces(["mnt"])
    with pytest.raises(ValueError, match="the types are user, mount, pid, net, uts, ipc, cgroup, time"):
        syntax.parse_namespaces(["pids"])


def test_paths_are_absolute_and_never_the_root() -> None:
    assert syntax.parse_paths(["/tmp", "/run"]) == ("/tmp", "/run")
    with pytest.raises(ValueError, match="'tmp' is not an absolute path"):
        syntax.parse_paths(["tmp"])
    for root in ("/", "//", "/./"):
        with pytest.raises(ValueError, match="the root itself"):
            syntax.parse_paths([root])


@pytest.mark.parametrize(
    "parse", [syntax.parse_paths, syntax.parse_namespaces, syntax.parse_names], ids=["paths", "namespaces", "names"]
)
def test_what_is_listed_twice_is_refused(parse: Callable[[object], object]) -> None:
    item = {"parse_paths": "/tmp", "parse_namespaces": "pid", "parse_names": "db"}[parse.__name__]
    with pytest.raises(ValueError, match="listed twice"):
        parse([item, item])


def test_a_rootfs_is_a_directory_or_nothing() -> None:
    assert syntax.parse_rootfs("") == ""
    assert syntax.parse_rootfs("/srv/root") == "/srv/root"
    with pytest.raises(ValueError, match="not an absolute path"):
        syntax.parse_rootfs("root")


@pytest.mark.parametrize("value", ["oci:/x", "tar:/x.tar"])
def test_a_rootfs_from_an_image_is_not_supported_yet(value: str) -> None:
    with pytest.raises(ValueError, match="not supported yet"):
        syntax.parse_rootfs(value)


@pytest.mark.parametrize("name", ["", "A=B", "A\0"])
def test_a_variable_that_no_environment_can_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name for a variable"):
        syntax.parse_variable(name)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.9, 11, -1])
def test_a_number_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="it must be 1 to 10"):
        syntax.number(1, 10)(value)


@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_only_an_integer_is_a_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match="expected a whole number"):
        syntax.integer(0, 10)(value)
