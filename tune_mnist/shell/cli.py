"""One way to parse a command line and one way to fail: one line on stderr and an exit status."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import difflib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_type_hints

from tune_mnist.collector import collect_seldom
from tune_mnist.config import StudySpec, UserError, require
from tune_mnist.signals import stops_on_signals
from tune_mnist.spec_file import read_spec
from tune_mnist.store import Damaged

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

BAD_INPUT = 2
INTERRUPTED = 130
_leaving: int | None = None


def run(body: Callable[[], int]) -> int:
    """Run a command's body and return its exit status, with every way to end early made quiet.

    Returns:
        What `body` returns; 0 after --help; 2 after a `UserError`, told as one line `error: …` on
        stderr; 130 after Ctrl-C or SIGTERM, with the `KeyboardInterrupt`'s own text, if any, as the last line;
        1 when the reader of stdout has gone. Any other exception is a bug and keeps its traceback.
        Warnings of damaged files are one line each on stderr.
    """
    collect_seldom()
    try:
        with stops_on_signals(), _one_line_warnings():
            return _run_and_flush(body)
    except UserError as error:
        _say(f"error: {error}")
        return BAD_INPUT
    except KeyboardInterrupt as interrupt:
        _say(str(interrupt) or "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered has no reader: without this the interpreter complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def leave(status: int) -> NoReturn:
    """End the process with `status` after its exit handlers: to take torch and Ray apart, too, takes Python seconds."""
    global _leaving
    _leaving = status
    sys.exit(status)


@atexit.register
def _leave() -> None:
    if _leaving is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(_leaving)


def parse(cls: type[T], argv: Sequence[str] | None, *, prog: str, description: str, default: T | None = None) -> T:
    """Parse `argv` (None: the process's own) into the dataclass `cls`.

    Fields of nested dataclasses are flags without a prefix; `default` gives the defaults that the
    flags override and --help shows.

    Raises:
        UserError: an unknown flag, a wrong type or choice, a missing value, or a `UserError` of the
            dataclass itself.
        SystemExit: with status 0, after --help.
    """
    import tyro

    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            args, unknown = tyro.cli(
                cls, args=list(sys.argv[1:] if argv is None else argv), prog=prog, description=description,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(tyro.conf.OmitArgPrefixes,), return_unknown_args=True,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        _refuse_unknown_flags(cls, sys.argv[1:] if argv is None else argv)
        raise _user_error_behind(stop) or UserError(_one_line(box.getvalue())) from None
    if unknown:
        raise UserError(_unknown(unknown, args))
    return args


def spec_from_argv(argv: Sequence[str] | None) -> tuple[StudySpec, list[str]]:
    """Take the one argument that ends in .toml, if any, out of `argv` and read it as a study's spec.

    Returns:
        The spec, or the default one, and the other arguments: give both to `parse`.

    Raises:
        UserError: two such arguments, or the file cannot be read as a spec.
    """
    path, words = toml_from_argv(argv)
    return StudySpec() if path is None else read_spec(path), words


def toml_from_argv(argv: Sequence[str] | None) -> tuple[Path | None, list[str]]:
    """Take the one argument that ends in .toml, if any, out of `argv`; `UserError` if there are two."""
    words = list(sys.argv[1:] if argv is None else argv)
    named = [word for word in words if word.endswith(".toml") and not word.startswith("-")]
    require(len(named) <= 1, "at most one spec is named", ", ".join(named), "name one TOML file")
    return Path(named[0]) if named else None, [word for word in words if word not in named]


def print_table(frame: pd.DataFrame, title: str) -> None:
    """Print a table to stdout, shares as percent and empty cells as dashes."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*map(str, frame.columns), title=title, title_justify="left", box=None)
    for row in frame.itertuples(index=False):
        table.add_row(*(_cell(name, value) for name, value in zip(frame.columns, row, strict=True)))
    Console(width=None if sys.stdout.isatty() else 240, markup=False).print(table)


def _cell(name: str, value: Any) -> str:
    if value is None or value != value:
        return "-"
    if not isinstance(value, float):
        return str(value)
    share = name.endswith(("accuracy", "precision", "recall", "f1")) or name in ("mean", "std", "ci_low", "ci_high")
    return f"{value:.2%}" if share else f"{value:.4g}"


def _run_and_flush(body: Callable[[], int]) -> int:
    try:
        return body()
    except SystemExit as stop:  # --help, or rich when the reader of stdout has gone
        return stop.code if isinstance(stop.code, int) else 0
    finally:
        sys.stdout.flush()


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    show = warnings.showwarning

    def show_line(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, Damaged):
            _say(f"warning: {message}")
        else:
            show(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.showwarning = show_line  # type: ignore[assignment]
        yield


def _say(text: str) -> None:
    print(" ".join(text.splitlines()), file=sys.stderr)


def _user_error_behind(stop: BaseException) -> UserError | None:
    """The `UserError` of a dataclass that tyro turned into an exit: kept as the exit's context."""
    error: BaseException | None = stop
    while error is not None and not isinstance(error, UserError):
        error = error.__context__
    return error


def _one_line(box: str) -> str:
    """Flatten tyro's boxed message to its first paragraph, with the usage of the flag it is about."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip(" │|") for line in plain.splitlines()[1:]]
    paragraphs = [p for p in re.split(r"\n(?:[-─╰╯]*\n)+", "\n".join(["", *lines, ""])) if p.strip("-─╰╯\n")]
    message = " ".join(paragraphs[0].split()).removeprefix("Error parsing ").rstrip(".") if paragraphs else "bad input"
    usage = re.search(r"Argument helptext:\n(.+)", "\n".join(paragraphs))
    return f"{message}: use `{usage[1]}`" if usage else f"{message}: see --help"


def _refuse_unknown_flags(cls: type, words: Sequence[str]) -> None:
    """Raise `UserError` for the first unknown flag: what else is wrong may only follow from it."""
    known = {*_flags(cls), "--help"}
    known |= {flag.replace("--", "--no-", 1) for flag in known}
    for word in words:
        if word.startswith("--") and word.split("=")[0].replace("_", "-") not in known and word != "--":
            raise UserError(_unknown([word], cls))


def _unknown(tokens: Sequence[str], args: Any) -> str:
    token = next((token for token in tokens if token.startswith("-")), None)
    if token is None:
        return f"unexpected argument `{tokens[0]}`: see --help"
    flag = token.split("=")[0]
    near = difflib.get_close_matches(flag, list(_flags(args)), n=1)
    return f"unknown flag `{flag}`: " + (f"did you mean `{near[0]}`?" if near else "see --help")


def _flags(args: Any) -> Iterator[str]:
    """The flags of a dataclass, or of an instance of one, and of the dataclasses in it."""
    cls = args if isinstance(args, type) else type(args)
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _flags(hints[field.name])
        else:
            yield "--" + field.name.replace("_", "-")
