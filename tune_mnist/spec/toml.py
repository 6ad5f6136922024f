"""Specs and configs read from TOML or JSON, strictly, with one line for what is wrong in them."""

from __future__ import annotations

import codecs
import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from tune_mnist.spec.errors import UserError, did_you_mean, require
from tune_mnist.spec.places import home_expanded
from tune_mnist.spec.search import SearchSettings, SearchSpec
from tune_mnist.spec.space import Space
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Strict

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[import-not-found,no-redef]

T = TypeVar("T")
SPACE = tuple(field.name for field in dataclasses.fields(Space) if field.name not in ("own", "sources"))
OF_GRIDS = {field.name for field in dataclasses.fields(StudySpec)} - {*SPACE, "own", "sources"}
OF_SEARCHES = {field.name for field in dataclasses.fields(SearchSettings)}
CNN = "cnn_"
"""What the CNN's own settings began with before every model could have some."""


def read_spec(path: Path) -> StudySpec:
    """Read a study's spec from a TOML file; what only a search needs is passed over.

    Raises:
        UserError: the file is missing, is not TOML (with the line), or has an unknown or ill-typed key.
    """
    values = {name: value for name, value in read_toml(path).items() if name not in OF_SEARCHES - OF_GRIDS}
    return from_mapping(StudySpec, values, str(path))


def read_search(path: Path) -> SearchSpec:
    """Read a search's spec from a TOML file, whose space may be in a table [space]; what only a grid needs is not read.

    Raises:
        UserError: the file is missing, is not TOML (with the line), or has an unknown or ill-typed key.
    """
    values = {name: value for name, value in read_toml(path).items() if name not in OF_GRIDS - OF_SEARCHES}
    if isinstance(values.get("epochs"), list) and values["epochs"]:
        values["epochs"] = max(values["epochs"], key=str)
    try:
        space, others = _space_and_others(values)
        settings = _validated(SearchSettings, others, SearchSpec)
        return home_expanded(SearchSpec(space=Space(**space), **settings))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; `UserError` names the file and, for a syntax error, the line."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig").replace("\r\n", "\n")  # editors on Windows begin files with a mark
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}: name an existing TOML file") from None
    except UnicodeDecodeError:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UserError(f"{path} is UTF-16 text: save it as UTF-8") from None
        raise UserError(f"{path} is not UTF-8 text: name a TOML file") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        _refuse_typographic_quotes(path, text)
        where = str(error).replace("at end of document", f"at the end, line {len(text.splitlines())}")
        raise UserError(f"{path} is not valid TOML: {where}: correct the file") from None
    except RecursionError:
        raise UserError(f"{path} is not valid TOML: nested too deeply: correct the file") from None


def _refuse_typographic_quotes(path: Path, text: str) -> None:
    """Raise `UserError` for the first line of `text`, which is no TOML, with quotes as word processors make them."""
    for number, line in enumerate(text.splitlines(), 1):
        quote = re.search("[“”„«»‘’‚‹›]", line.partition("#")[0])
        if quote is not None:
            raise UserError(f'{path} has the quote {quote[0]} in line {number}: write plain ones, "')


def from_mapping(cls: type[T], values: Mapping[str, Any], source: str, **more: Any) -> T:
    """Build the dataclass `cls` from parsed TOML or JSON, with types checked strictly, and `more` arguments.

    Raises:
        UserError: an unknown key (with the nearest known one), a wrong type, or a value out of range.
    """
    try:
        space, others = _space_and_others(values) if issubclass(cls, Space) else ({}, dict(values))
        return home_expanded(cls(**space, **_validated(cls, others, cls), **more))
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


def _space_and_others(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What of a file is a `Space`'s, as its constructor takes it, and the rest.

    Old files have a grid's settings in a table [recipe] and a search's in [space], the CNN's own named cnn_….
    """
    space: dict[str, Any] = {}
    own: dict[str, Any] = {model: dict(given) for model, given in (values.get("own") or {}).items()}
    others: dict[str, Any] = {}
    for name, value in values.items():
        if name in ("recipe", "space"):
            require(isinstance(value, Mapping), f"{name} is a table", repr(value), f"write [{name}]")
            inner, unknown = _space_and_others(value)
            for key in unknown:
                raise UserError(f"unknown key `{name}.{key}`: {nearest_key(StudySpec, key)}")
            own |= inner.pop("own", {})
            for key in inner.keys() & values.keys():
                raise UserError(f"`{key}` stands twice: drop it from [{name}]")
            space |= inner
        elif name in SPACE:
            space[name] = value
        elif name.startswith(CNN) and name.removeprefix(CNN) in SPACE:
            own.setdefault("CNN", {})[name.removeprefix(CNN)] = value
        elif isinstance(value, Mapping) and name != "own":
            own[name] = {**own.get(name, {}), **value}
        elif name != "own":
            others[name] = value
    return (space | {"own": own} if own else space), others


def _validated(cls: type, values: dict[str, Any], known: type) -> dict[str, Any]:
    """The values of those fields of a dataclass that no space has, with their types checked strictly."""
    from pydantic import TypeAdapter, ValidationError

    try:
        checked = TypeAdapter(_without_space(cls)).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise UserError(_first_problem(known, error.errors()[0])) from None
    return {field.name: getattr(checked, field.name) for field in dataclasses.fields(checked)}


@functools.cache
def _without_space(cls: type) -> Any:
    """A dataclass with the fields of `cls` that are not a space's, and no checks but those of their types."""
    hints = get_type_hints(cls)
    of_space = {*SPACE, "own", "sources"} if issubclass(cls, Space) else {"space"}
    left = [field for field in dataclasses.fields(cls) if field.name not in of_space]
    fields = []
    for each in left:
        default: Any = dataclasses.field(default=each.default, default_factory=each.default_factory, kw_only=True)
        fields.append((each.name, hints[each.name], default))
    return dataclasses.make_dataclass(cls.__name__, fields, bases=(Strict,))


def nearest_key(cls: type, key: str) -> str:
    """The remedy for an unknown key of a `cls`: the nearest known one, or all of them."""
    known = [field.name for field in dataclasses.fields(cls) if field.name not in ("own", "sources", "space")]
    if cls is SearchSpec:
        known += SPACE
    return did_you_mean(key, known, f"known are {', '.join(known)}", ticks="`")


def _first_problem(cls: type, problem: Any) -> str:
    """What pydantic's first complaint about a `cls` means to a user, with a remedy."""
    key = ".".join(str(name) for name in problem["loc"])
    if problem["type"] == "unexpected_keyword_argument":
        return f"unknown key `{key}`: {nearest_key(cls, key)}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    value, rule, remedy = problem["input"], problem["msg"], "correct the value"
    if problem["type"] == "tuple_type" and isinstance(value, int | float | str):
        rule, remedy = "Input should be a list", f"write [{json.dumps(value)}]"
    elif problem["type"] in ("float_type", "int_type") and re.fullmatch(r"[-+\d.eE]+", str(value)):
        remedy = f"write {value} without quotes" if isinstance(value, str) else "write a whole number"
    return f"`{key}`: {rule}, but got {value!r}: {remedy}"
