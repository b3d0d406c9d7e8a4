"""The varlink description says what the structs are: read by PyPI's varlink parser and compared field by field."""

import types
import typing

import msgspec
import pytest
from varlink import scanner

from nsinit.control import interface, methods
from nsinit.errors import (
    Denied,
    Inactive,
    InvalidConfig,
    KernelError,
    LaunchError,
    NoSuchService,
    OperationFailed,
    TimedOut,
)
from nsinit.supervisor import model
from nsinit.supervisor.states import State

PARSED = scanner.Interface(interface.DESCRIPTION)
VARLINK = scanner.Interface(interface.VARLINK_DESCRIPTION)

METHODS = {
    "Info": (interface.Nothing, model.SupervisorInfo),
    "List": (interface.Nothing, interface.Services),
    "Status": (interface.ServiceName, interface.Service),
    "ExecContext": (interface.ServiceName, model.ExecContext),
    "Start": (interface.ServiceNames, interface.Nothing),
    "Stop": (interface.ServiceNames, interface.Nothing),
    "Restart": (interface.ServiceNames, interface.Nothing),
    "Reload": (interface.Nothing, model.ReloadReport),
    "Logs": (interface.LogsQuery, interface.Lines),
    "WaitUp": (interface.Nothing, interface.Nothing),
    "Shutdown": (interface.Nothing, interface.Nothing),
}
STRUCT_NAMES = {model.ServiceStatus: "Service", model.LogLine: "LogLine"}


def described(kind: object) -> object:
    """A type of the description, in a form that compares."""
    match kind:
        case scanner._Maybe():
            return ("maybe", described(kind.element_type))
        case scanner._Array():
            return ("array", described(kind.element_type))
        case scanner._Dict():
            return ("dict", described(kind.element_type))
        case scanner._CustomType():
            return "string" if isinstance(PARSED.members[kind.name].type, scanner._Enum) else kind.name
        case scanner._Enum():
            return ("enum", tuple(kind.fields))
        case scanner._Struct():
            return {name: described(field) for name, field in kind.fields.items()}
    return {bool: "bool", int: "int", float: "float", str: "string"}[type(kind)]


def typed(kind: object) -> object:
    """The same form of a Python type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return ("maybe", typed(arguments[0]))
    if origin is list:
        return ("array", typed(arguments[0]))
    if origin is dict:
        return ("dict", typed(arguments[1]))
    if origin is typing.Literal:
        return ("enum", arguments)
    if kind in STRUCT_NAMES:
        return STRUCT_NAMES[kind]
    return {bool: "bool", int: "int", float: "float", str: "string"}[kind]


def fields(struct: type[msgspec.Struct]) -> dict[str, object]:
    return {field.encode_name: typed(field.type) for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize("struct", STRUCT_NAMES, ids=lambda struct: struct.__name__)
def test_each_described_type_has_exactly_the_fields_of_its_struct(struct: type[msgspec.Struct]) -> None:
    assert described(PARSED.members[STRUCT_NAMES[struct]].type) == fields(struct)


@pytest.mark.parametrize("name", METHODS)
def test_each_described_method_takes_and_returns_the_fields_of_its_structs(name: str) -> None:
    method = PARSED.get_method(name)
    assert (described(method.in_type), described(method.out_type)) == tuple(map(fields, METHODS[name]))


def test_the_described_methods_are_those_that_are_served() -> None:
    described_names = {
        f"{parsed.name}.{name}"
        for parsed in (PARSED, VARLINK)
        for name, member in parsed.members.items()
        if isinstance(member, scanner._Method)
    }
    assert described_names == set(methods._HANDLERS)


def test_the_described_states_are_the_states_of_the_state_machine() -> None:
    assert set(PARSED.members["State"].type.fields) == {state.value for state in State}


def test_each_error_class_has_a_described_error_with_a_reason() -> None:
    errors = {name: member for name, member in PARSED.members.items() if isinstance(member, scanner._Error)}
    assert set(errors) == {*interface.ERRORS, "Busy", "InternalError"}
    assert all(described(error.type) == {"reason": "string"} for error in errors.values())


@pytest.mark.parametrize(
    "error", [OperationFailed("x"), Inactive("x"), NoSuchService("x"), Denied("x"), InvalidConfig("x"), TimedOut("x")]
)
def test_errors_survive_the_way_over_the_socket(error: OperationFailed) -> None:
    back = interface.error_from(interface.error_name(error), str(error))
    assert (type(back), str(back)) == (type(error), "x")


def test_errors_without_a_varlink_name_become_operation_failed() -> None:
    assert interface.error_name(KernelError("mount", 1)).endswith(".OperationFailed")
    assert interface.error_name(LaunchError("exec", 2)).endswith(".OperationFailed")


def test_a_foreign_error_keeps_its_name_as_the_message() -> None:
    error = interface.error_from("org.varlink.service.MethodNotFound", "")
    assert (type(error), str(error)) == (OperationFailed, "org.varlink.service.MethodNotFound")
