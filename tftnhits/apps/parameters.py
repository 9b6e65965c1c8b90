"""A notebook's parameters as papermill infers them, and values for them, checked before a run."""

from __future__ import annotations

import ast
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, MissingDependency, quoted

KINDS = {kind.__name__: kind for kind in (str, bool, int, float, list, dict)}
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Parameter:
    """A name in the cell tagged `parameters`; `kind` is its annotation's or default's type."""

    default: Any
    kind: type | None  # None: any

    def takes(self, value: Any) -> bool:
        """Whether `value` fits: an int does for a float, a bool is no int, None does for None."""
        if self.kind is None or value is None:
            return self.kind is None or self.default is None
        return type(value) is self.kind or (self.kind is float and type(value) is int)

    def read(self, text: str) -> Any:
        """`text` as a value of the kind; raises ValueError or KeyError."""
        if self.kind is bool:
            return TRUTH[text.lower()]
        if self.kind is list and not text.startswith("["):
            return [item.strip() for item in text.split(",")]
        if self.kind in (list, dict):
            return json.loads(text)
        return text if self.kind is None else self.kind(text)


def known_parameters(path: Path) -> dict[str, Parameter]:
    """Names, defaults and types in the cell tagged `parameters`; raises ConfigError."""
    try:
        import papermill
    except ImportError as error:
        raise MissingDependency(
            "Running notebooks needs papermill: pip install 'tftnhits[notebook]'."
        ) from error
    try:
        # papermill fills {name} in paths
        inspected = papermill.inspect_notebook(str(path).replace("{", "{{").replace("}", "}}"))
    except Exception as error:  # nbformat's, json's, jsonschema's and the system's errors
        reason = quoted(str(error).partition("\n")[0], 200)
        raise ConfigError(f"{path} can't be read as a notebook: {reason}.") from error
    known = {}
    for name, parameter in inspected.items():
        try:
            default = ast.literal_eval(parameter["default"])
        except (SyntaxError, ValueError) as error:
            raise ConfigError(
                f"{path.name}: the parameter {name!r} is no literal; write it as `name = value`."
            ) from error
        inferred = None if default is None else type(default)
        known[name] = Parameter(default, KINDS.get(parameter["inferred_type_name"], inferred))
    return known


def assign(paths: list[Path], given: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """For each notebook those of the `given` values whose names it has, as plain values.

    Raises ConfigError on a name that no notebook has and on a value of a wrong type.
    """
    return assign_known({path: known_parameters(path) for path in paths}, given)


def assign_known(
    known: dict[Path, dict[str, Parameter]], given: dict[str, Any]
) -> dict[Path, dict[str, Any]]:
    """As `assign`, by the `known` parameters of each notebook."""
    values: dict[Path, dict[str, Any]] = {path: {} for path in known}
    for name, value in given.items():
        for path, parameter in _holders(known, name).items():
            try:  # as JSON gives it back: a tuple as a list, a path as text
                text = json.dumps(value, ensure_ascii=False, default=os.fspath)
                text.encode()  # half a character can't be written
            except (TypeError, ValueError) as error:
                raise ConfigError(
                    f"{path.name}: parameter {name!r} takes plain values, not {quoted(value)}."
                ) from error
            plain = json.loads(text)
            if not parameter.takes(plain):
                raise _wrong(path, name, value, parameter)
            values[path][name] = plain
    return values


def parse_lists(known: dict[Path, dict[str, Parameter]], pairs: list[str]) -> dict[str, list]:
    """`name=v1,v2` texts as lists of values of the `known` parameters' types.

    Values with commas in them are written as a JSON list, `name=["a,b"]` or `name=[[1, 2]]`.
    Raises ConfigError as `parse`.
    """
    values: dict[str, list] = {}
    for pair in pairs:
        name, path, parameter, text = _split(known, pair)
        try:
            if text.startswith("["):
                values[name] = json.loads(text)
            else:
                values[name] = [parameter.read(one.strip()) for one in text.split(",")]
        except (ValueError, KeyError) as error:
            raise _wrong(path, name, text, parameter) from error
    return values


def _split(known: dict[Path, dict[str, Parameter]], pair: str) -> tuple[str, Path, Parameter, str]:
    """The name in `name=value`, a notebook that has it, what it takes there, and the text."""
    name, equals, text = pair.partition("=")
    if not (equals and name):
        raise ConfigError(f"Parameter {quoted(pair)} is not of the form name=value.")
    path, parameter = next(iter(_holders(known, name).items()))
    return name, path, parameter, text


def parse(paths: list[Path], pairs: list[str]) -> dict[str, Any]:
    """`name=value` texts as values of the parameters' types: '000001' and 'NO' stay text.

    Raises ConfigError on a text without '=', an unknown name, and a value that can't be read.
    """
    known = {path: known_parameters(path) for path in paths}
    values = {}
    for pair in pairs:
        name, path, parameter, text = _split(known, pair)
        try:
            values[name] = parameter.read(text)
        except (ValueError, KeyError) as error:
            raise _wrong(path, name, text, parameter) from error
    return values


def _holders(known: dict[Path, dict[str, Parameter]], name: str) -> dict[Path, Parameter]:
    """The notebooks that have a parameter of that name; raises ConfigError if none has."""
    holders = {path: names[name] for path, names in known.items() if name in names}
    if not holders:
        choice = ", ".join(sorted(set().union(*known.values())))
        raise ConfigError(f"No chosen notebook has a parameter {quoted(name)}; there are {choice}.")
    return holders


def _wrong(path: Path, name: str, value: Any, parameter: Parameter) -> ConfigError:
    kind = parameter.kind.__name__ if parameter.kind else "plain value"
    return ConfigError(
        f"{path.name}: parameter {name!r} takes {kind} (default {quoted(parameter.default)}), "
        f"not {quoted(value)}."
    )
