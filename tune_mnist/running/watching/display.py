"""The live view of a run: a table on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from tune_mnist.study.progress import RunState

LINE_SECONDS, VIEW_SECONDS = 10.0, 0.5
"""How often a line comes, and a table on a terminal is drawn anew: to draw one takes 7 ms."""
SHOWN = 12


def view(state: RunState) -> Group:
    """A run's bar, its running trainings, how many have ended and the best, for a terminal of 80 columns or more."""
    bar = Progress(TextColumn("{task.percentage:3.0f}%"), BarColumn(None), TextColumn("{task.description}"))
    done = f"{state.done_epochs}/{state.total_epochs} model-epochs"
    words = ", ".join(filter(None, [done, state.left_in_words()]))
    bar.add_task(words, total=state.total_epochs, completed=state.done_epochs)
    table = Table("model", box=None)
    for name in ("lr", "batch", "seed", "epoch", "train loss", state.accuracy):
        table.add_column(name, justify="right")
    for config, row in list(state.running.items())[:SHOWN]:
        loss, accuracy = row.get("train_loss"), row.get(state.accuracy)
        table.add_row(
            config.model, f"{config.lr:g}", str(config.batch_size), str(config.seed), str(row.get("epoch", "-")),
            "-" if loss is None else f"{loss:.4f}", "-" if accuracy is None else f"{accuracy:.2%}",
        )
    more = len(state.running) - SHOWN
    lines = [f"… and {more} more" if more > 0 else "", state.trainings_in_words(), state.best_in_words()]
    return Group(bar, table, *(Text(line) for line in lines if line))


class Display:
    """Shows a `RunState` while it changes. Use as a context manager; call `update` after each change."""

    def __init__(self, state: RunState, console: Console) -> None:
        self.state, self.console = state, console
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._shown = time.monotonic()

    def __enter__(self) -> Display:
        if self.live is not None:
            self.live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.__exit__(None, None, None)
        self.console.print(self.state.summary(), highlight=False, soft_wrap=True)

    def update(self) -> None:
        """Show the state now if the last view is old enough."""
        now = time.monotonic()
        if now - self._shown < (VIEW_SECONDS if self.live is not None else LINE_SECONDS):
            return
        self._shown = now
        if self.live is not None:
            self.live.update(view(self.state), refresh=True)
        else:
            self.console.print(self.state.summary(), highlight=False, soft_wrap=True)

    def tell(self, line: str) -> None:
        """Show a line that stays."""
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)
