"""A notebook's parameters: what it knows, and what it is given, checked before anything runs."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from ..errors import ConfigError, MissingDependency, shown

_KINDS = {kind.__name__: kind for kind in (str, bool, int, float, list, tuple, dict)} | {
    "None": type(None)
}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_PLAIN = (str, bool, int, float, type(None))


@dataclass(frozen=True)
class Parameter:
    """A name in the cell tagged `parameters`: its default and the types it takes (none: any)."""

    default: Any
    kinds: tuple[type, ...]

    def takes(self, value: Any) -> bool:
        """Whether `value` is of a fitting type; an int fits where a float is asked, True does not."""
        if isinstance(value, bool):
            return not self.kinds or bool in self.kinds
        kinds = (
            self.kinds
            + (int,) * (float in self.kinds)
            + (list, tuple) * bool({list, tuple} & set(self.kinds))
        )
        return not self.kinds or isinstance(value, kinds)


def read_notebook(path: Path):
    """The notebook as nbformat 4; raises ConfigError where it is missing or no notebook."""
    try:
        import nbformat
    except ImportError as exc:
        raise MissingDependency(
            "Notebooks need papermill and nbformat: pip install 'tftnhits[notebook]'."
        ) from exc
    try:
        return nbformat.read(str(path), as_version=4)
    except (
        Exception
    ) as exc:  # nbformat raises its own, json's, jsonschema's and the system's errors
        raise ConfigError(
            f"{path} can't be read as a notebook: {str(exc).splitlines()[0]}"
        ) from exc


def known_parameters(path: Path) -> dict[str, Parameter]:
    """Names, defaults and types in the one cell tagged `parameters`.

    Raises ConfigError if there is not exactly one such cell (papermill would ignore what it is given)
    or if it holds anything but literals.
    """
    cells = [c for c in read_notebook(path).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ConfigError(
            f"{path.name} has {len(cells)} cells tagged 'parameters'; it must have exactly one."
        )
    known = {}
    try:
        for node in ast.parse(cells[0].source).body:
            if isinstance(node, ast.Expr):  # a docstring
                continue
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            default = ast.literal_eval(node.value)
            kinds = _annotated(getattr(node, "annotation", None)) or (
                {type(default)} - {type(None)}
            )
            known[target.id] = Parameter(default, tuple(kinds))
    except (SyntaxError, ValueError, AttributeError, TypeError) as exc:
        raise ConfigError(
            f"{path.name}: the cell tagged 'parameters' must hold `name = literal` only."
        ) from exc
    return known


def _annotated(node: ast.AST | None) -> set[type]:
    """Types named by an annotation such as `list[str] | None`; empty if it names none that we know."""
    if isinstance(node, ast.BinOp):
        return _annotated(node.left) | _annotated(node.right)
    if isinstance(node, ast.Subscript):
        return _annotated(node.value)
    name = str(getattr(node, "id", getattr(node, "value", "")))
    return {_KINDS[name]} if name in _KINDS else set()


def assign(paths: list[Path], given: dict[str, Any], **always: Any) -> dict[Path, dict[str, Any]]:
    """What each notebook gets: of `given`, and of what the batch itself sets, the names that it has.

    Raises ConfigError on a name that no notebook in `paths` has, and on a value of a wrong type.
    """
    known = {path: known_parameters(path) for path in paths}
    for name, value in given.items():
        if name in always:
            raise ConfigError(f"Parameter {name!r} is set by the batch itself; leave it out.")
        holders = [path for path in paths if name in known[path]]
        if not holders:
            raise _unknown(name, known)
        for path in holders:
            if not known[path][name].takes(value) or not _is_plain(value):
                raise _wrong(path, name, value, known[path][name])
    given = {name: _plain(value) for name, value in given.items()}
    return {path: {n: v for n, v in (always | given).items() if n in known[path]} for path in paths}


def parse(paths: list[Path], pairs: list[str]) -> dict[str, Any]:
    """`name=value` texts as values, by the type of the notebooks' defaults: '000001' and 'NO' stay text.

    Raises ConfigError on a text without '=', a name that no notebook has, and a value that can't be read.
    """
    known = {path: known_parameters(path) for path in paths}
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"Parameter {pair!r} is not of the form name=value.")
        holders = [path for path in paths if name in known[path]]
        if not holders:
            raise _unknown(name, known)
        try:
            values[name] = _read(text, known[holders[0]][name])
        except ValueError as exc:
            raise _wrong(holders[0], name, text, known[holders[0]][name]) from exc
    return values


def _read(text: str, parameter: Parameter) -> Any:
    kinds, default = parameter.kinds, parameter.default
    if type(None) in kinds and text in ("", "None"):
        return None
    if list in kinds or tuple in kinds or dict in kinds:
        if text[:1] in "[{":
            return json.loads(text or "[]")
        if dict in kinds:
            raise ValueError(text)
        of = type(default[0]) if default else str
        return [_read(part.strip(), Parameter(None, (of,))) for part in text.split(",")]
    if str in kinds or not kinds:
        return text
    if bool in kinds:
        if text.lower() not in _TRUTH:
            raise ValueError(text)
        return _TRUTH[text.lower()]
    return int(text) if int in kinds and float not in kinds else float(text)


def _is_plain(value: Any) -> bool:
    """Whether papermill can write `value` into a cell and get the same back."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(k) and _is_plain(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return all(_is_plain(v) for v in value)
    if type(value) not in _PLAIN:
        return False
    try:
        f"{value}".encode()
        return True
    except ValueError:  # half a character, an integer of 5,000 digits: they can't be written
        return False


def _plain(value: Any) -> Any:
    # papermill writes a tuple as text
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def from_paths(given: dict[str, Any] | None) -> dict[str, Any]:
    """`given` with every Path as text: notebooks take plain values only."""
    return {k: fspath(v) if isinstance(v, PathLike) else v for k, v in (given or {}).items()}


def _unknown(name: str, known: dict[Path, dict[str, Parameter]]) -> ConfigError:
    listing = "; ".join(f"{path.name}: {', '.join(known[path]) or 'none'}" for path in known)
    return ConfigError(f"No chosen notebook has a parameter {name!r}; known are, {listing}.")


def _wrong(path: Path, name: str, value: Any, parameter: Parameter) -> ConfigError:
    kinds = " or ".join(kind.__name__ for kind in parameter.kinds) or "plain value"
    return ConfigError(
        f"{path.name}: parameter {name!r} takes {kinds} (default {shown(parameter.default)}), not {shown(value)}."
    )
