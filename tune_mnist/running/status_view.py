"""The status command: where a study stands, once or again and again."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from tune_mnist.cli import leave, parse, run
from tune_mnist.config import require
from tune_mnist.display import clock, view
from tune_mnist.look import Look, Status, newest_study
from tune_mnist.study import Study

if TYPE_CHECKING:
    from rich.console import Console

STORAGE = Path("ray_results")
SHOWN_FAILURES = 10


def as_json(status: Status) -> dict[str, Any]:
    """A status as plain JSON values."""
    state, best = status.progress, status.progress.best
    return {
        "study": status.study.name, "folder": str(status.study.folder), "state": status.state,
        "holder": status.holder, "trainings": status.trainings,
        "model_epochs": {"done": state.done_epochs, "planned": state.total_epochs},
        "running": [
            {"training": config.label, "epoch": row.get("epoch", 0), "train_loss": row.get("train_loss"),
             state.accuracy: row.get(state.accuracy)}
            for config, row in state.running.items()
        ],
        "best": best and {state.accuracy: best[0], "training": best[1].label, "epoch": best[2]},
        "eta_seconds": state.eta_seconds() if status.state == "running" and state.running else None,
        "failures": status.failures, "idle_seconds": status.idle_seconds, "command": status.command,
    }


def headline(status: Status) -> str:
    """One line: the study, whether it runs, who holds or held it, and since when nothing came."""
    told, parts = status.holder, [f"{status.study.name}: {status.state}"]
    if told is not None and status.state == "running":
        parts.append(f"by process {told['pid']} on {told['host']} ({told['command']})")
    elif told is not None:
        age = clock(float(str(told["heartbeat_seconds"])))
        parts.append(f"process {told['pid']} on {told['host']} died; its last sign of life was {age} ago")
    if status.idle_seconds is not None and status.state == "running":
        parts.append(f"last epoch saved {clock(max(0.0, status.idle_seconds))} ago")
    return ", ".join(parts)


def lines(status: Status) -> Iterator[str]:
    """What is to be said of a study besides its progress: counts, failures, how to go on."""
    words = {"diverged": "diverged", "failed": "failed", "begun": "begun", "waiting": "not begun"}
    counts = [f"{status.trainings[kind]} {word}" for kind, word in words.items() if status.trainings.get(kind)]
    if counts:
        yield "trainings: " + ", ".join(counts)
    for label, error in list(status.failures.items())[:SHOWN_FAILURES]:
        yield f"failed: {label}: {error}"
    if len(status.failures) > SHOWN_FAILURES:
        yield f"… and {len(status.failures) - SHOWN_FAILURES} more failures: see --json"
    if status.state == "stopped" and status.command:
        yield f"to go on: {status.command}"
    if status.state == "done":
        yield f"its tables and figures are in {status.study.folder}"


@dataclass(frozen=True)
class StatusArgs:
    """A study to look at."""

    study: Positional[Annotated[Path | None, arg(metavar="[STUDY]")]] = None
    """The study's folder, such as ray_results/report; without one, the study in ray_results that ran last."""
    watch: bool = False
    """Look again and again until nobody runs the study any more, or Ctrl-C."""
    every: float = 2.0
    """Seconds between two looks of --watch."""
    json: bool = False
    """Print one JSON object; with --watch, one a line at each change."""

    def __post_init__(self) -> None:
        require(0 < self.every <= 3600, "0 < every <= 3600", self.every, "change --every")


def main(argv: Sequence[str] | None = None) -> int:
    """Show a study's progress, time left, best accuracy and failures, from any machine that sees its folder."""
    return run(lambda: _command(argv))


def _command(argv: Sequence[str] | None) -> int:
    args = parse(StatusArgs, argv, prog="python -m tune_mnist.status", description=str(main.__doc__))
    from rich.console import Console

    look = Look(Study(args.study or newest_study(STORAGE)))
    console = Console(markup=False, highlight=False, soft_wrap=True)
    if args.watch:
        with contextlib.suppress(KeyboardInterrupt):  # leaving the view interrupts nothing
            _watch(look, args, console)
    else:
        _show(look(), args, console)
    return 0


def _show(status: Status, args: StatusArgs, console: Console) -> None:
    if args.json:
        print(json.dumps(as_json(status)), flush=True)
        return
    console.print(headline(status))
    if status.progress.running:
        console.print(view(status.progress))
    else:
        console.print(status.progress.summary())
    for line in lines(status):
        console.print(line)


def _watch(look: Look, args: StatusArgs, console: Console) -> None:
    if console.is_terminal and not args.json:
        _watch_live(look, args, console)
    else:
        _watch_lines(look, args)


def _watch_live(look: Look, args: StatusArgs, console: Console) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, auto_refresh=False, transient=True) as live:
        while (status := look()).state == "running":
            rest = [Text(line) for line in lines(status)]
            live.update(Group(Text(headline(status)), view(status.progress), *rest), refresh=True)
            time.sleep(args.every)
    _show(status, args, console)


def _watch_lines(look: Look, args: StatusArgs) -> None:
    """Print a line, plain or JSON, whenever the progress changed, and the whole at the end."""
    from rich.console import Console

    said = None
    while True:
        status = look()
        told = (status.state, status.trainings, status.progress.summary())
        if told != said and status.state == "running":
            print(json.dumps(as_json(status)) if args.json else f"{status.study.name}: {told[2]}", flush=True)
        said = told
        if status.state != "running":
            break
        time.sleep(args.every)
    _show(status, args, Console(markup=False, highlight=False, soft_wrap=True))


if __name__ == "__main__":
    leave(main())
