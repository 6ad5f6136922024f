"""What every benchmark shares: the machine, repeated figures with their spread, a table and a JSON file."""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tune_mnist.shell.about import about_run


def spread(values: Sequence[float]) -> dict[str, float]:
    """n, minimum, median and maximum of repeated measurements."""
    return {"n": len(values), "min": min(values), "median": statistics.median(values), "max": max(values)}


def told(values: Sequence[float], unit: str = "", digits: int = 3) -> str:
    """A measurement as text: its median, and its range if there were several."""
    middle = f"{statistics.median(values):.{digits}g}{unit}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}g}–{max(values):.{digits}g})"


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table to stdout."""
    table = Table(*columns, title=title, title_justify="left", box=None)
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=160).print(table)


def save(path: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures with date, versions and machine to `path`, if one is given."""
    if path is None:
        return
    about = about_run()
    record = {name: about[name] for name in ("versions", "python", "machine", "git")}
    content = {"date": datetime.date.today().isoformat(), **record, "figures": figures}
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written to {path}")
