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
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib  # type: ignore[import-not-found,no-redef]
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


def _first_problem(cls: type, problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "unexpected_keyword_argument":
        known = {f.name: f.name for f in dataclasses.fields(cls)}
        if "recipe" in known:
            known |= {f.name: f"recipe.{f.name}" for f in dataclasses.fields(Recipe)}
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
        table = where.removesuffix(str(problem["loc"][-1]))
        meant = f"did you mean `{known[near[0]].removeprefix(table)}`?" if near else ""
        return f"unknown key `{where}`: {meant or 'known are ' + ', '.join(known.values())}"
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    return f"`{where}`: {problem['msg']}, but got {problem['input']!r}: correct the value"
