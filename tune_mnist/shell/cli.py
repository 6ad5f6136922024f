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
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, get_type_hints

from tune_mnist.shell.collector import collect_seldom
from tune_mnist.shell.signals import stops_on_signals
from tune_mnist.spec.errors import Damaged, UserError, require

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


class Main(Protocol):
    """A command's `main`: runs its `argv` (None: the process's own words) and returns its exit status."""

    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


def command(
    name: str, cls: type[T], body: Callable[[T], int], description: str, from_toml: Callable[[Path], T] | None = None
) -> Main:
    """`main` of `python -m tune_mnist.NAME`: its words parsed into `cls` and given to `body`, as `run` does.

    With `from_toml` one word may name a TOML file, which gives the defaults that flags override.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        prog = f"python -m tune_mnist.{name}"
        return run(lambda: body(parse(cls, argv, prog=prog, description=description, from_toml=from_toml)))

    return main


def fields_of(args: Any, *, but: str) -> dict[str, Any]:
    """The fields of a dataclass by name, without one: the keyword arguments of the function that a command calls."""
    return {field.name: getattr(args, field.name) for field in dataclasses.fields(args) if field.name != but}


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

    words, default = list(sys.argv[1:] if argv is None else argv), None
    if from_toml is not None:
        path, words = _without_toml(words)
        default = cls() if path is None else from_toml(path)
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
        raise UserError(_unknown(unknown, args))
    return args


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


def _without_toml(words: list[str]) -> tuple[Path | None, list[str]]:
    """The one word that ends in .toml, if any, and the others; `UserError` if there are two."""
    named = [word for word in words if word.endswith(".toml") and not word.startswith("-")]
    require(len(named) <= 1, "at most one spec is named", ", ".join(named), "name one TOML file")
    return Path(named[0]) if named else None, [word for word in words if word not in named]


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
