"""A command line parsed into a dataclass, and what is wrong with it in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from tune_mnist.spec.errors import UserError, did_you_mean, flag_of, require
from tune_mnist.spec.places import home_expanded
from tune_mnist.spec.settings import OWN_FLAG

T = TypeVar("T")


def parse(
    cls: type[T], argv: Sequence[str] | None, *, prog: str, description: str,
    from_toml: Callable[[Path], T] | None = None,
) -> T:
    """Parse `argv` (None: the process's own) into the dataclass `cls`.

    Fields of nested dataclasses are flags without a prefix. With `from_toml` one word may end in .toml: the file
    gives the defaults that the flags override and --help shows.

    Raises:
        UserError: an unknown flag, a wrong type or choice, a missing value, two TOML files, or a `UserError` of the
            dataclass itself.
        SystemExit: with status 0, after --help.
    """
    import tyro

    words = list(sys.argv[1:] if argv is None else argv)
    default = None
    if from_toml is not None:
        path, words = _without_toml(words)
        default = cls() if path is None else from_toml(path)
        words = _own_at_once(words, _own_of(default))
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            args, unknown = tyro.cli(
                cls, args=words, prog=prog, description=description,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(tyro.conf.OmitArgPrefixes,), return_unknown_args=True,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        _refuse_unknown_flags(cls, words)
        raise _user_error_behind(stop) or UserError(_one_line(box.getvalue())) from None
    if unknown:
        raise UserError(_unknown(unknown, cls))
    return home_expanded(args)


def fields_of(args: Any, *, but: str) -> dict[str, Any]:
    """The fields of a dataclass by name, without one: the keyword arguments of the function that a command calls."""
    return {field.name: getattr(args, field.name) for field in dataclasses.fields(args) if field.name != but}


def _without_toml(words: list[str]) -> tuple[Path | None, list[str]]:
    """The one word that ends in .toml, if any, and the others; `UserError` if there are two."""
    named = [word for word in words if word.lower().endswith(".toml") and not word.startswith("-")]
    require(len(named) <= 1, "at most one spec is named", ", ".join(named), "name one TOML file")
    return home_expanded(Path(named[0])) if named else None, [word for word in words if word not in named]


def _own_at_once(words: list[str], own: dict[str, Any]) -> list[str]:
    """The words, those for single models, --MODEL.SETTING VALUE..., put together with what a file says of these."""
    given: dict[str, dict[str, Any]] = {model: dict(settings) for model, settings in own.items()}
    others: list[str] = []
    values: list[str] | None = None
    for word in words:
        model, dot, name = word.removeprefix("--").partition("=")[0].rpartition(".")
        name = name.replace("-", "_")
        if word.startswith("--") and dot and name.isidentifier():
            values = [word.partition("=")[2]] if "=" in word else []
            given.setdefault(model, {})[name] = {"words": values}
        elif values is None or (word.startswith("-") and not re.match(r"-[0-9.]", word)):
            values = None
            others.append(word)
        else:
            values.append(word)
    return others if given == own else [*others, f"--{OWN_FLAG}", json.dumps(given, default=vars)]


def _own_of(args: Any) -> dict[str, Any]:
    """The settings of single models that a dataclass, or one in it, has."""
    for field in dataclasses.fields(args):
        value = getattr(args, field.name)
        if field.name == "own":
            return dict(value)
        if dataclasses.is_dataclass(value) and (own := _own_of(value)):
            return own
    return {}


def _user_error_behind(stop: BaseException) -> UserError | None:
    """The `UserError` of a dataclass that tyro turned into an exit: kept as the exit's context."""
    error: BaseException | None = stop
    while error is not None and not isinstance(error, UserError):
        error = error.__context__
    return error


def _one_line(box: str) -> str:
    """Flatten tyro's boxed message to its first paragraph, with the usage of the flag it is about."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)  # colours
    lines = [line.strip(" │|") for line in plain.splitlines()[1:]]
    texts = re.split(r"\n(?:[-─╰╯]*\n)+", "\n".join(["", *lines, ""]))  # at empty lines and rules
    paragraphs = [text for text in texts if text.strip("-─╰╯\n")] or ["bad input"]
    message = " ".join(paragraphs[0].split()).removeprefix("Error parsing ").rstrip(".")
    usage = re.search(r"Argument helptext:\n(.+)", "\n".join(paragraphs))
    return f"{message}: use `{usage[1]}`" if usage else f"{message}: see --help"


def _refuse_unknown_flags(cls: type, words: Sequence[str]) -> None:
    """Raise `UserError` for the first unknown flag: what else is wrong may only follow from it."""
    known = {*_flags(cls), "--help"}
    known |= {flag.replace("--", "--no-", 1) for flag in known}
    for word in words:
        if word.startswith("--") and word.split("=")[0].replace("_", "-") not in known and word != "--":
            raise UserError(_unknown([word], cls))


def _unknown(words: Sequence[str], cls: type) -> str:
    """What is wrong with the first flag among words that nothing takes, or with the first word."""
    flag = next((word.split("=")[0] for word in words if word.startswith("-")), None)
    if flag is None:
        return f"unexpected argument `{words[0]}`: see --help"
    return f"unknown flag `{flag}`: {did_you_mean(flag, list(_flags(cls)), 'see --help', ticks='`')}"


def _flags(cls: type) -> Iterator[str]:
    """The flags of a dataclass and of the dataclasses in it."""
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _flags(hints[field.name])
        else:
            yield f"--{OWN_FLAG}" if field.name == "own" else flag_of(field.name)
