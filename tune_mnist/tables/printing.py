"""A table of texts printed to stdout."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def print_texts(rows: Sequence[Sequence[str]], title: str, *, width: int = 80) -> None:
    """Print a table under a title; the first of its `rows` is its head.

    `width` is how many columns it may take; on a terminal it takes what that has.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=False, collapse_padding=True)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows[1:]:
        table.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else width, markup=False, highlight=False)
    console.print(title, style="italic", soft_wrap=True)
    console.print(table)
