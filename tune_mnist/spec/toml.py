"""Specs and configs read from TOML or JSON, strictly, with one line for what is wrong in them."""

from __future__ import annotations

import codecs
import dataclasses
import difflib
import json
import re
from pathlib import Path
from typing import Any, TypeVar, cast

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


def from_mapping(cls: type[T], values: dict[str, Any], source: str) -> T:
    """Build the dataclass `cls` from parsed TOML or JSON, with types checked strictly.

    Raises:
        UserError: an unknown key (with the nearest known one), a wrong type, or a value out of range.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return home_expanded(TypeAdapter(cls).validate_json(json.dumps(values, default=str)))
    except ValidationError as error:
        raise UserError(f"{source}: {_first_problem(cls, error.errors()[0])}") from None


def home_expanded(value: T) -> T:
    """A path, or a dataclass or tuple with the paths in it, with a leading ~ or ~USER as a shell has it: the home.

    Raises:
        UserError: there is no such home.
    """
    anything: Any = value
    if isinstance(anything, Path) and str(anything).startswith("~"):
        try:
            anything = anything.expanduser()
        except RuntimeError:
            raise UserError(f"{anything}: no such home: set HOME, or write the folder's whole name") from None
    elif type(anything) is tuple:
        anything = tuple(map(home_expanded, anything))
    elif dataclasses.is_dataclass(anything) and not isinstance(anything, type):
        fields = {field.name: getattr(anything, field.name) for field in dataclasses.fields(anything) if field.init}
        changed = {name: new for name, old in fields.items() if (new := home_expanded(old)) != old}
        anything = dataclasses.replace(anything, **changed) if changed else anything
    return cast(T, anything)


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
    value, rule, remedy = problem["input"], problem["msg"], "correct the value"
    if problem["type"] == "tuple_type" and isinstance(value, int | float | str):
        rule, remedy = "Input should be a list", f"write [{json.dumps(value)}]"
    elif problem["type"] in ("float_type", "int_type") and re.fullmatch(r"[-+\d.eE]+", str(value)):
        remedy = f"write {value} without quotes" if isinstance(value, str) else "write a whole number"
    return f"`{key}`: {rule}, but got {value!r}: {remedy}"
