"""A study's status shown in words or as JSON, once or again and again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tune_mnist.running.watching.display import view
from tune_mnist.spec.places import shown
from tune_mnist.study.look import Look, Status
from tune_mnist.study.progress import clock
from tune_mnist.study.rounds import in_words
from tune_mnist.study.training_folder import STOPPED_EARLY

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_FAILURES = 10
STATES = {"done": "finished"}
"""What a state is called where that is not its name."""


def json_of(status: Status) -> dict[str, Any]:
    """A status as plain JSON values."""
    state = status.progress
    best = state.best
    return {
        "study": status.study.name, "folder": shown(status.study.path), "state": status.state,
        "holder": status.holder and dataclasses.asdict(status.holder), "trainings": status.trainings,
        "model_epochs": {"done": state.done_epochs, "planned": state.total_epochs},
        "running": [
            {"training": state.label(config), "epoch": row.get("epoch", 0), "train_loss": row.get("train_loss"),
             state.accuracy: row.get(state.accuracy)}
            for config, row in state.running.items()
        ],
        "best": best and {state.accuracy: best.accuracy, "training": state.label(best.config), "epoch": best.epoch},
        "eta_seconds": state.eta_seconds() if status.state == "running" and state.running else None,
        "rounds": [
            {"seeds": spec.seeds, "rounds": [dataclasses.asdict(each) for each in rounds]}
            for spec, rounds in status.rounds
        ],
        "failures": status.failures, "idle_seconds": status.idle_seconds, "command": status.command,
    }


def headline(status: Status) -> str:
    """One line: the study, whether it runs, who holds or held it, and since when nothing came."""
    holder = status.holder
    parts = [f"{status.study.name}: {STATES.get(status.state, status.state)}"]
    if holder is not None and status.state == "running":
        parts.append(f"by {holder}")
    elif holder is not None:
        age = clock(max(0.0, holder.heartbeat_seconds))
        parts.append(f"process {holder.pid} on {holder.host} died; its last sign of life was {age} ago")
    if status.idle_seconds is not None and status.state == "running":
        parts.append(f"last epoch saved {clock(max(0.0, status.idle_seconds))} ago")
    return ", ".join(parts)


def lines(status: Status) -> Iterator[str]:
    """What is to be said of a study besides its progress: counts, failures, how to go on."""
    words = {
        STOPPED_EARLY: STOPPED_EARLY, "diverged": "diverged", "failed": "failed", "begun": "begun",
        "waiting": "not begun",
    }
    counts = [f"{status.trainings[kind]} {word}" for kind, word in words.items() if status.trainings.get(kind)]
    if counts:
        yield "trainings: " + ", ".join(counts)
    for spec, rounds in status.rounds:
        yield in_words(spec, rounds)
    for label, error in list(status.failures.items())[:SHOWN_FAILURES]:
        yield f"failed: {label}: {error}"
    if len(status.failures) > SHOWN_FAILURES:
        yield f"… and {len(status.failures) - SHOWN_FAILURES} more failures: see --json"
    if status.state == "stopped" and status.command:
        yield f"to go on: {status.command}"
    if status.state == "done":
        yield f"its tables and figures are in {shown(status.study.path)}"


def show(status: Status, *, as_json: bool = False) -> None:
    """Print a status to stdout, as text or as one JSON object."""
    if as_json:
        print(json.dumps(json_of(status)), flush=True)
        return
    console = _console()
    console.print(headline(status))
    console.print(view(status.progress) if status.progress.running else status.progress.summary())
    for line in lines(status):
        console.print(line)


def watch(look: Look, every_seconds: float, *, as_json: bool = False) -> None:
    """Show the study again and again until nobody runs it any more, or until Ctrl-C, which interrupts nothing."""
    with contextlib.suppress(KeyboardInterrupt):
        if _console().is_terminal and not as_json:
            _watch_live(look, every_seconds)
        else:
            _watch_lines(look, every_seconds, as_json)


def _watch_live(look: Look, every_seconds: float) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=_console(), auto_refresh=False, transient=True) as live:
        while (status := look()).state == "running":
            rest = [Text(line) for line in lines(status)]
            live.update(Group(Text(headline(status)), view(status.progress), *rest), refresh=True)
            time.sleep(every_seconds)
    show(status)


def _watch_lines(look: Look, every_seconds: float, as_json: bool) -> None:
    """Print a line, plain or JSON, whenever the progress changed, and the whole at the end."""
    shown = None
    while (status := look()).state == "running":
        summary = status.progress.summary()
        if (status.trainings, summary) != shown:
            shown = status.trainings, summary
            print(json.dumps(json_of(status)) if as_json else f"{status.study.name}: {summary}", flush=True)
        time.sleep(every_seconds)
    show(status, as_json=as_json)


def _console() -> Console:
    from rich.console import Console

    return Console(markup=False, highlight=False, soft_wrap=True)
