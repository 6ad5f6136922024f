"""Numbers and tables as people read them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tune_mnist.tables.printing import print_texts


def percent(share: float) -> str:
    """A share as percent, two decimals, or a dash if it is not known."""
    return f"{100 * share:.2f}%" if pd.notna(share) else "–"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, signed, or nothing if it is not known."""
    return f"{100 * difference:+.2f}" if pd.notna(difference) else ""


def nats(loss: float) -> str:
    """A loss in nats, four decimals, or a dash if it is not known."""
    return f"{loss:.4f}" if pd.notna(loss) else "–"


def p_value(p: float) -> str:
    """A p-value as people read it, or nothing where nothing was tested."""
    if pd.isna(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.995 else "1"


def seeds(count: int) -> str:
    """How many seeds are needed, where as many as 1,000 were thought of."""
    return f"{count:,}" if pd.notna(count) else "> 1,000"


def interval(low: float, high: float) -> str:
    """A 95% interval in percent, or nothing if it is not known."""
    return f"{100 * low:.2f} – {100 * high:.2f}%" if pd.notna(low) else ""


def print_table(frame: pd.DataFrame, title: str, *, width: int = 80) -> None:
    """Print a table to stdout as `print_texts` does."""
    print_texts(rows_of(frame), title, width=width)


def rows_of(frame: pd.DataFrame) -> list[list[str]]:
    """A table's head and rows as texts, shares as percent and empty cells as dashes."""
    names = [str(name) for name in frame.columns]
    rows = [[_cell(*cell) for cell in zip(names, row, strict=True)] for row in frame.itertuples(index=False)]
    return [names, *rows]


def _cell(name: str, value: Any) -> str:
    if pd.isna(value):
        return "-"
    if not isinstance(value, float):
        return str(value)
    share = name.endswith(("accuracy", "precision", "recall", "f1")) or name in ("mean", "std", "ci_low", "ci_high")
    return f"{value:.2%}" if share else f"{value:.4g}"
