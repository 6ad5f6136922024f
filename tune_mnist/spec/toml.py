"""Specs and configs read from TOML or JSON, strictly, with one line for what is wrong in them."""

from __future__ import annotations

import dataclasses
import difflib
import json
from pathlib import Path
from typing import Any, TypeVar

from tune_mnist.spec.errors import UserError
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import Recipe

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[import-not-found,no-redef]

T = TypeVar("T")


def read_spec(path: Path) -> StudySpec:
    """Read a study's spec from a TOML file.

    Raises:
        UserError: the file is missing, is not TOML (with the line), or has an unknown or ill-typed key.
    """
    return from_mapping(StudySpec, read_toml(path), str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; `UserError` names the file and, for a syntax error, the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}: name an existing TOML file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: name a TOML file") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = str(error).replace("at end of document", f"at the end, line {len(text.splitlines())}")
        raise UserError(f"{path} is not valid TOML: {where}: correct the file") from None
    except RecursionError:
        raise UserError(f"{path} is not valid TOML: nested too deeply: correct the file") from None


def from_mapping(cls: type[T], values: dict[str, Any], source: str) -> T:
    """Build the dataclass `cls` from parsed TOML or JSON, with types checked strictly.

    Raises:
        UserError: an unknown key (with the nearest known one), a wrong type, or a value out of range.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise UserError(f"{source}: {_first_problem(cls, error.errors()[0])}") from None


def nearest_key(cls: type, key: str) -> str:
    """The remedy for an unknown key of a `cls`, dots between tables: the nearest known one, or all of them."""
    table, dot, name = key.rpartition(".")
    known = {field.name: field.name for field in dataclasses.fields(cls)}
    if "recipe" in known:
        known |= {field.name: f"recipe.{field.name}" for field in dataclasses.fields(Recipe)}
    near = difflib.get_close_matches(name, known, n=1)
    if not near:
        return f"known are {', '.join(known.values())}"
    return f"did you mean `{known[near[0]].removeprefix(table + dot)}`?"


def _first_problem(cls: type, problem: Any) -> str:
    """What pydantic's first complaint about a `cls` means to a user, with a remedy."""
    key = ".".join(str(name) for name in problem["loc"])
    if problem["type"] == "unexpected_keyword_argument":
        return f"unknown key `{key}`: {nearest_key(cls, key)}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"`{key}`: {problem['msg']}, but got {problem['input']!r}: correct the value"
