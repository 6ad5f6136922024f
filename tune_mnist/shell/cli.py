"""One way for every command to run, to fail and to end: one line on stderr and an exit status."""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from tune_mnist.shell.arguments import parse
from tune_mnist.shell.garbage import collect_seldom
from tune_mnist.shell.signals import stops_on_signals
from tune_mnist.spec.errors import Damaged, UserError, require

T = TypeVar("T")

NO_WINDOWS = "its files have no locks as Unix has: install WSL2 (wsl --install) and run this in it"
BAD_INPUT = 2
INTERRUPTED = 130


def run(body: Callable[[], int]) -> int:
    """Run a command's body and return its exit status, with every way to end early made quiet.

    Returns:
        What `body` returns; 0 after --help; its status after a `UserError`, told as one line `error: …` on
        stderr; 130 after Ctrl-C or SIGTERM, with the `KeyboardInterrupt`'s own text, if any, as the last line;
        1 when the reader of stdout has gone. Any other exception is a bug and keeps its traceback.
        Warnings of damaged files are one line each on stderr.
    """
    collect_seldom()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that it cannot show is no reason to end
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would tell of a home that it cannot write to
    try:
        require(sys.platform != "win32", "this is Linux, macOS or WSL2", "Windows", NO_WINDOWS)
        with stops_on_signals(), _one_line_warnings():
            return _run_and_flush(body)
    except UserError as error:
        _say(f"error: {error}")
        return error.status
    except KeyboardInterrupt as interrupt:
        _say(str(interrupt) or "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered has no reader: without this the interpreter complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def command(
    name: str, cls: type[T], body: Callable[[T], int], description: str, from_toml: Callable[[Path], T] | None = None
) -> Callable[..., int]:
    """`main` of `python -m tune_mnist.NAME`: `argv` (None: the process's own) parsed and given to `body`, by `run`.

    With `from_toml` one word may name a TOML file, which gives the defaults that flags override.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        prog = f"python -m tune_mnist.{name}"
        return run(lambda: body(parse(cls, argv, prog=prog, description=description, from_toml=from_toml)))

    return main


_leaving: int | None = None


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
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # of a name in a script that no font has
        warnings.filterwarnings("ignore", module=r"(matplotlib|seaborn|numpy|pandas)\b")
        warnings.showwarning = show_line  # type: ignore[assignment]
        yield


def _say(text: str) -> None:
    print(" ".join(text.splitlines()), file=sys.stderr)
