"""What a run came to, in plain values: kept beside its study, and printed for people or as one JSON object."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune_mnist.spec.places import shown
from tune_mnist.spec.study import StudySpec
from tune_mnist.spec.training import PREFIX
from tune_mnist.spec.words.naming import BASE, cell_name, setting_text, short_name, value_text
from tune_mnist.tables.printing import print_texts

# pandas and what needs it are imported where tables are at hand: an outcome that was kept is printed without.
if TYPE_CHECKING:
    import pandas as pd

    from tune_mnist.tables.analyse import Tables

SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Outcome:
    """What a study came to, in values that JSON has."""

    cells: dict[str, int]
    """How many cells, of a seed each, have which status."""
    top3: list[dict[str, Any]]
    """The rows of top3.csv; a number that is not finite is None."""
    failed: list[dict[str, Any]]
    """The trainings that diverged or failed: how, after how many epochs, and the error."""
    best: list[list[str]]
    """The three best as a terminal shows them, the head first."""
    chosen_on: str
    """The pictures that the best were chosen on, in a word."""
    method: str
    """How the comparisons with the third were made, and what they can tell."""
    failures: list[str]
    """A line for each of `failed`, as many as one wants to read."""

    @property
    def some_failed(self) -> bool:
        """Whether a training failed; one that diverged has not."""
        return any(row["status"] == "failed" for row in self.failed)


def outcome_of(tables: Tables) -> Outcome:
    """What the study of these tables came to."""
    from tune_mnist.tables.analyse import split_name
    from tune_mnist.tables.text import rows_of

    return Outcome(
        cells=tables.results["status"].value_counts().to_dict(), top3=_records(tables.top3),
        failed=_records(tables.failed), best=rows_of(_told(tables, tables.top3.head(3))),
        chosen_on=split_name(tables.protocol), method=tables.method, failures=list(_failures(tables)),
    )


def print_grid(
    folder: Path, outcome: Outcome, spec: StudySpec, tables: Callable[[], Tables], *, as_json: bool = False
) -> None:
    """Print a grid's outcome to stdout: the top three, what failed and where everything is, or one JSON object.

    Where the study has more cells than `spec` asks for, the best of these is told, too, by the study's `tables`.
    """
    count = sum(outcome.cells.values())
    # If the study holds as many, it holds nothing else: all that was asked for is in it.
    all_asked = sum(len(plan.budgets) for plan in spec.trainings()) == count
    asked = None if all_asked else _asked(tables().results, spec)
    if as_json:
        print(json.dumps({
            "folder": shown(folder), "cells": outcome.cells, "asked": count if asked is None else len(asked),
            "top3": outcome.top3, "failed": outcome.failed,
        }))
        return
    _print(folder, outcome)
    if asked is not None and len(asked) < count:
        from tune_mnist.tables.text import print_table

        line = f"{len(asked)} of the study's {count} cells were asked for now"
        print_table(_told(tables(), asked.head(1)), f"{line}; the best of these")


def _asked(results: pd.DataFrame, spec: StudySpec) -> pd.DataFrame:
    """The rows of a study's results that `spec` asks for."""
    from tune_mnist.tables.standings import cell_keys

    plans = [(plan.config.row(), plan.budgets) for plan in spec.trainings()]
    names = [name for name in dict.fromkeys(name for values, _ in plans for name in values) if name in results]
    wanted = {(*map(values.get, names), epochs) for values, budgets in plans for epochs in budgets}
    return results[[cell in wanted for cell in cell_keys(results[[*names, "epochs"]])]]


def print_search(
    folder: Path, outcome: Outcome, trials: pd.DataFrame, pareto: pd.DataFrame | None, *, as_json: bool = False
) -> None:
    """Print a search's outcome to stdout: its trials by state, its Pareto front, if any, and what `print_grid` does."""
    from tune_mnist.tables.text import print_table

    states = trials["state"].value_counts().to_dict()
    if as_json:
        print(json.dumps({
            "folder": shown(folder), "trials": states, "top3": outcome.top3,
            "pareto": None if pareto is None else _records(pareto), "failed": outcome.failed,
        }))
        return
    print(f"{len(trials)} trials: " + ", ".join(f"{count} {state}" for state, count in states.items()))
    if pareto is not None:
        print_table(pareto.drop(columns=["state", "from", "training"], errors="ignore"), "Pareto front")
    _print(folder, outcome)


def in_short(folder: Path, tables: Tables) -> str:
    """A line for a notebook: where a study is, how many cells it has, and its best."""
    from tune_mnist.tables.text import percent

    best = tables.complete.head(1).to_dict("records")
    found = [f"best {tables.title_of(row)}: {percent(row['mean'])}" for row in best] or ["no result"]
    return f"{folder}: {len(tables.summary)} cells, {found[0]}"


def as_html(folder: Path, tables: Tables) -> str:
    """The line of `in_short` and the three best cells, as HTML."""
    best = _told(tables, tables.top3.head(3))
    return f"<p>{html.escape(in_short(folder, tables))}</p>" + best.to_html(index=False, border=0)


def _print(folder: Path, outcome: Outcome) -> None:
    count = sum(outcome.cells.values())
    if outcome.top3:
        print_texts(outcome.best, f"Top three of {count} cells, by {outcome.chosen_on} accuracy")
    else:
        print(f"No cell of {count} has a result: no training came through")
    if len(outcome.top3) > 3:
        ties = len(outcome.top3) - 3
        print(f"{ties} more cells are not distinguishable from the third: see top3.csv. {outcome.method}")
    for line in outcome.failures:
        print(line)
    print(f"Tables and figures are in {shown(folder)}; read {shown(folder / 'report.html')}")
    if outcome.some_failed and (tracebacks := sorted(folder.glob("trainings/**/failure.json"))):
        others = f", and of {len(tracebacks) - 1} more beside it" if len(tracebacks) > 1 else ""
        print(f"The whole traceback of what failed is in {tracebacks[0]}{others}")


def _told(tables: Tables, cells: pd.DataFrame) -> pd.DataFrame:
    """Cells, rows of the tables, as a terminal shows them: rank, what varies, and the accuracies, as texts."""
    from tune_mnist.tables.analyse import split_name
    from tune_mnist.tables.text import percent

    told = cells[["rank"]].copy()
    for name in [*tables.told, *(["seed"] if "seed" in cells and tables.results["seed"].any() else [])]:
        told[short_name(name)] = cells[name].map(value_text)
    mean = "mean" if "mean" in cells else f"{PREFIX[tables.protocol]}_accuracy"
    told[split_name(tables.protocol)] = cells[mean].map(percent)
    if "mean" in cells and "test_accuracy" in cells:
        told["test"] = cells["test_accuracy"].map(percent)
    return told


def _failures(tables: Tables) -> Iterator[str]:
    """The trainings that diverged or failed, a line each, as many as one wants to read."""
    for row in tables.failed.head(SHOWN_FAILURES).to_dict("records"):
        name, epochs = cell_name(row, [*BASE[:3], *tables.further]), setting_text("epochs", row["epochs"])
        error = f": {row['error']}" if row["error"] else ""
        yield f"{row['status']}: {name}, seed {row['seed']}, after {epochs}{error}"
    if len(tables.failed) > SHOWN_FAILURES:
        yield f"… and {len(tables.failed) - SHOWN_FAILURES} more trainings that diverged or failed: see the page"


def _records(frame: pd.DataFrame) -> Any:
    """The rows as plain JSON values; a number that is not finite is None."""
    return json.loads(frame.to_json(orient="records"))
