"""The live view of a run: a table on a terminal, one bar in a notebook, plain lines elsewhere; on stderr."""

from __future__ import annotations

import html
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from tune_mnist.spec.words.naming import BASE, short_name, value_text
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
    names = state.varying or BASE[:3]
    table = Table(box=None, collapse_padding=True)
    for name in (*map(short_name, names), "epoch", "train loss", state.accuracy):
        table.add_column(name, justify="left" if name == "model" else "right", overflow="fold")
    for config, row in list(state.running.items())[:SHOWN]:
        settings, loss, accuracy = config.row(), row.get("train_loss"), row.get(state.accuracy)
        table.add_row(
            *(value_text(settings.get(name)) for name in names), str(row.get("epoch", "-")),
            "-" if loss is None else f"{loss:.4f}", "-" if accuracy is None else f"{accuracy:.2%}",
        )
    more = len(state.running) - SHOWN
    lines = [f"… and {more} more" if more > 0 else "", state.trainings_in_words(), state.best_in_words()]
    return Group(bar, table, *(Text(line) for line in lines if line))


def cell_view(state: RunState) -> str:
    """A run's bar and its summary, for a notebook, as HTML."""
    done = f'<progress value="{state.done_epochs}" max="{state.total_epochs}" style="width: 24em"></progress>'
    return f"{done} {html.escape(state.summary())}"


class Display:
    """Shows a `RunState` while it changes. Use as a context manager; call `update` after each change."""

    def __init__(self, state: RunState, console: Console) -> None:
        self.state, self.console = state, console
        alive = console.is_terminal and not console.is_jupyter
        self.live = Live(console=console, auto_refresh=False, transient=True) if alive else None
        self.cell: Any = None
        self._shown = time.monotonic()

    def __enter__(self) -> Display:
        if self.console.is_jupyter:
            from IPython.display import HTML, display

            self.cell = display(HTML(cell_view(self.state)), display_id=True)
        if self.live is not None:
            self.live.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live is not None:
            self.live.__exit__(None, None, None)
        if self.cell is not None:
            self._update_cell()
            return
        self.console.print(self.state.summary(), highlight=False, soft_wrap=True)

    def update(self) -> None:
        """Show the state now if the last view is old enough."""
        now = time.monotonic()
        if now - self._shown < (VIEW_SECONDS if self.live is not None or self.cell is not None else LINE_SECONDS):
            return
        self._shown = now
        if self.cell is not None:
            self._update_cell()
        elif self.live is not None:
            self.live.update(view(self.state), refresh=True)
        else:
            self.console.print(self.state.summary(), highlight=False, soft_wrap=True)

    def _update_cell(self) -> None:
        from IPython.display import HTML

        self.cell.update(HTML(cell_view(self.state)))

    def tell(self, line: str) -> None:
        """Show a line that stays."""
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)
