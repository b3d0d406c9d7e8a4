"""The placeholders in values of `env`.

    %n        the service's name            %%      a percent sign
    %i        the instance of a template    ${VAR}  nsinit's own variable, if `pass_env` lists it;  $${ is ${

A dollar sign that no brace follows is itself.
"""

import re
from collections.abc import Collection, Mapping

_PLACEHOLDER = re.compile(r"%(?P<letter>.?)|(?P<escaped>\$\$\{)|\$\{(?P<variable>[^}]*)(?P<end>\}?)")


def substitute(value: str, name: str, passed: Collection[str], environ: Mapping[str, str]) -> str:
    """`value` with its placeholders replaced.

    Raises:
        ValueError: an unknown placeholder, or a variable that isn't passed or isn't set.
    """

    def replace(match: re.Match[str]) -> str:
        if match["letter"] is not None:
            return _letter(match["letter"], name)
        if match["escaped"]:
            return "${"
        if not match["end"]:
            raise ValueError('"${" has no "}": write "$${" for the characters themselves')
        return _variable(match["variable"], passed, environ)

    return _PLACEHOLDER.sub(replace, value)


def _letter(letter: str, name: str) -> str:
    if letter == "i":
        raise ValueError(f"%i is the instance of a template, and {name} is none")
    try:
        return {"n": name, "%": "%"}[letter]
    except KeyError:
        raise ValueError(f"unknown placeholder %{letter}: there are %n and %i, and %% is a percent sign") from None


def _variable(variable: str, passed: Collection[str], environ: Mapping[str, str]) -> str:
    if variable not in passed:
        raise ValueError(f"${{{variable}}} needs {variable!r} in pass_env")
    if variable not in environ:
        raise ValueError(f"${{{variable}}} is not set in nsinit's own environment")
    return environ[variable]
